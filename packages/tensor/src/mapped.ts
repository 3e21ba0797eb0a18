// Frozen weights that stay in the files they came in: the model names a range of a file for each (ONNX external data),
// and the runtime maps it. This file finds the one folder that the runtime is to allow, checks the ranges against the
// files, and watches the files while a program lives. What a safetensors file holds is for its reader to check.
//
// The runtime refuses ranges outside the folder it is told, links resolved; so files go by their real paths, relative
// to the deepest folder that holds them all. Which files may be named is for whoever made the ranges to decide
// (ParamStore in packages/artifacts does).

import { closeSync, fstatSync, openSync, realpathSync, type Stats, statSync } from 'node:fs';
import path from 'node:path';
import type { InferenceSession } from 'onnxruntime-node';
import { TensorError } from './errors.ts';
import { type DType, type FileRange, type NumericArray, type Spec, sizeOf } from './graph.ts';
import { mapValues } from './recorder.ts';

/** A frozen weight in a file: `length` bytes from byte `offset`, little-endian, row-major, at any alignment. */
export interface Mapped extends Spec {
  file: string;
  offset: number;
  length: number;
  /**
   * The type it has in the file. float16 and bfloat16 are widened to float32 once, when the program opens, into memory
   * of the runtime's own. @default `dtype`
   */
  stored?: FileRange['stored'];
  /** What the file was when its bounds were checked; a file that has changed since is refused. */
  stamp?: { dev: number; ino: number; size: number; mtimeMs: number };
}

/**
 * - `'pack'`: the runtime may fold mapped weights and pack them for its matrix kernels, just as it does with copied
 *   ones: the same bits, the same speed, and about one copy in memory that belongs to this process alone.
 * - `'keep'`: they stay in the file's pages, which processes share and the system may drop and read again. Matrix
 *   products cost more (a fifth at 512 rows, thrice at 8) and round a little differently. Of no effect for a
 *   program with float16 or bfloat16 weights, which have to be widened.
 */
export type MappedWeights = 'pack' | 'keep';

type Constant = Spec & ({ data: NumericArray } | Mapped);

const BYTES = { float32: 4, float16: 2, bfloat16: 2, int32: 4, int64: 8 } as const;
const READ_AS: Record<FileRange['stored'], DType> = {
  float32: 'float32',
  float16: 'float32',
  bfloat16: 'float32',
  int32: 'int32',
  int64: 'int32',
};
/** With 'keep', only what folds to this many bytes is folded. */
const FOLD_LIMIT = 65_536;

/** The files behind a program's constants; none, for most programs. */
export class MappedFiles {
  /** The constants, with files as the runtime is to be told them. */
  readonly constants: Record<string, Spec & ({ data: NumericArray } | { range: FileRange })>;
  readonly #folder: string;
  /** By real path: what the file was, and a descriptor of it while a program lives. */
  readonly #files = new Map<string, { stats: Stats; descriptor?: number }>();
  #keepable = true;

  /** Throws a TensorError for a range that does not lie in its file or does not fit its shape. */
  constructor(constants: Record<string, Constant> = {}) {
    const real = mapValues(constants, (constant, name) => ('file' in constant ? this.#check(constant, name) : ''));
    this.#folder = commonFolder([...this.#files.keys()]);
    this.constants = mapValues(constants, (constant, name) => {
      if (!('file' in constant)) return constant;
      const { shape, dtype, offset, length } = constant;
      const file = path.relative(this.#folder, real[name]).split(path.sep).join('/');
      return { shape, dtype, range: { file, offset, length, stored: storedAs(constant) } };
    });
  }

  #check(mapped: Mapped, name: string): string {
    const { shape, dtype, file, offset, length, stamp } = mapped;
    const refuse = (why: string): never => {
      throw new TensorError(`The constant "${name}" cannot be mapped from ${file}: ${why}.`);
    };
    const stored = storedAs(mapped);
    if (READ_AS[stored] !== dtype) refuse(`${stored} in a file cannot stand for ${dtype}; copy it instead`);
    const wanted = sizeOf(shape) * BYTES[stored];
    if (length !== wanted) refuse(`its shape [${shape}] of ${stored} needs ${wanted} bytes, and ${length} are given`);
    let known: [string, Stats];
    try {
      const real = realpathSync(file);
      known = [real, this.#files.get(real)?.stats ?? statSync(real)];
    } catch (error) {
      return refuse(`the file cannot be found (${(error as NodeJS.ErrnoException).code}); check its path`);
    }
    const [real, stats] = known;
    if (!stats.isFile()) refuse('it is no regular file; give one');
    if (stamp && !same(stats, stamp)) refuse('it has changed since it was opened; open it again');
    if (!Number.isSafeInteger(offset) || offset < 0 || offset + length > stats.size)
      refuse(`bytes ${offset} to ${offset + length} do not lie in its ${stats.size}; get a good copy of it`);
    if (BYTES[stored] === 2) this.#keepable = false;
    this.#files.set(real, { stats });
    return real;
  }

  /** Opens the files and adds to the session's configuration where they are and what may be made of them. */
  configure(weights: MappedWeights = 'pack', extra: { session: object }): Record<string, unknown> {
    if (this.#files.size === 0) return extra;
    for (const [file, held] of this.#files) held.descriptor ??= openSync(file, 'r');
    const session = { ...extra.session, model_external_initializers_file_folder_path: this.#folder };
    if (weights === 'pack' || !this.#keepable) return { ...extra, session };
    return {
      ...extra,
      session: { ...session, disable_prepacking: '1' },
      optimization: {
        constant_folding_max_output_size_in_bytes: `${FOLD_LIMIT}`,
        // Convolution in channel blocks copies every filter and gains nothing at a U-Net's widths.
        disable_specified_optimizers: 'NchwcTransformer',
      },
    };
  }

  /** The session, once it is sure to have mapped the very files that were checked. */
  async confirm(opening: Promise<InferenceSession>): Promise<InferenceSession> {
    let session: InferenceSession | undefined;
    try {
      session = await opening;
      for (const [file, { stats }] of this.#files) if (!same(statSync(file), stats)) throw changed(file);
      this.check();
      return session;
    } catch (error) {
      this.close();
      await session?.release();
      throw error;
    }
  }

  /**
   * Throws a TensorError if a file was written to. A page of a file that was cut short kills the process that touches
   * it (SIGBUS), so this is asked before every run; what is cut during a run it cannot catch. A file that was removed
   * or replaced by a rename is still the one that was mapped, and is fine.
   */
  check(): void {
    for (const [file, { stats, descriptor }] of this.#files) {
      if (descriptor !== undefined && !same(fstatSync(descriptor), stats)) throw changed(file);
    }
  }

  close(): void {
    for (const held of this.#files.values()) {
      if (held.descriptor !== undefined) closeSync(held.descriptor);
      held.descriptor = undefined;
    }
  }
}

function changed(file: string): TensorError {
  return new TensorError(
    `The file ${file} was written to while a program uses the weights in it; start again, and leave it alone or copy the weights.`,
  );
}

const storedAs = ({ stored, dtype }: Mapped): FileRange['stored'] => stored ?? (dtype as FileRange['stored']);

const same = (a: Stats, b: NonNullable<Mapped['stamp']>): boolean =>
  a.dev === b.dev && a.ino === b.ino && a.size === b.size && a.mtimeMs === b.mtimeMs;

/** The deepest folder that holds all the files. */
function commonFolder(files: string[]): string {
  if (files.length === 0) return '';
  let folder = path.dirname(files[0]);
  for (const file of files) {
    while (path.relative(folder, file).split(path.sep)[0] === '..') folder = path.dirname(folder);
    if (path.isAbsolute(path.relative(folder, file)))
      throw new TensorError(`The weights lie on several drives (${folder}, ${file}); put them on one.`);
  }
  return folder;
}

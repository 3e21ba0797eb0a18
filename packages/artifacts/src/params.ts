// The parameters of a model as Hugging Face ships them: one safetensors file, or shards and the index that names them.
// Opening reads headers only; a tensor that is trained is copied into memory, a frozen one is handed out as a range of
// its file, which the runtime maps. Writing is encodeSafetensors' work.
//
// What may be read. A file that the caller names is followed wherever its links lead. A file that a folder or an index
// names must really lie in that folder after all links are resolved, or, where the folder is a snapshot of the Hugging
// Face cache (models--*/snapshots/<revision>/…), in the blobs folder of the same model, to which that cache links.
// An index names files of its own folder by bare names. Nothing but regular files is opened.

import { constants, type Stats } from 'node:fs';
import { type FileHandle, open, readdir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { FoveaError } from './errors.ts';
import type { DecodedTensor, DecodeOptions } from './safetensors.ts';
import {
  checkFinite,
  DTYPES,
  dataStart,
  failing,
  listNames,
  PREFIX,
  parseHeader,
  parseObject,
  quote,
} from './safetensors-format.ts';

/** Where one tensor lies: `length` bytes from byte `offset` of `file`, of which every bound has been checked. */
export interface StoredTensor {
  shape: number[];
  /** As written in the file: F32, F16, BF16, I32, … */
  dtype: string;
  /** Real path of the file. */
  file: string;
  offset: number;
  length: number;
}

/** A frozen tensor for a program's constants: what `dtype` it is to the program, and as what it is stored. */
export interface MappedTensor extends Omit<StoredTensor, 'dtype'> {
  dtype: 'float32' | 'int32';
  stored: 'float32' | 'float16' | 'bfloat16' | 'int32' | 'int64';
  stamp: FileStamp;
}

/** What changes when a file is replaced or written to. */
export interface FileStamp {
  dev: number;
  ino: number;
  size: number;
  mtimeMs: number;
}

/** A tensor that is trained: its own memory, float32 whatever the file has. */
export interface CopiedTensor {
  shape: number[];
  dtype: 'float32';
  data: Float32Array;
}

const INDEX = '.safetensors.index.json';
/** What transformers, diffusers and PEFT call their weights; a folder may hold others besides. */
const USUAL = ['model', 'diffusion_pytorch_model', 'adapter_model'];
const PICKLE = /\.(bin|pt|pth|ckpt|pkl|pickle)$/i;
const SHARD = /^[A-Za-z0-9_][A-Za-z0-9_.+@=-]{0,250}\.safetensors$/;
const MAX_INDEX = 100_000_000;
const PIECE = 2 ** 30;

const MAPPED = new Map<string, Pick<MappedTensor, 'dtype' | 'stored'>>([
  ['F32', { dtype: 'float32', stored: 'float32' }],
  ['F16', { dtype: 'float32', stored: 'float16' }],
  ['BF16', { dtype: 'float32', stored: 'bfloat16' }],
  ['I32', { dtype: 'int32', stored: 'int32' }],
  ['I64', { dtype: 'int32', stored: 'int64' }],
]);

/**
 * Parameters by name, over files that stay where they are.
 *
 *     const store = await ParamStore.open('clip-vit-large-patch14');  // a folder, a .safetensors file or an index
 *     const trained = await store.copy(names.filter(isTrainable));    // float32, in memory
 *     const frozen = store.map(names.filter(isFrozen));               // ranges of the files
 *     const program = await compile(step, { inputs, state: trained, constants: frozen });
 *     program.setState(mapValues(trained, ({ data }) => data));
 *
 * The files must not be written to while the store or a program made from it is in use; replacing one by a rename is
 * harmless to a running program. A file that has changed is refused at the next read or at compilation.
 */
export class ParamStore {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** The files' `__metadata__` together; of a key that several have, the last in the order of file names. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Real path of every file that was read, an index among them, by its name in the folder. */
  readonly files: ReadonlyMap<string, string>;
  readonly #stamps: ReadonlyMap<string, FileStamp>;

  private constructor(shards: Shard[], files: Map<string, string>) {
    this.files = files;
    this.tensors = new Map(shards.flatMap((shard) => [...shard.tensors]));
    this.metadata = Object.assign(Object.create(null), ...shards.map((shard) => shard.metadata));
    this.#stamps = new Map(shards.map((shard) => [shard.file, shard.stamp]));
  }

  /**
   * Opens a `.safetensors` file, a `.safetensors.index.json`, or the folder that holds either. Reads no tensor.
   * A FoveaError if a file is missing, lies elsewhere, is a pickle, breaks the format, or disagrees with the index.
   */
  static async open(given: string): Promise<ParamStore> {
    const found = await locate(path.resolve(given));
    const foundName = path.basename(found.name);
    const files = new Map([[foundName, found.file]]);
    if (!found.index) return new ParamStore([await openShard(found.file, quote(foundName))], files);
    const weightMap = await readIndex(found.file, foundName);
    const shards: Shard[] = [];
    for (const name of [...new Set(weightMap.values())].sort()) {
      const file = await contained(path.dirname(found.name), name);
      const shard = await openShard(file, quote(name));
      checkShard(name, shard, weightMap);
      shards.push(shard);
      files.set(name, file);
    }
    return new ParamStore(shards, files);
  }

  /** One tensor as the file has it, F16 and BF16 widened. Reads its bytes and no others; refuses NaN unless allowed. */
  async read(name: string, options: DecodeOptions = {}): Promise<DecodedTensor> {
    const { shape, dtype, file, offset, length } = this.#get(name);
    const fail = failing(quote(path.basename(file)));
    const data = await withFile(file, async (handle, stats) => {
      if (!sameStamp(stats, this.#stamps.get(file)!))
        throw new FoveaError(
          `The file ${quote(file)} was changed after it was opened as weights; leave it alone during a run, and start again.`,
        );
      return DTYPES.get(dtype)!.read((await readRange(handle, offset, length, fail)).buffer);
    });
    if (!options.allowNonFinite) checkFinite(name, data, fail);
    return { dtype, shape: [...shape], data };
  }

  /** Copies of float tensors as float32, for training. F64 is rounded. */
  async copy(names: Iterable<string>): Promise<Record<string, CopiedTensor>> {
    const out: Record<string, CopiedTensor> = {};
    for (const name of names) {
      const { shape, dtype, data } = await this.read(name);
      if (!(data instanceof Float32Array || data instanceof Float64Array))
        throw new FoveaError(`The tensor ${quote(name)} is ${dtype}, which cannot be trained; leave it frozen.`);
      out[name] = { shape, dtype: 'float32', data: data instanceof Float32Array ? data : Float32Array.from(data) };
    }
    return out;
  }

  /** Where frozen tensors lie, in the form of a program's constants. Nothing is read. */
  map(names: Iterable<string>): Record<string, MappedTensor> {
    const out: Record<string, MappedTensor> = {};
    for (const name of names) {
      const tensor = this.#get(name);
      const type = MAPPED.get(tensor.dtype);
      if (!type)
        throw new FoveaError(
          `The tensor ${quote(name)} is ${tensor.dtype}, which cannot be mapped (${[...MAPPED.keys()].join(', ')} can); read it instead.`,
        );
      out[name] = { ...tensor, ...type, shape: [...tensor.shape], stamp: this.#stamps.get(tensor.file)! };
    }
    return out;
  }

  #get(name: string): StoredTensor {
    const tensor = this.tensors.get(name);
    if (!tensor)
      throw new FoveaError(
        `The weights have no tensor ${quote(name)}; they have ${listNames([...this.tensors.keys()]) || 'none'}.`,
      );
    return tensor;
  }
}

interface Shard {
  file: string;
  stamp: FileStamp;
  tensors: Map<string, StoredTensor>;
  metadata: Record<string, string>;
}

/** Reads and checks one file's header. `file` is a real path, `where` names it in errors. */
async function openShard(file: string, where: string): Promise<Shard> {
  const fail = failing(where);
  return withFile(file, async (handle, stats) => {
    const prefix = await readRange(handle, 0, Math.min(PREFIX, stats.size), fail);
    const start = dataStart(prefix, stats.size, fail);
    const header = parseHeader(await readRange(handle, PREFIX, start - PREFIX, fail), stats.size - start, fail);
    const tensors = new Map<string, StoredTensor>();
    for (const { name, dtype, shape, begin, end } of header.entries)
      tensors.set(name, { shape, dtype, file, offset: start + begin, length: end - begin });
    return { file, stamp: stampOf(stats), tensors, metadata: header.metadata };
  });
}

/** Every tensor of the shard listed for it, every tensor listed for it there. */
function checkShard(name: string, shard: Shard, weightMap: Map<string, string>): void {
  const missing = [...weightMap].filter(([tensor, file]) => file === name && !shard.tensors.has(tensor));
  if (missing.length > 0)
    throw new FoveaError(
      `The index lists ${listNames(missing.map(([tensor]) => tensor))} in ${quote(name)}, which does not hold them; get a good copy of both.`,
    );
  const extra = [...shard.tensors.keys()].filter((tensor) => weightMap.get(tensor) !== name);
  if (extra.length > 0)
    throw new FoveaError(
      `The file ${quote(name)} holds ${listNames(extra)}, which the index does not list for it; get a good copy of both.`,
    );
}

/** `weight_map` of an index: file by tensor. */
async function readIndex(file: string, name: string): Promise<Map<string, string>> {
  const fail = (why: string): never => {
    throw new FoveaError(`The index ${quote(name)} is not valid: ${why}; get a good copy of it.`);
  };
  const json = await withFile(file, async (handle, stats) => {
    if (stats.size > MAX_INDEX) fail(`it has ${stats.size} bytes, and ${MAX_INDEX} is the limit`);
    return readRange(handle, 0, stats.size, fail);
  });
  const map = parseObject(json, 'it', fail).weight_map;
  if (typeof map !== 'object' || map === null || Array.isArray(map)) fail('it has no object "weight_map"');
  const out = new Map<string, string>();
  for (const [tensor, shard] of Object.entries(map as object)) {
    if (tensor === '__proto__') fail('it lists a tensor named "__proto__"');
    if (typeof shard !== 'string') fail(`it lists no file for ${quote(tensor)}`);
    if (PICKLE.test(shard)) refusePickle(shard);
    if (!SHARD.test(shard))
      fail(`it lists the file ${quote(shard)}, where only bare names of .safetensors files beside it may stand`);
    out.set(tensor, shard);
  }
  if (out.size === 0) fail('its "weight_map" is empty');
  return out;
}

/** What a given path means: the path to name it by, its real path, and whether it is an index. */
async function locate(given: string): Promise<{ name: string; file: string; index: boolean }> {
  if (PICKLE.test(given)) refusePickle(path.basename(given));
  const stats = await reading(given, () => stat(given));
  const index = given.endsWith(INDEX);
  if (!stats.isDirectory()) {
    if (!index && !given.endsWith('.safetensors'))
      throw new FoveaError(
        `The weights ${quote(given)} are neither a .safetensors file nor a ${INDEX}; give one of these or a folder.`,
      );
    return { name: given, file: await realpath(given), index };
  }
  const names = (await reading(given, () => readdir(given))).sort();
  const weights = names.filter((name) => name.endsWith('.safetensors') || name.endsWith(INDEX));
  const usual = USUAL.flatMap((stem) => [`${stem}.safetensors`, stem + INDEX]).find((name) => weights.includes(name));
  const indexes = weights.filter((name) => name.endsWith(INDEX));
  const name = usual ?? (indexes.length === 1 ? indexes[0] : weights.length === 1 ? weights[0] : undefined);
  if (name !== undefined)
    return { name: path.join(given, name), file: await contained(given, name), index: name.endsWith(INDEX) };
  if (weights.length > 0)
    throw new FoveaError(`The folder ${quote(given)} holds ${listNames(weights)}; say which by giving its path.`);
  const pickle = names.find((file) => PICKLE.test(file));
  if (pickle) refusePickle(pickle);
  throw new FoveaError(`The folder ${quote(given)} holds no .safetensors file; check the path.`);
}

function refusePickle(name: string): never {
  throw new FoveaError(
    `The weights ${quote(name)} are a pickle, which can run code when read; convert them with safetensors.torch.save_file and give the .safetensors file.`,
  );
}

/** The real path of a file that a folder names; see the top of this file for what is allowed. */
async function contained(folder: string, name: string): Promise<string> {
  const root = await realpath(folder);
  const real = await realpath(path.join(root, name)).catch(() => null);
  if (real === null)
    throw new FoveaError(`The weights lack the file ${quote(name)} in ${quote(folder)}; fetch it, or get a good copy.`);
  if (real.startsWith(root + path.sep) || path.dirname(real) === hubBlobs(root)) return real;
  throw new FoveaError(
    `The file ${quote(name)} in ${quote(folder)} is a link that leads out of that folder; put the file itself there, or give its own path.`,
  );
}

/** The blobs folder to which the Hugging Face cache links from a snapshot, or null for any other folder. */
function hubBlobs(root: string): string | null {
  const parts = root.split(path.sep);
  const at = parts.lastIndexOf('snapshots');
  return at > 0 && at < parts.length - 1 && parts[at - 1].startsWith('models--')
    ? [...parts.slice(0, at), 'blobs'].join(path.sep)
    : null;
}

/** Opens a regular file by its real path; never waits on a pipe, never follows a link that appeared meanwhile. */
async function withFile<T>(file: string, use: (handle: FileHandle, stats: Stats) => Promise<T>): Promise<T> {
  const { O_RDONLY, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = constants;
  const handle = await reading(file, () => open(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  try {
    const stats = await handle.stat();
    if (!stats.isFile()) throw new FoveaError(`The weights ${quote(file)} are no regular file; give a file.`);
    return await reading(file, () => use(handle, stats));
  } finally {
    await handle.close();
  }
}

/** Runs `use`, and says what the disk or the memory refused as a sentence. */
async function reading<T>(file: string, use: () => Promise<T>): Promise<T> {
  try {
    return await use();
  } catch (error) {
    if (error instanceof RangeError)
      throw new FoveaError(`A tensor of ${quote(file)} does not fit into memory (${error.message}); leave it frozen.`);
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (code === undefined || syscall === undefined) throw error;
    throw new FoveaError(
      `The weights ${quote(file)} cannot be read (${syscall}: ${code}); check that the file is there and may be read.`,
    );
  }
}

/** Exactly `length` bytes from `offset`, in a buffer of their own. */
async function readRange(
  handle: FileHandle,
  offset: number,
  length: number,
  fail: (why: string) => never,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(bytes, done, Math.min(PIECE, length - done), offset + done);
    if (bytesRead === 0) fail(`it ends at byte ${offset + done}, cut short while it was read`);
    done += bytesRead;
  }
  return bytes;
}

const stampOf = ({ dev, ino, size, mtimeMs }: FileStamp): FileStamp => ({ dev, ino, size, mtimeMs });

const sameStamp = (a: FileStamp, b: FileStamp): boolean =>
  a.dev === b.dev && a.ino === b.ino && a.size === b.size && a.mtimeMs === b.mtimeMs;

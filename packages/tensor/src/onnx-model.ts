// A frozen network that its user has as an .onnx file only, such as an autoencoder's encoder: run as it is, with no
// gradient. The caller says what it must take and give, and a file that does not is refused before it runs. Nothing but
// the one file is read.

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { Tensor as OrtTensor } from 'onnxruntime-node';
import { type Device, DeviceSession } from './devices.ts';
import { TensorError } from './errors.ts';
import { sizeOf } from './graph.ts';
import { requireWholeOnnx } from './onnx-contents.ts';
import { mapValues } from './recorder.ts';

/** A shape as far as it matters: null is a side of any size. */
export type ShapePattern = readonly (number | null)[];

/** What a model must take and give, all float32. It may give more, which is not computed, but take nothing else. */
export interface OnnxInterface {
  inputs: Record<string, ShapePattern>;
  outputs: Record<string, ShapePattern>;
}

export interface OnnxOptions {
  /** @default 'cpu' */
  device?: Device;
  /** Threads inside one operation. @default 1 */
  threads?: number;
  /** @default 2 GiB, the most that the format can hold */
  maxBytes?: number;
}

export interface Floats {
  shape: readonly number[];
  data: Float32Array;
}

interface Declared {
  type?: string;
  shape?: readonly (number | string)[];
}

const fits = (shape: readonly (number | string | null)[], pattern: ShapePattern) =>
  shape.length === pattern.length &&
  pattern.every((side, i) => side === null || typeof shape[i] === 'string' || side === shape[i]);

const shown = (shape: readonly (number | string | null)[]) => `[${shape.map((side) => side ?? 'any').join(', ')}]`;

/** An ONNX file, opened: run it any number of times, then dispose of it. */
export class OnnxModel {
  readonly #session: DeviceSession;
  readonly #wanted: OnnxInterface;
  readonly #where: string;

  private constructor(session: DeviceSession, wanted: OnnxInterface, where: string) {
    this.#session = session;
    this.#wanted = wanted;
    this.#where = where;
  }

  /**
   * Opens `file` for what `wanted` says. A {@link TensorError} if it cannot be read, is too large, keeps weights in other
   * files, is refused by the runtime, or takes or gives something else; the sentence says what the file has.
   */
  static async open(file: string, wanted: OnnxInterface, options: OnnxOptions = {}): Promise<OnnxModel> {
    const { device = 'cpu', threads = 1, maxBytes = 2 ** 31 - 1 } = options;
    const where = `"${file}"`;
    const bytes = await readWhole(file, maxBytes, where);
    requireWholeOnnx(bytes, where);
    const session = await DeviceSession.open(bytes, { device, precision: 'fp32', threads }).catch((error: Error) => {
      if (error instanceof TensorError) throw error;
      throw refusal(where, `the runtime does not take it (${firstLine(error)})`);
    });
    try {
      for (const name of Object.keys(session.inputs)) {
        if (!Object.hasOwn(wanted.inputs, name))
          throw refusal(where, `it takes an input "${name}" too, where ${names(wanted.inputs)} is all that there is`);
      }
      requireAll('takes', wanted.inputs, session.inputs, where);
      requireAll('gives', wanted.outputs, session.outputs, where);
      return new OnnxModel(session, wanted, where);
    } catch (error) {
      await session.release();
      throw error;
    }
  }

  /** One run: every input that the model was opened for -> every output. A {@link TensorError} for a shape that does not fit. */
  async run(inputs: Record<string, Floats>): Promise<Record<string, Floats>> {
    const feeds = mapValues(this.#wanted.inputs, (pattern, name) => {
      const { shape, data } = inputs[name] ?? { shape: [], data: new Float32Array() };
      if (!fits(shape, pattern) || data.length !== sizeOf(shape))
        throw new TensorError(
          `The ONNX model ${this.#where} needs "${name}" as ${shown(pattern)} and was given ${data.length} numbers as ${shown(shape)}.`,
        );
      return new OrtTensor('float32', data, [...shape]);
    });
    const fetches = mapValues(this.#wanted.outputs, () => null);
    const results = await this.#session.run(feeds, fetches).catch((error: Error) => {
      if (error instanceof TensorError) throw error;
      throw refusal(this.#where, `it fails on inputs of this size (${firstLine(error)})`);
    });
    return mapValues(this.#wanted.outputs, (pattern, name) => {
      const { dims, data } = results[name] as OrtTensor;
      if (!fits(dims, pattern))
        throw refusal(this.#where, `it gave "${name}" as ${shown(dims)}, not ${shown(pattern)}`);
      return { shape: [...dims], data: data as Float32Array };
    });
  }

  dispose(): Promise<void> {
    return this.#session.release();
  }
}

const names = (record: object) =>
  Object.keys(record)
    .map((name) => `"${name}"`)
    .join(', ');

const firstLine = ({ message }: Error) =>
  message
    .split('\n')[0]
    .replace(/[.\s]+$/, '')
    .slice(0, 240);

const refusal = (where: string, why: string) =>
  new TensorError(`The ONNX model ${where} cannot be used: ${why}; give a model that was exported for this.`);

function requireAll(
  verb: string,
  wanted: Record<string, ShapePattern>,
  has: Record<string, Declared>,
  where: string,
): void {
  for (const [name, pattern] of Object.entries(wanted)) {
    if (!Object.hasOwn(has, name)) throw refusal(where, `it ${verb} no "${name}", only ${names(has) || 'nothing'}`);
    const { type, shape = [] } = has[name];
    if (type !== 'float32') throw refusal(where, `it ${verb} "${name}" as ${type}, not float32`);
    if (!fits(shape, pattern)) throw refusal(where, `it ${verb} "${name}" as ${shown(shape)}, not ${shown(pattern)}`);
  }
}

/** A regular file's bytes, never more than `most`. */
async function readWhole(file: string, most: number, where: string): Promise<Uint8Array> {
  const unreadable = (why: string) =>
    new TensorError(`The ONNX model ${where} cannot be read: ${why}; check the path.`);
  // A pipe would never answer.
  const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);
  const handle = await open(file, flags).catch((error: NodeJS.ErrnoException) => {
    throw unreadable(error.code ?? error.message);
  });
  try {
    const stats = await handle.stat();
    if (!stats.isFile()) throw unreadable('it is no regular file');
    if (stats.size > most) throw unreadable(`it has ${stats.size} bytes, and ${most} is the limit`);
    const bytes = new Uint8Array(stats.size);
    for (let done = 0; done < bytes.length; ) {
      const { bytesRead } = await handle.read(bytes, done, bytes.length - done, done);
      if (bytesRead === 0) throw unreadable('it was cut short while it was read');
      done += bytesRead;
    }
    return bytes;
  } finally {
    await handle.close();
  }
}

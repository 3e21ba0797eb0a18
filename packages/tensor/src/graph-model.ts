// A frozen network that its author published as a TF.js graph model: model.json, and the weights beside it. tfjs's own
// executor walks the graph, eagerly or while a program is being recorded, so that it compiles as any model's code does.

import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import type { io } from '@tensorflow/tfjs';
import { TensorError } from './errors.ts';
import { sizeOf } from './graph.ts';
import type { NamedTensors, Tensor } from './tf.ts';
import tf from './tf.ts';

const MAX_JSON = 100_000_000;
const MAX_WEIGHTS = 2 ** 31 - 1;
const BYTES: Record<string, number> = { float32: 4, int32: 4, bool: 1, float16: 2, uint8: 1, uint16: 2 };

/** A graph model's files, read and checked but not yet run. */
export class GraphModel {
  readonly #json: io.ModelJSON;
  readonly #weights: ArrayBuffer;
  readonly #where: string;

  private constructor(json: io.ModelJSON, weights: ArrayBuffer, where: string) {
    this.#json = json;
    this.#weights = weights;
    this.#where = where;
  }

  /**
   * Reads `file`, a model.json, and the weight files that it names beside itself. A {@link TensorError} where one cannot
   * be read, is no graph model, or holds other bytes than the manifest says.
   */
  static async open(file: string): Promise<GraphModel> {
    const where = `"${file}"`;
    const json = parse(await readWhole(file, MAX_JSON, where), where);
    const names = json.weightsManifest.flatMap(({ paths }) => paths);
    if (names.some((name) => typeof name !== 'string' || path.basename(name) !== name || name === '..'))
      throw refusal(where, 'it names weights outside its folder');
    const parts: Uint8Array[] = [];
    for (const name of names) parts.push(await readWhole(path.join(path.dirname(file), name), MAX_WEIGHTS, where));
    const held = parts.reduce((sum, part) => sum + part.byteLength, 0);
    const wanted = weightBytes(json, where);
    if (held !== wanted) throw refusal(where, `its weights have ${held} bytes, and it speaks of ${wanted}`);
    const whole = new Uint8Array(held);
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.byteLength;
    }
    return new GraphModel(json, whole.buffer, where);
  }

  /**
   * The tensors called `outputs`, from all that the graph takes. Weights become float32 tensors of the current backend at
   * every call; inside `compile` there is one. A {@link TensorError} for a graph that cannot run.
   */
  run(inputs: NamedTensors, outputs: string[]): NamedTensors {
    try {
      return tf.tidy(() => {
        const given = tf.loadGraphModelSync([this.#json, this.#weights]).execute(inputs, outputs);
        const tensors = Array.isArray(given) ? given : [given];
        return Object.fromEntries(outputs.map((name, i) => [name, tensors[i] as Tensor]));
      });
    } catch (error) {
      if (error instanceof TensorError) throw error;
      throw refusal(this.#where, (error as Error).message.replace(/[.\s]+$/, ''));
    }
  }
}

const refusal = (where: string, why: string) =>
  new TensorError(`The graph model ${where} cannot be used: ${why}; fetch or convert it again.`);

async function readWhole(file: string, most: number, where: string): Promise<Uint8Array> {
  try {
    const info = await stat(file);
    if (!info.isFile()) throw new Error(`"${path.basename(file)}" is no regular file`);
    if (info.size > most) throw new Error(`"${path.basename(file)}" has ${info.size} bytes, and ${most} is the limit`);
    return await readFile(file);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw refusal(where, code ? `"${path.basename(file)}" cannot be read (${code})` : message);
  }
}

function parse(bytes: Uint8Array, where: string): io.ModelJSON {
  let json: Partial<io.ModelJSON> | null;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw refusal(where, 'it is no JSON');
  }
  if (json?.format !== 'graph-model') throw refusal(where, 'it does not say that it is a graph model');
  const isGroup = (group: unknown) => ['paths', 'weights'].every((key) => Array.isArray((group as never)?.[key]));
  if (!json.modelTopology || !Array.isArray(json.weightsManifest) || !json.weightsManifest.every(isGroup))
    throw refusal(where, 'it lacks the graph or the list of weights');
  return json as io.ModelJSON;
}

function weightBytes({ weightsManifest }: io.ModelJSON, where: string): number {
  const specs = weightsManifest.flatMap(({ weights }) => weights);
  return specs.reduce((sum, spec: Partial<io.WeightsManifestEntry> | null) => {
    const { name, shape, dtype, quantization } = spec ?? {};
    const bytes = BYTES[quantization?.dtype ?? dtype ?? ''];
    if (!bytes || !Array.isArray(shape)) throw refusal(where, `its weight "${name}" is ${dtype}, which is not read`);
    return sum + bytes * sizeOf(shape);
  }, 0);
}

// The property that every operation must have: on random shapes the compiled program, eager tfjs and finite differences
// agree, in values and in all gradients. Shared by the tests of each family of kernels; not part of the package.

import { expect } from 'vitest';
import { compile, type Signature, type StepFunction } from './compile.ts';
import { type Engine, jsEngine, nativeEngines, type Values } from './engines.ts';
import { valueAndGrads } from './grads.ts';
import { sizeOf } from './graph.ts';
import { philox, type Rng } from './random.ts';
import type { Tensor } from './tf.ts';
import tf from './tf.ts';

/** One drawn instance of an operation: it is applied to float operands of these shapes. */
export interface Trial {
  op: (...xs: Tensor[]) => Tensor;
  shapes: number[][];
  /** What was drawn besides shapes, for messages. */
  options?: object;
}

export interface Property {
  name: string;
  /** Draws an instance; every shape and option comes from `rng`. */
  draw: (rng: Rng) => Trial;
  /** Of the operands. @default [-1.5, 1.5] */
  range?: [number, number];
  /** Whether gradients are compared. @default true */
  grad?: boolean;
  /** Whether they are compared with finite differences too; not where the function has kinks. @default grad */
  smooth?: boolean;
  /** Whether tfjs can differentiate it at all; else differences alone judge. @default true */
  eager?: boolean;
  /** @default 10 */
  trials?: number;
  /** Largest relative difference from tfjs, of what is as large as one. @default 5e-5 */
  tolerance?: number;
}

/** Uniform integer in [low, high]. */
export const between = (rng: Rng, low: number, high: number): number => low + rng.int(high - low + 1);
export const oneOf = <T>(rng: Rng, choices: readonly T[]): T => choices[rng.int(choices.length)];

/** The native engines that are here; a missing one is named. */
export function eagerEngines(): Engine[] {
  return nativeEngines().flatMap(({ name, engine, reason }) => {
    if (!engine) console.info(`${name} is not tested: ${reason}`);
    return engine ? [engine] : [];
  });
}

/** y, and the gradient of Σ y · cos(index) with respect to every operand. */
function step({ op }: Trial, grad: boolean): StepFunction {
  return (inputs) => {
    const names = Object.keys(inputs);
    if (!grad) return { outputs: { y: op(...names.map((name) => inputs[name])) } };
    const { grads, aux } = valueAndGrads((p) => {
      const y = op(...names.map((name) => p[name]));
      const weights = tf.tensor(Float32Array.from({ length: y.size }, weightAt), y.shape);
      return { value: tf.sum(tf.mul(y, weights)), aux: { y } };
    }, inputs);
    return { outputs: { ...aux, ...Object.fromEntries(names.map((name) => [`d/${name}`, grads[name]])) } };
  };
}

const weightAt = (_: unknown, i: number) => Math.cos(i);

function compare(actual: Values, expected: Values, tolerance: number, what: string): void {
  expect(Object.keys(actual).sort()).toEqual(Object.keys(expected).sort());
  for (const [name, wanted] of Object.entries(expected)) {
    expect(actual[name].length, `${name} of ${what}`).toBe(wanted.length);
    const scale = 1 + Math.sqrt(Array.from(wanted).reduce((sum, w) => sum + w * w, 0) / Math.max(1, wanted.length));
    wanted.forEach((w, i) => {
      const error = Math.abs(actual[name][i] - w) / scale;
      if (!(error < tolerance)) expect.fail(`${name}[${i}] of ${what}: ${actual[name][i]} for ${w}`);
    });
  }
}

/** Σ y · cos(index) in float64. */
const objective = (y: ArrayLike<number>): number =>
  Array.from(y).reduce((sum, value, i) => sum + value * Math.cos(i), 0);

/** The derivative along one random direction against a central difference. */
async function compareWithDifference(
  run: (values: Values) => Promise<Values>,
  values: Values,
  grads: Values,
  rng: Rng,
  what: string,
): Promise<void> {
  const direction: Values = Object.fromEntries(
    Object.entries(values).map(([name, data]) => [name, Float32Array.from(data, () => rng.between(-1, 1))]),
  );
  const moved = (h: number): Values =>
    Object.fromEntries(
      Object.entries(values).map(([name, data]) => [
        name,
        Float32Array.from(data, (v, i) => v + h * direction[name][i]),
      ]),
    );
  const h = 4e-3;
  const numeric = (objective((await run(moved(h))).y) - objective((await run(moved(-h))).y)) / (2 * h);
  let analytic = 0;
  let size = 0;
  for (const [name, by] of Object.entries(direction)) {
    grads[`d/${name}`].forEach((g, i) => {
      analytic += g * by[i];
      size += (g * by[i]) ** 2;
    });
  }
  const error = Math.abs(numeric - analytic) / (1 + Math.sqrt(size));
  if (!(error < 5e-3)) expect.fail(`the derivative of ${what} is ${analytic}, by differences ${numeric}`);
}

/** One eager run; null, said aloud, where the engine is known to lack what `fn` needs. */
async function runWithinLimits(engine: Engine, run: () => Promise<Values>, what: string): Promise<Values | null> {
  try {
    return await run();
  } catch (error) {
    const limit = engine.limitOf?.(error as Error) ?? null;
    if (limit === null) throw error;
    console.info(`${what} is not tested on ${engine.name}: ${limit}`);
    return null;
  }
}

/** Checks one property on `trials` drawn instances: compiled = tfjs on its CPU backend (= others) = differences. */
export async function checkProperty(property: Property, others: Engine[] = []): Promise<void> {
  const { grad = true, smooth = grad, eager = true, trials = 10, tolerance = 5e-5, range = [-1.5, 1.5] } = property;
  for (let trial = 0; trial < trials; trial++) {
    const rng = philox(11, property.name, trial);
    const drawn = property.draw(rng);
    const what = `${property.name} of [${drawn.shapes.join('] × [')}] ${JSON.stringify(drawn.options ?? {})}`;
    const inputs: Signature['inputs'] = {};
    const values: Values = {};
    for (const [i, shape] of drawn.shapes.entries()) {
      inputs[`x${i}`] = { shape, dtype: 'float32' };
      values[`x${i}`] = Float32Array.from({ length: sizeOf(shape) }, () => rng.between(...range));
    }
    const fn = step(drawn, grad);
    const program = await compile(fn, { inputs });
    const run = async (given: Values): Promise<Values> =>
      Object.fromEntries(Object.entries(await program.run(given)).map(([name, data]) => [name, data.slice()]));
    const actual = await run(values);
    if (eager) {
      const expected = await jsEngine.run(fn, { inputs }, values);
      compare(actual, expected, tolerance, what);
      for (const engine of others) {
        const theirs = await runWithinLimits(engine, () => engine.run(fn, { inputs }, values), what);
        if (theirs) compare(theirs, expected, tolerance, what);
      }
    }
    if (grad && smooth) await compareWithDifference(run, values, actual, rng, what);
    await program.dispose();
  }
}

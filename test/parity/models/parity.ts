// One network of ours against the fixture that its Python script wrote: every parameter of the file has a place, outputs
// and all gradients agree. Needs no Python.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { decodeSafetensors } from '@fovea/artifacts';
import type { ParamSpecs } from '@fovea/models';
import {
  compile,
  type NamedTensors,
  type NumericArray,
  type Spec,
  type Tensor,
  tf,
  valueAndGrads,
} from '@fovea/tensor';
import { expect } from 'vitest';

const RELATIVE = 1e-4;
const ABSOLUTE = 1e-5;

export interface Fixture {
  // biome-ignore lint/suspicious/noExplicitAny: what a script says about its network is for that network's test to read.
  about: any;
  /** By kind: `param`, `in`, `out`, `grad/param`, `grad/in`. */
  tensors: Record<string, { shape: number[]; dtype: Spec['dtype']; data: NumericArray }>;
}

export function readFixture(name: string): Fixture {
  const file = fileURLToPath(new URL(`../fixtures/models/${name}.safetensors`, import.meta.url));
  const { tensors, metadata } = decodeSafetensors(readFileSync(file), name);
  return {
    about: JSON.parse(metadata.about),
    tensors: Object.fromEntries(
      [...tensors].map(([key, { shape, data }]) => [
        key,
        { shape, dtype: data instanceof Int32Array ? 'int32' : 'float32', data: data as NumericArray },
      ]),
    ),
  };
}

/** The part of a fixture's tensors under `prefix`. */
export const under = <T>(record: Record<string, T>, prefix: string): Record<string, T> =>
  Object.fromEntries(
    Object.entries(record)
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, value]) => [key.slice(prefix.length), value]),
  );

/**
 * Checks `forward` (parameters and inputs by name -> outputs by name) against a fixture. `specs` must name exactly the
 * fixture's parameters with their shapes. Outputs that the fixture does not have may be left out of `forward`'s result.
 */
export async function checkParity(
  { tensors }: Fixture,
  specs: ParamSpecs,
  forward: (params: NamedTensors, inputs: NamedTensors) => NamedTensors,
): Promise<void> {
  const params = under(tensors, 'param/');
  const inputs = under(tensors, 'in/');
  const shapes = (record: Record<string, { shape: number[] }>) =>
    Object.fromEntries(Object.entries(record).map(([name, { shape }]) => [name, shape.join()]));
  expect(shapes(specs)).toEqual(shapes(params));
  const isFree = ([, { dtype }]: [string, { dtype: string }]) => dtype === 'float32';
  const free = Object.entries({ ...prefix('param/', params), ...prefix('in/', inputs) }).filter(isFree);
  const names = free.map(([name]) => name);
  const program = await compile(
    (given) => {
      const { grads, aux } = valueAndGrads(
        (leaves) => {
          const all = { ...given, ...leaves };
          const outputs = forward(under(all, 'param/'), under(all, 'in/'));
          return {
            value: Object.values(outputs)
              .map(weigh)
              .reduce((a, b) => tf.add(a, b)),
            aux: outputs,
          };
        },
        Object.fromEntries(names.map((name) => [name, given[name]])),
      );
      return { outputs: { ...prefix('out/', aux), ...prefix('grad/', grads) } };
    },
    { inputs: { ...prefix('param/', params), ...prefix('in/', inputs) } },
  );
  const data = Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, tensor.data]));
  const got = await program.run(data);
  for (const [name, wanted] of Object.entries(tensors)) {
    if (!/^(out|grad)\//.test(name)) continue;
    expect(got[name], `${name} is not among what the network gives`).toBeDefined();
    expectClose(got[name], wanted.data, name);
  }
  for (const name of names) {
    if (`grad/${name}` in tensors) continue;
    expect(
      got[`grad/${name}`].every((x: number) => x === 0),
      `${name} has a gradient, in PyTorch it has none`,
    ).toBe(true);
  }
  await program.dispose();
}

/** Σ output · cos(index). */
function weigh(x: Tensor): Tensor {
  const weights = tf.reshape(tf.cos(tf.range(0, x.size, 1, 'float32')), x.shape);
  return tf.sum(tf.mul(x, weights)) as Tensor;
}

export function expectClose(actual: NumericArray, wanted: NumericArray, what: string): void {
  expect(actual.length, what).toBe(wanted.length);
  for (let i = 0; i < wanted.length; i++) {
    if (!(Math.abs(actual[i] - wanted[i]) <= ABSOLUTE + RELATIVE * Math.abs(wanted[i])))
      expect.fail(`${what}[${i}] is ${actual[i]}, in PyTorch ${wanted[i]}`);
  }
}

const prefix = <T>(by: string, record: Record<string, T>): Record<string, T> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [by + key, value]));

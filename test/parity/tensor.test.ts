// The tensor engine against PyTorch: each function and block with its gradients, compiled, against the files that
// tensor.py wrote (float64 inside, so they hold the right answer). Needs no Python.

import type { DecodedTensor } from '@fovea/artifacts';
import { compiledEngine, type NumericArray } from '@fovea/tensor';
import { describe, expect, it } from 'vitest';
import { files, load, missing, runnable } from './cases.ts';

const RELATIVE = 1e-4;
const ABSOLUTE = 1e-5;

function expectClose(actual: NumericArray, wanted: ArrayLike<number>, what: string): void {
  expect(actual.length, what).toBe(wanted.length);
  for (let i = 0; i < wanted.length; i++) {
    const error = Math.abs(actual[i] - wanted[i]);
    if (!(error <= ABSOLUTE + RELATIVE * Math.abs(wanted[i])))
      expect.fail(`${what}[${i}] is ${actual[i]}, in PyTorch ${wanted[i]}`);
  }
}

describe('parity with PyTorch', () => {
  it('has fixtures', () => expect(files.length).toBeGreaterThanOrEqual(8));

  describe.each(files)('%s', (file) => {
    const { cases, tensors } = load(file);
    const reason = missing(file);
    if (reason) console.info(`parity: ${reason}`);
    it.skipIf(reason).each(cases.map((c) => [`${c.op} ${c.label}${JSON.stringify(c.options)}`, c] as const))(
      '%s',
      async (_name, c) => {
        const { step, signature, values } = runnable(c, tensors);
        const results = await compiledEngine.run(step, signature, values);
        for (const [name, data] of Object.entries(results)) {
          const wanted = tensors.get(`${c.key}/${name}`) as DecodedTensor;
          expectClose(data, wanted.data as Float32Array, `${c.op} ${name}`);
        }
      },
    );
  });
});

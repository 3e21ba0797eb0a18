// The memory report against the machine: each program runs in a child process whose high-water mark is read, so that a
// checkpoint or a blocked attention which the runtime undid would be seen.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { lowerToOnnx, type ProgramReport } from './compile.ts';
import { valueAndGrads } from './grads.ts';
import tf from './tf.ts';

const MB = 2 ** 20;
const measurable = existsSync('/proc/self/clear_refs');
if (!measurable) console.info('memory.test: no high-water marks are read: this system has no /proc/self/clear_refs');

interface Measured extends ProgramReport {
  value: number;
  raised: number;
}

function measure(name: string): Measured {
  const child = fileURLToPath(new URL('memory.testing.ts', import.meta.url));
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--import', 'tsx', child, name], {
    encoding: 'utf8',
    timeout: 280_000,
  });
  expect(status, stderr).toBe(0);
  return JSON.parse(stdout);
}

/** The next state's buffers are first touched by a run. */
const expected = (m: Measured) => m.workBytes + m.stateBytes;

describe('memory report', () => {
  it('counts parameters and what the gradient keeps', () => {
    const square = { shape: [8, 8], dtype: 'float32' as const };
    const { memory } = lowerToOnnx(
      ({ x }, { w }, { frozen }) => {
        const { value, grads } = valueAndGrads(
          (p) => {
            const hidden = tf.tanh(tf.matMul(tf.matMul(x as never, frozen as never), p.w as never));
            return { value: tf.sum(tf.tanh(hidden)) };
          },
          { w },
        );
        return { outputs: { value }, state: { w: tf.sub(w, grads.w) } };
      },
      {
        inputs: { x: { shape: [4, 8], dtype: 'float32' } },
        state: { w: square },
        constants: { frozen: { ...square, data: new Float32Array(64) } },
      },
    );
    // Kept: x · frozen, and both tanh.
    expect(memory).toMatchObject({ parameters: 128, trainableBytes: 256, frozenBytes: 256, activationBytes: 3 * 128 });
    expect(memory.workBytes).toBeGreaterThanOrEqual(memory.activationBytes);
  });

  it.skipIf(!measurable)(
    'is within a quarter of what blocks take, and checkpointing them halves it at least',
    () => {
      const [plain, checkpointed] = [measure('plain'), measure('checkpointed')];
      for (const m of [plain, checkpointed]) {
        expect(m.raised / expected(m)).toBeGreaterThan(0.8);
        expect(m.raised / expected(m)).toBeLessThan(1.25);
      }
      expect(Math.abs(plain.value - checkpointed.value)).toBeLessThan(1e-6 * plain.value);
      expect(checkpointed.activationBytes).toBeLessThan(plain.activationBytes / 10);
      expect(checkpointed.raised).toBeLessThan(plain.raised / 2);
    },
    600_000,
  );

  it.skipIf(!measurable)(
    'holds for attention over 4096 tokens, whose 512 MiB of scores are never all there',
    () => {
      const m = measure('attention');
      expect(m.raised / expected(m)).toBeGreaterThan(0.8);
      expect(m.raised / expected(m)).toBeLessThan(1.25);
      expect(m.raised).toBeLessThan(192 * MB);
    },
    300_000,
  );
});

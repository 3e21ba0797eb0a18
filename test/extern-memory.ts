// A process of its own for extern-weights.test.ts: opens a large weight file as constants of a program, copied or mapped,
// runs it, and prints what that cost in memory (MB, from /proc/self/status, less what the process had before).

import { readFileSync } from 'node:fs';
import { ParamStore } from '@fovea/artifacts';
import { compile, tf } from '@fovea/tensor';

const [mode, file] = process.argv.slice(2);

function memory() {
  const status = readFileSync('/proc/self/status', 'utf8');
  const field = (name: string) => Number(status.match(new RegExp(`${name}:\\s+(\\d+)`))?.[1]) / 1024;
  return { peak: field('VmHWM'), anonymous: field('RssAnon') };
}

const before = memory();
const store = await ParamStore.open(file);
const [side] = store.tensors.get('w')!.shape;
const program = await compile(
  ({ x }, _, { w }) => ({ outputs: { y: tf.matMul(x, w) } }),
  {
    inputs: { x: { shape: [8, side], dtype: 'float32' } },
    constants: mode === 'copied' ? await store.copy(['w']) : store.map(['w']),
  },
  { mappedWeights: mode === 'keep' ? 'keep' : 'pack' },
);
const { y } = await program.run({ x: new Float32Array(8 * side).fill(1) });
const after = memory();
console.log(
  JSON.stringify({
    peak: Math.round(after.peak - before.peak),
    anonymous: Math.round(after.anonymous - before.anonymous),
    y: y[5],
  }),
);

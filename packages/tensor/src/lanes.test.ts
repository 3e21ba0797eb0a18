// The same program computed by one thread and by several: the same bits, and threads that fail say so.

import { describe, expect, it } from 'vitest';
import { compile, type Signature, type StepFunction } from './compile.ts';
import { cutAtScan } from './cut.ts';
import { jsEngine } from './engines.ts';
import { quickGelu } from './functional/index.ts';
import { valueAndGrads } from './grads.ts';
import { Graph, type NumericArray } from './graph.ts';
import { Lane } from './lane.ts';
import { lowerGraph } from './lower.ts';
import { microBatches } from './microbatch.ts';
import { philox } from './random.ts';
import { mapValues, recordGraph, valueBehind } from './recorder.ts';
import { simplify } from './simplify.ts';
import type { Tensor } from './tf.ts';
import tf from './tf.ts';

const [batch, tokens, width] = [8, 40, 24];
const spec = (...shape: number[]) => ({ shape, dtype: 'float32' as const });
const rng = philox(3, 'lanes');
const draw = (n: number, scale = 1) => Float32Array.from({ length: n }, () => scale * rng.normal());

const signature = {
  inputs: { x: spec(batch, tokens, width), label: { shape: [batch], dtype: 'int32' as const } },
  state: { w: spec(width, width), seen: spec(batch) },
  constants: { frozen: { ...spec(width, width), data: draw(width * width, 0.3) } },
} satisfies Signature;
const inputs = { x: draw(batch * tokens * width), label: Int32Array.from({ length: batch }, (_, i) => i % 3) };
const state = { w: draw(width * width, 0.3), seen: new Float32Array(batch) };

/** Something before the scan, sums and rows of it, and something after that reads all of these. */
const step =
  (count: number): StepFunction =>
  ({ x, label }, { w, seen }, { frozen }) => {
    const turned = tf.matMul(w as never, frozen as never) as Tensor;
    const { mean, rows } = microBatches(count, { x, label }, (slice) => {
      const { value, grads, aux } = valueAndGrads(
        (p) => {
          const flat = tf.reshape(slice.x, [-1, width]);
          const hidden = quickGelu(tf.matMul(flat as never, tf.add(p.w, turned) as never) as Tensor);
          const each = tf.mean(tf.square(tf.reshape(hidden, [-1, tokens * width])), 1);
          const weight = tf.add(tf.cast(slice.label, 'float32'), 1);
          return { value: tf.mean(tf.mul(each, weight)) as Tensor, aux: { each } };
        },
        { w },
      );
      return { mean: { value, grad: grads.w }, rows: { each: aux.each } };
    });
    return {
      outputs: { loss: mean.value, each: rows.each },
      state: { w: tf.sub(w, tf.mul(tf.add(mean.grad, turned), 0.1)), seen: tf.add(seen, rows.each) },
    };
  };

async function run(count: number, threads: number, steps = 3): Promise<Record<string, NumericArray>> {
  const program = await compile(step(count), signature, { threads });
  program.setState(state);
  let outputs: Record<string, NumericArray> = {};
  for (let i = 0; i < steps; i++) outputs = await program.run(inputs);
  const all = {
    ...mapValues(outputs, (data) => data.slice()),
    w: program.getState('w'),
    seen: program.getState('seen'),
  };
  await program.dispose();
  return all;
}

function cutOf(count: number, activationBytes = 2 ** 20) {
  const graph = new Graph();
  const named = recordGraph(
    graph,
    { ...signature.inputs, ...signature.state },
    signature.constants,
    (given, frozen) => {
      const { x, label, ...carried } = given;
      const { outputs, state: next } = step(count)({ x, label }, carried, frozen);
      return mapValues({ ...outputs, next: next?.w as Tensor }, valueBehind);
    },
  );
  return cutAtScan(graph, mapValues(named, simplify(graph)), activationBytes);
}

describe('a program in lanes', () => {
  it('gives the same bits by any number of threads, and those of the whole batch to rounding', async () => {
    const one = await run(4, 1);
    for (const threads of [2, 3, 4]) expect(await run(4, threads), `${threads} threads`).toEqual(one);
    expect(await run(2, 2), 'one slice a part').toEqual(await run(2, 1));
    const whole = await jsEngine.run(step(1), signature, inputs, state);
    const first = await run(4, 2, 1);
    for (const [name, got] of Object.entries(first))
      (whole[name] ?? whole[`state/${name}`]).forEach((want, i) => {
        expect(Math.abs(got[i] - want), `${name}[${i}]`).toBeLessThan(1e-4 * (1 + Math.abs(want)));
      });
  });

  it('is cut only where there is an even number of slices and sums weigh little', () => {
    expect(cutOf(4)).not.toBeNull();
    expect(cutOf(8)).not.toBeNull();
    expect(cutOf(1)).toBeNull();
    expect(cutOf(4, 1000)).toBeNull();
    const cut = cutOf(4);
    // `turned` is computed once, before; the label's rows and the pictures' go to the parts.
    expect(cut?.before?.graph.nodes.map((node) => node.kernel)).toContain('BatchMatMul');
    expect(cut?.rowsOf).toEqual({ 'rows/0': 'x', 'rows/1': 'label' });
    expect(Object.keys(cut?.part.results ?? {})).toEqual(['sum/0', 'sum/1', 'row/0']);
  });

  it('refuses a second run while one is under way, and works afterwards', async () => {
    const program = await compile(step(4), signature, { threads: 2 });
    program.setState(state);
    const first = program.run(inputs);
    await expect(program.run(inputs)).rejects.toThrow('The program is running; await one run before the next.');
    await first;
    await expect(program.run(inputs)).resolves.toBeDefined();
    await program.dispose();
  });
});

describe('a lane', () => {
  const tensors = () => {
    const cut = cutOf(4);
    if (!cut) throw new Error('the step was not cut');
    return { part: cut.part, bytes: lowerGraph(cut.part, { device: 'cpu', precision: 'fp32' }).bytes };
  };

  it('that cannot open its session says why', async () => {
    const lane = new Lane(tensors().part);
    await expect(lane.open(new Uint8Array([1, 2, 3]), {})).rejects.toThrow(
      /^A thread of the program could not start: .*(protobuf|model)/i,
    );
    await lane.release();
  });

  it('that ends is an error at once and ever after, not a wait', async () => {
    const { part, bytes } = tensors();
    const lane = new Lane(part);
    const opening = lane.open(bytes, {});
    await lane.release();
    const ended = /^A thread of the program ended: its exit code is \d; open the program again\.$/;
    await expect(opening).rejects.toThrow(ended);
    await expect(lane.run({})).rejects.toThrow();
    await expect(lane.open(new Uint8Array(4), {})).rejects.toThrow(ended);
  });
});

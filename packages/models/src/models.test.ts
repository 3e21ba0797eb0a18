// The networks: shapes, what starts where, agreement between the compiled and the eager form, and the small helpers.

import { compiledEngine, jsEngine, mapValues, type NumericArray, type StepFunction, tf } from '@fovea/tensor';
import { philox } from '@fovea/tensor/random';
import { describe, expect, it } from 'vitest';
import { encodeImage, type VisionConfig, visionSpecs } from './clip.ts';
import { type DenoiserConfig, denoise, denoiserSpecs, projectCondition, projectorSpecs } from './denoiser.ts';
import { applyLora, loraSpecs, mergeLora } from './lora.ts';
import { initialise, patchify, unpatchify, type Weights } from './params.ts';
import { bagsOf, unknownWords, vocabularyOf } from './tokenizer.ts';

const vision: VisionConfig = { imageSize: 8, patchSize: 4, width: 8, layers: 2, heads: 2, mlpRatio: 2, projection: 6 };
const denoiser: DenoiserConfig = { imageSize: 8, patchSize: 4, width: 8, layers: 2, heads: 2, conditionTokens: 2 };

const random = (length: number, index: number) => {
  const rng = philox(9, 'models', 0, index);
  return Float32Array.from({ length }, () => rng.normal());
};

const constantsOf = (weights: Weights) =>
  mapValues(weights, ({ shape, data }) => ({ shape, data, dtype: 'float32' as const }));

async function agree(
  fn: StepFunction,
  inputs: Record<string, { shape: number[]; data: Float32Array }>,
  weights: Weights,
) {
  const signature = {
    inputs: mapValues(inputs, ({ shape }) => ({ shape, dtype: 'float32' as const })),
    constants: constantsOf(weights),
  };
  const values = mapValues(inputs, ({ data }): NumericArray => data);
  const [ours, reference] = [
    await compiledEngine.run(fn, signature, values),
    await jsEngine.run(fn, signature, values),
  ];
  for (const [name, wanted] of Object.entries(reference)) {
    wanted.forEach((w, i) =>
      expect(Math.abs(ours[name][i] - w), `${name}[${i}]`).toBeLessThan(1e-4 * (1 + Math.abs(w))),
    );
  }
  return ours;
}

describe('vision tower', () => {
  it('gives tokens, pooled and projected features, the same compiled and eager', async () => {
    const pixels = { shape: [3, 3, 8, 8], data: random(3 * 192, 0) };
    const weights = initialise(visionSpecs(vision), 1);
    const out = await agree(
      ({ pixels: x }, _s, p) => {
        const { hidden, normed, pooled, embeds } = encodeImage(p, x, vision);
        return { outputs: { hidden, normed, pooled, embeds } };
      },
      { pixels },
      weights,
    );
    expect(mapValues(out, (x) => x.length)).toEqual({
      hidden: 3 * 5 * 8,
      normed: 3 * 5 * 8,
      pooled: 3 * 8,
      embeds: 3 * 6,
    });
  });

  it('treats every picture by itself', async () => {
    const weights = initialise(visionSpecs(vision), 1);
    const data = random(2 * 192, 5);
    const run = async (batch: number, part: Float32Array) =>
      (
        await compiledEngine.run(
          ({ pixels: x }, _s, p) => ({ outputs: { e: encodeImage(p, x, vision).embeds } }),
          {
            inputs: { pixels: { shape: [batch, 3, 8, 8], dtype: 'float32' } },
            constants: constantsOf(weights),
          },
          { pixels: part },
        )
      ).e;
    const [both, second] = [await run(2, data), await run(1, data.slice(192))];
    second.forEach((value, i) => expect(Math.abs(value - both[6 + i])).toBeLessThan(1e-5));
  });

  it('starts each parameter from its own name and the seed', () => {
    const [a, b] = [initialise(visionSpecs(vision), 1), initialise(visionSpecs({ ...vision, layers: 1 }), 1)];
    for (const [name, { data }] of Object.entries(b)) {
      // Layers that write to the residual stream start smaller the deeper the tower is.
      if (!/out_proj|fc2/.test(name)) expect(a[name].data, name).toEqual(data);
    }
    expect(initialise(visionSpecs(vision), 2)['visual_projection.weight'].data).not.toEqual(
      a['visual_projection.weight'].data,
    );
  });
});

describe('denoiser', () => {
  const specs = { ...projectorSpecs(8, denoiser), ...denoiserSpecs(denoiser) };
  const inputs = {
    noisy: { shape: [2, 3, 8, 8], data: random(2 * 192, 1) },
    t: { shape: [2], data: Float32Array.of(0.2, 0.9) },
    selected: { shape: [2, 2, 8], data: random(32, 2) },
  };
  const fn: StepFunction = ({ noisy, t, selected }, _s, p) => ({
    outputs: { out: denoise(p, noisy, t, projectCondition(p, selected), denoiser) },
  });

  it('predicts zero at the start (adaLN-zero)', async () => {
    const { out } = await agree(fn, inputs, initialise(specs, 1));
    expect([...new Set(out)]).toEqual([0]);
  });

  it('is the same compiled and eager, and hears its condition', async () => {
    const weights = mapValues(initialise(specs, 1), ({ shape, data }, name) => ({
      shape,
      data: data.map((x, i) => x + 0.1 * Math.sin(i + name.length)),
    }));
    const a = await agree(fn, inputs, weights);
    const b = await agree(fn, { ...inputs, selected: { shape: [2, 2, 8], data: random(32, 3) } }, weights);
    expect(a.out).not.toEqual(b.out);
  });
});

describe('patches', () => {
  it('come back', async () => {
    const pixels = random(2 * 192, 4);
    const { out } = await jsEngine.run(
      ({ x }) => ({ outputs: { out: unpatchify(patchify(x, 4), 4) } }),
      { inputs: { x: { shape: [2, 3, 8, 8], dtype: 'float32' } } },
      { x: pixels },
    );
    expect(out).toEqual(pixels);
  });
});

describe('adapters', () => {
  const base = initialise(visionSpecs(vision), 1);
  const lora = { rank: 2, alpha: 4 };
  const adapters = initialise(loraSpecs(visionSpecs(vision), lora), 2);

  it('wrap the linear layers of the blocks and nothing else, and start as nothing', () => {
    expect(Object.keys(adapters).length).toBe(2 * 2 * 6);
    const merged = mergeLora({ ...base, ...adapters }, lora);
    expect(Object.keys(merged)).toEqual(Object.keys(base));
    for (const [name, { data }] of Object.entries(base)) expect(merged[name].data).toEqual(data);
  });

  it('merge on arrays as they do in the graph', async () => {
    const trained = mapValues(adapters, ({ shape }, name) => ({
      shape,
      data: random(shape[0] * shape[1], name.length),
    }));
    const merged = mergeLora({ ...base, ...trained }, lora);
    const name = 'vision_model.encoder.layers.0.mlp.fc1.weight';
    const signature = { inputs: {}, constants: constantsOf({ ...base, ...trained }) };
    const { w } = await jsEngine.run(
      (_i, _s, p) => ({ outputs: { w: tf.add(applyLora(p, p, lora)[name], 0) } }),
      signature,
      {},
    );
    merged[name].data.forEach((value, i) => expect(Math.abs(value - w[i])).toBeLessThan(1e-5));
  });
});

describe('names', () => {
  it('become mean bags of their words', () => {
    const vocabulary = vocabularyOf(['High-speed train', 'train']);
    expect(vocabulary).toEqual(['high', 'speed', 'train']);
    expect([...bagsOf(['high-speed train', 'TRAIN'], vocabulary)].map((x) => Math.round(x * 100) / 100)).toEqual([
      0.33, 0.33, 0.33, 0, 0, 1,
    ]);
    expect(unknownWords(['fast train'], vocabulary)).toEqual(['fast']);
  });
});

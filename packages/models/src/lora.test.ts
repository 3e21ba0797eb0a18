// Which layers adapters are put on, and weights between two checkpoints.

import { describe, expect, it } from 'vitest';
import { visionSpecs } from './clip.ts';
import { adaptedLayers, loraSpecs } from './lora.ts';
import { initialise, type Weights } from './params.ts';
import { interpolate } from './wise-ft.ts';

const specs = visionSpecs({ imageSize: 8, patchSize: 4, width: 8, layers: 2, heads: 2, mlpRatio: 2, projection: 6 });
const block = (i: number) => `vision_model.encoder.layers.${i}`;

describe('targets', () => {
  it('are names, endings of names, a regular expression for whole names, or everything', () => {
    expect(adaptedLayers(specs, ['q_proj'])).toEqual([0, 1].map((i) => `${block(i)}.self_attn.q_proj`));
    expect(adaptedLayers(specs, ['mlp.fc1', `${block(0)}.mlp.fc2`])).toEqual([
      `${block(0)}.mlp.fc1`,
      `${block(0)}.mlp.fc2`,
      `${block(1)}.mlp.fc1`,
    ]);
    expect(adaptedLayers(specs, '.*layers\\.1\\.mlp\\.(fc1|fc2)')).toEqual([
      `${block(1)}.mlp.fc1`,
      `${block(1)}.mlp.fc2`,
    ]);
    expect(adaptedLayers(specs, 'All-Linear').length).toBe(2 * 6 + 1);
    expect(adaptedLayers(specs).length).toBe(2 * 6);
  });

  it('that name nothing are an error that says what there is', () => {
    const there =
      /names no linear layer of the model; it has 13, called fc1, fc2, k_proj, out_proj, q_proj, v_proj, visual_projection/;
    expect(() => adaptedLayers(specs, ['q_proj', 'query'])).toThrow(there);
    expect(() => adaptedLayers(specs, 'q_proj')).toThrow(there);
    expect(() => adaptedLayers(specs, ['patch_embedding'])).toThrow(there);
    expect(() => adaptedLayers(specs, ['position_embedding'])).toThrow(there);
    expect(() => adaptedLayers(specs, [])).toThrow(there);
    expect(() => adaptedLayers(specs, '(')).toThrow(/"\(" is no regular expression/);
    expect(() => adaptedLayers({}, 'all-linear')).toThrow(/it has 0/);
  });

  it('cannot be trained with dropout', () => {
    expect(() => loraSpecs(specs, { rank: 2, alpha: 2, dropout: 0.1 })).toThrow(/dropout 0\.1 cannot be trained with/);
  });
});

describe('interpolation', () => {
  const [start, end] = [initialise(specs, 1), initialise(specs, 2)];
  const word = (weights: Weights) => Object.values(weights).map(({ data }) => new Uint32Array(data.buffer.slice(0)));

  it('goes from one checkpoint to the other, to the very bits', () => {
    const zero = { ...start, logit_scale: { shape: [2], data: Float32Array.of(-0, 1e-40) } };
    const one = { ...end, logit_scale: { shape: [2], data: Float32Array.of(3e38, -0) } };
    expect(word(interpolate(zero, one, 0))).toEqual(word(zero));
    expect(word(interpolate(zero, one, 1))).toEqual(word(one));
    expect(word(interpolate(start, start, 0.3))).toEqual(word(start));
    const name = 'visual_projection.weight';
    const quarter = interpolate(start, end, 0.25)[name].data;
    quarter.forEach((x, i) => expect(x).toBeCloseTo(0.75 * start[name].data[i] + 0.25 * end[name].data[i], 6));
    expect(interpolate(start, end, 0)[name].data).not.toBe(start[name].data);
  });

  it('refuses what does not belong together', () => {
    expect(() => interpolate(start, end, 1.5)).toThrow(/by alpha 1\.5; give a number from 0 to 1/);
    expect(() => interpolate(start, end, Number.NaN)).toThrow(/by alpha NaN/);
    const { 'visual_projection.weight': _, ...less } = end;
    expect(() => interpolate(start, less, 0.5)).toThrow(/only the start has "visual_projection\.weight"/);
    expect(() => interpolate(less, start, 0.5)).toThrow(/only the end has "visual_projection\.weight"/);
    const other = { ...end, 'visual_projection.weight': { shape: [8, 6], data: new Float32Array(48) } };
    expect(() => interpolate(start, other, 0.5)).toThrow(/is \[6,8\] at the start and \[8,6\] at the end/);
  });
});

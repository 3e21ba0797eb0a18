// What parity cannot show of the published towers: where a configuration holds them, and what is refused.

import { FoveaError } from '@fovea/artifacts';
import { compiledEngine } from '@fovea/tensor';
import { describe, expect, it } from 'vitest';
import { clipText, clipTextSpecs, readClipTextConfig } from './clip-text.ts';
import { clipVitShape, clipVitSpecs, readClipVitConfig } from './clip-vit.ts';
import { dinov2Shape, dinov2Specs, readDinov2Config } from './dinov2.ts';
import { initialise, type ParamSpecs } from './params.ts';
import { readSiglipConfig, siglipShape } from './siglip.ts';
import { readSiglipTextConfig } from './siglip-text.ts';

const large = {
  hidden_size: 1024,
  intermediate_size: 4096,
  num_attention_heads: 16,
  num_hidden_layers: 24,
  patch_size: 14,
};

/** Parameters in all. */
const count = (specs: ParamSpecs) =>
  Object.values(specs).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);

describe('the configuration of a whole CLIP', () => {
  const whole = {
    model_type: 'clip',
    projection_dim: 768,
    vision_config: { ...large, projection_dim: 512, image_size: 336 },
  };

  it('gives its picture tower, with the width of the whole', () => {
    const config = readClipVitConfig(whole, 'L/14-336');
    expect(clipVitShape(config)).toMatchObject({ patches: 576, prefix: 1, width: 1024, projection: 768 });
    // 303,507,456 of CLIPVisionModel (openai/clip-vit-large-patch14-336) and the projection.
    expect(count(clipVitSpecs(config))).toBe(303_507_456 + 1024 * 768);
  });

  it('believes vision_config_dict, as transformers does', () => {
    const old = { ...whole, vision_config_dict: { ...large, hidden_size: 1280 } };
    expect(readClipVitConfig(old, 'old')).toMatchObject({ width: 1280, imageSize: 224, layers: 24 });
  });

  it('gives its text tower', () => {
    const text = { hidden_size: 768, intermediate_size: 3072, num_attention_heads: 12, eos_token_id: 2 };
    const config = readClipTextConfig({ ...whole, text_config: text }, 'L/14');
    expect(config).toMatchObject({ width: 768, endOfText: 2, projection: 768 });
    // 123,060,480 of CLIPTextModel (Stable Diffusion 1's text encoder) and the projection.
    expect(count(clipTextSpecs(config))).toBe(123_060_480 + 768 * 768);
    expect(count(clipTextSpecs({ ...config, projection: null }))).toBe(123_060_480);
  });
});

describe('other configurations', () => {
  it('of SigLIP drop the pixels that fill no patch', () => {
    const config = readSiglipConfig({ model_type: 'siglip', vision_config: { image_size: 384, patch_size: 14 } }, 'SO');
    expect(siglipShape(config)).toMatchObject({ patches: 729, prefix: 0 });
    expect(readSiglipTextConfig({ model_type: 'siglip', text_config: {} }, 'SO').projection).toBe(768);
  });

  it("of DINOv2's giant round the SwiGLU up", () => {
    const giant = { model_type: 'dinov2', hidden_size: 1536, num_hidden_layers: 40, num_attention_heads: 24 };
    const config = readDinov2Config({ ...giant, use_swiglu_ffn: true, image_size: 518 }, 'giant');
    expect(config.hidden).toBe(4096);
    expect(dinov2Specs(config)['encoder.layer.39.mlp.weights_in.weight'].shape).toEqual([8192, 1536]);
    const registers = readDinov2Config({ model_type: 'dinov2_with_registers', patch_size: 14 }, 'registers');
    expect(dinov2Shape(registers)).toMatchObject({ patches: 256, prefix: 5 });
  });

  const vit = { model_type: 'clip_vision_model' };
  it.each([
    [() => readClipVitConfig({ model_type: 'siglip' }, 'f'), /f cannot be used: model_type/],
    [() => readClipVitConfig({}, 'f'), /f cannot be used: model_type/],
    [() => readClipVitConfig([], 'f'), /f cannot be used/],
    [
      () => readClipVitConfig({ ...vit, num_attention_heads: 7 }, 'f'),
      /num_attention_heads — it must divide hidden_size/,
    ],
    [() => readClipVitConfig({ ...vit, patch_size: 256 }, 'f'), /patch_size — it must not exceed image_size/],
    [() => readClipVitConfig({ ...vit, hidden_act: 'mish' }, 'f'), /hidden_act/],
    [() => readClipVitConfig({ ...vit, num_channels: 1 }, 'f'), /num_channels/],
    [() => readClipTextConfig({ model_type: 'clip_text_model', eos_token_id: [1, 2] }, 'f'), /eos_token_id/],
    [() => readSiglipConfig({ model_type: 'siglip_vision_model', vision_use_head: false }, 'f'), /vision_use_head/],
    [() => readDinov2Config({ model_type: 'dinov3_vit' }, 'f'), /model_type/],
    [() => readDinov2Config({ model_type: 'dinov2', image_size: [224, 448] }, 'f'), /image_size/],
  ])('that we cannot do are refused by the name of the field: %s', (read, message) => {
    expect(read).toThrow(FoveaError);
    expect(read).toThrow(message);
  });
});

describe("CLIP's text tower", () => {
  it('refuses more tokens than it has positions', async () => {
    const config = {
      ...readClipTextConfig({ model_type: 'clip_text_model', max_position_embeddings: 4 }, 'f'),
      ...{ width: 8, layers: 1, heads: 2, hidden: 8, vocabulary: 9, projection: null },
    };
    const weights = Object.entries(initialise(clipTextSpecs(config), 1));
    const constants = Object.fromEntries(weights.map(([name, w]) => [name, { ...w, dtype: 'float32' as const }]));
    const run = compiledEngine.run(
      ({ ids }, _s, p) => ({ outputs: { out: clipText(p, ids, config).pooled } }),
      { inputs: { ids: { shape: [1, 5], dtype: 'int32' } }, constants },
      { ids: new Int32Array(5) },
    );
    await expect(run).rejects.toThrow(/at most 4 tokens and was given 5/);
  });
});

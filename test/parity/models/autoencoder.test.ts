// The autoencoders against diffusers: moments, drawn latents and pictures, with all gradients.

import {
  autoencoderKlSpecs,
  decodeKl,
  decodeTiny,
  encodeKl,
  encodeTiny,
  klDecoderSpecs,
  klEncoderSpecs,
  klStride,
  latentOf,
  readAutoencoderKlConfig,
  readTinyAutoencoderConfig,
  renameEarlyAttention,
  TAEF2,
  type TinyAutoencoderConfig,
  tinyDecoderSpecs,
  tinyEncoderSpecs,
} from '@fovea/models';
import { describe, expect, it } from 'vitest';
import { checkParity, readFixture } from './parity.ts';

describe('AutoencoderKL', () => {
  it.each(['kl-sd', 'kl-flux', 'kl-plain'])('%s is diffusers', async (name) => {
    const fixture = readFixture(name);
    const c = readAutoencoderKlConfig(fixture.about.config, name);
    await checkParity(fixture, autoencoderKlSpecs(c), (p, { pixels, noise, latents }) => {
      const moments = encodeKl(p, pixels, c);
      return { ...moments, drawn: latentOf(moments, noise, c), decoded: decodeKl(p, latents, c) };
    });
  });

  it('knows the early names of its attention, and loses no tensor', () => {
    const c = readAutoencoderKlConfig(readFixture('kl-sd').about.config, 'kl-sd');
    const specs = { ...klEncoderSpecs(c), ...klDecoderSpecs(c) };
    const early = Object.keys(specs).map((name) =>
      name
        .replace('.to_q.', '.query.')
        .replace('.to_k.', '.key.')
        .replace('.to_v.', '.value.')
        .replace('.to_out.0.', '.proj_attn.'),
    );
    expect(early.filter((name) => !(name in specs)).length).toBe(2 * 4 * 2);
    const tensors = Object.fromEntries(early.map((name, i) => [name, i]));
    expect(Object.keys(renameEarlyAttention(tensors, 'x')).sort()).toEqual(Object.keys(specs).sort());
    const both = { ...tensors, 'encoder.mid_block.attentions.0.to_q.weight': 0 };
    expect(() => renameEarlyAttention(both, 'old.safetensors')).toThrow(
      /old\.safetensors has "encoder.*to_q\.weight" under/,
    );
  });

  it('reads the configurations of Stable Diffusion and FLUX, and says what it cannot do', () => {
    const widths = [128, 256, 512, 512];
    const common = {
      act_fn: 'silu',
      block_out_channels: widths,
      down_block_types: widths.map(() => 'DownEncoderBlock2D'),
      up_block_types: widths.map(() => 'UpDecoderBlock2D'),
      layers_per_block: 2,
      norm_num_groups: 32,
    };
    const sd = readAutoencoderKlConfig({ ...common, latent_channels: 4, sample_size: 512 }, 'sd');
    expect([sd.scalingFactor, sd.shiftFactor, klStride(sd)]).toEqual([0.18215, 0, 8]);
    expect(count(autoencoderKlSpecs(sd))).toBe(83_653_863);
    const flux = readAutoencoderKlConfig(
      {
        ...common,
        latent_channels: 16,
        use_quant_conv: false,
        use_post_quant_conv: false,
        shift_factor: 0.1159,
        force_upcast: true,
      },
      'flux',
    );
    expect(count(autoencoderKlSpecs(flux))).toBe(83_819_683);
    const attempt = (change: object) => () => readAutoencoderKlConfig({ ...common, ...change }, 'vae/config.json');
    expect(attempt({ act_fn: 'mish' })).toThrow(/vae\/config\.json cannot be used: act_fn/);
    expect(attempt({ latents_mean: [0] })).toThrow(/latents_mean/);
    expect(attempt({ down_block_types: ['AttnDownEncoderBlock2D'] })).toThrow(/down_block_types/);
    expect(attempt({ block_out_channels: [128] })).toThrow(/one width per entry/);
    expect(attempt({ norm_num_groups: 48 })).toThrow(/multiple of norm_num_groups/);
  });
});

const count = (specs: Record<string, { shape: number[] }>) =>
  Object.values(specs).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);

describe('AutoencoderTiny', () => {
  it('is diffusers', async () => {
    const fixture = readFixture('taesd');
    const c = readTinyAutoencoderConfig(fixture.about.config, 'taesd');
    const specs = { ...tinyEncoderSpecs(c), ...tinyDecoderSpecs(c) };
    await checkParity(fixture, specs, (p, { pixels, latents }) => ({
      encoded: encodeTiny(p, pixels, c),
      decoded: decodeTiny(p, latents, c),
    }));
  });

  it('has TAEF2’s pooled blocks and bare names', async () => {
    const c: TinyAutoencoderConfig = { ...TAEF2, width: 4, latentChannels: 2, encoderBlocks: [1], decoderBlocks: [1] };
    await checkParity(readFixture('taef2-encoder'), tinyEncoderSpecs(c), (p, { pixels }) => ({
      out: encodeTiny(p, pixels, c),
    }));
    await checkParity(readFixture('taef2-decoder'), tinyDecoderSpecs(c), (p, { latents }) => ({
      out: decodeTiny(p, latents, c),
    }));
  });

  it('is counted as published, and says what it cannot do', () => {
    const c = readTinyAutoencoderConfig({ latent_channels: 16 }, 'taef1');
    expect(count(tinyEncoderSpecs(c))).toBe(1_229_456);
    expect(() => readTinyAutoencoderConfig({ act_fn: 'gelu' }, 'x')).toThrow(/act_fn/);
    expect(() => readTinyAutoencoderConfig({ encoder_block_out_channels: [64, 32] }, 'x')).toThrow(/all widths/);
    expect(() => readTinyAutoencoderConfig({ num_encoder_blocks: [1, 3] }, 'x')).toThrow(/stages and widths/);
  });
});

// The small autoencoders that anyone can have, on real pictures: TAEF2's files as they are, and an encoder that is an ONNX
// file only. The files are not in the repository: they are looked for in ../shared/data beside the checkout, or in the
// folder that FOVEA_DATA names.

import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { ParamStore } from '@fovea/artifacts';
import { decodeTiny, encodeTiny, type ParamSpecs, TAEF2, tinyDecoderSpecs, tinyEncoderSpecs } from '@fovea/models';
import { compile, mapValues, type NamedTensors, OnnxModel, type Tensor } from '@fovea/tensor';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';

const DATA = process.env.FOVEA_DATA ?? fileURLToPath(new URL('../../shared/data', import.meta.url));
const needed = [
  ...['taef2_encoder.safetensors', 'taef2_decoder.safetensors'].map((name) => `models/${name}`),
  ...['vaelight_VAEencoder.onnx', 'vaelight_VAEpreview.onnx'].map((name) => `models/${name}`),
  'coco_tiny/images',
];
const missing = needed.filter((name) => !existsSync(path.join(DATA, name)));
const file = (name: string) => path.join(DATA, 'models', name);

/** The centre square, bicubic: [3, side, side] in [−1, 1]. */
async function picture(id: number, side: number): Promise<Float32Array> {
  const name = path.join(DATA, 'coco_tiny/images', `${String(id).padStart(12, '0')}.jpg`);
  const bytes = await sharp(name).resize(side, side, { fit: 'cover', kernel: 'cubic' }).removeAlpha().raw().toBuffer();
  const plane = side * side;
  return Float32Array.from({ length: 3 * plane }, (_, i) => bytes[(i % plane) * 3 + Math.floor(i / plane)] / 127.5 - 1);
}

/** A square picture as {@link picture} gives it, made smaller; not decoded again, which JPEG does differently per size. */
async function shrink(pixels: Float32Array, from: number, to: number): Promise<Float32Array> {
  const plane = from * from;
  const bytes = Uint8Array.from(pixels, (_, i) =>
    Math.round((pixels[(i % 3) * plane + Math.floor(i / 3)] + 1) * 127.5),
  );
  const raw = { width: from, height: from, channels: 3 as const };
  const small = await sharp(bytes, { raw }).resize(to, to, { kernel: 'cubic' }).raw().toBuffer();
  return Float32Array.from(small, (_, i) => small[(i % to ** 2) * 3 + Math.floor(i / to ** 2)] / 127.5 - 1);
}

/** In dB, of pictures in [−1, 1] whose values are clamped to that. */
function psnr(got: Float32Array, wanted: Float32Array): number {
  const squares = wanted.map((w, i) => ((Math.min(1, Math.max(-1, got[i])) - w) / 2) ** 2);
  return -10 * Math.log10(squares.reduce((a, b) => a + b, 0) / squares.length);
}

function meanAndStd(x: Float32Array): [number, number] {
  const mean = x.reduce((a, b) => a + b, 0) / x.length;
  return [mean, Math.sqrt(x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length)];
}

/** A network whose parameters are mapped from a file, every tensor of which it must have a place for. */
async function open(
  name: string,
  specs: ParamSpecs,
  forward: (p: NamedTensors, x: Tensor) => Tensor,
  shape: number[],
): Promise<(x: Float32Array) => Promise<Float32Array>> {
  const store = await ParamStore.open(file(name));
  const shapes = (tensors: Record<string, { shape: number[] }>) => mapValues(tensors, (tensor) => tensor.shape);
  expect(shapes(specs)).toEqual(shapes(Object.fromEntries(store.tensors)));
  const program = await compile((given, _, p) => ({ outputs: { y: forward(p, given.x) } }), {
    inputs: { x: { shape, dtype: 'float32' } },
    constants: store.map(Object.keys(specs)),
  });
  return async (x) => (await program.run({ x })).y.slice() as Float32Array;
}

if (missing.length > 0)
  console.info(`autoencoders: not run on real pictures, because ${DATA} lacks ${missing.join(', ')}`);

describe.skipIf(missing.length > 0)('autoencoders on real pictures', () => {
  it('TAEF2 keeps a picture as its makers’ does', async () => {
    const encode = await open(
      'taef2_encoder.safetensors',
      tinyEncoderSpecs(TAEF2),
      (p, x) => encodeTiny(p, x, TAEF2),
      [1, 3, 256, 256],
    );
    const decode = await open(
      'taef2_decoder.safetensors',
      tinyDecoderSpecs(TAEF2),
      (p, x) => decodeTiny(p, x, TAEF2),
      [1, 32, 32, 32],
    );
    for (const [id, quality, mean, std] of [
      [397133, 28.4, 0.041, 0.87],
      [252219, 25.1, 0.056, 0.89],
    ]) {
      const pixels = await picture(id, 256);
      const latents = await encode(pixels);
      const got = { psnr: psnr(await decode(latents), pixels), latents: meanAndStd(latents) };
      console.info(`TAEF2 on ${id}:`, JSON.stringify(got));
      expect(Math.abs(got.psnr - quality)).toBeLessThan(0.2);
      expect(Math.abs(got.latents[0] - mean)).toBeLessThan(0.002);
      expect(Math.abs(got.latents[1] - std)).toBeLessThan(0.005);
    }
  });

  it('VAElight’s ONNX encoder and preview give the latents of Stable Diffusion', async () => {
    const encoder = await OnnxModel.open(file('vaelight_VAEencoder.onnx'), {
      inputs: { input: [null, 3, null, null] },
      outputs: { latent: [null, 4, null, null] },
    });
    const preview = await OnnxModel.open(file('vaelight_VAEpreview.onnx'), {
      inputs: { latent: [null, 4, null, null] },
      outputs: { output: [null, 3, null, null] },
    });
    // As stock onnxruntime gives them after Pillow's bicubic; over all 44 pictures 3.3 to 6.6, and 23.5 to 31.9 dB.
    for (const [id, spread, quality] of [
      [397133, 4.92, 28.1],
      [252219, 5.56, 24.9],
      [226111, 5.49, 26.5],
      [456496, 4.9, 27.3],
    ]) {
      const pixels = await picture(id, 512);
      const { latent } = await encoder.run({ input: { shape: [1, 3, 512, 512], data: pixels } });
      expect(latent.shape).toEqual([1, 4, 64, 64]);
      const { output } = await preview.run({ latent });
      expect(output.shape).toEqual([1, 3, 64, 64]);
      const got = { std: meanAndStd(latent.data)[1], psnr: psnr(output.data, await shrink(pixels, 512, 64)) };
      console.info(`VAElight on ${id}:`, JSON.stringify(got));
      expect(Math.abs(got.std - spread)).toBeLessThan(0.15);
      expect(Math.abs(got.psnr - quality)).toBeLessThan(0.3);
    }
    await encoder.dispose();
    await preview.dispose();
  });
});

// What a denoiser denoises: pictures themselves, or their latents by a frozen autoencoder that comes from a folder.

import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import {
  autoencoderKlSpecs,
  encodeKl,
  encodeTiny,
  klEncoderSpecs,
  klStride,
  latentOf,
  mapFolder,
  readAutoencoderKlConfig,
  readJson,
  readTinyAutoencoderConfig,
  renameEarlyAttention,
  tinyDecoderSpecs,
  tinyEncoderSpecs,
} from '@fovea/models';
import type { Recipe } from '@fovea/recipe';
import { interpolate, mapValues, type NamedTensors, prefixed, type Tensor, tf } from '@fovea/tensor';
import type { Feedback } from './feedback.ts';

const PREFIX = 'autoencoder.';

export type Autoencoder = Pick<Feedback, 'latent' | 'clean' | 'drawsLatents' | 'frozen' | 'spread'>;

export async function openAutoencoder(recipe: Recipe, recipeDir: string): Promise<Autoencoder> {
  const { autoencoder, data } = recipe;
  const side = recipe.diffusion.targetSize ?? data.imageSize;
  /** [P, 3, S, S] in [0, 1] -> at the side of what is reconstructed, in [−1, 1]. */
  const signed = (pixels: Tensor): Tensor => {
    const isSame = side === data.imageSize;
    const sized = isSame ? pixels : interpolate(pixels, { size: [side, side], mode: 'bicubic', antialias: true });
    return tf.sub(tf.mul(sized, 2), 1);
  };
  if (autoencoder === null)
    return {
      latent: [3, side, side],
      drawsLatents: false,
      clean: (_p, pixels) => signed(pixels),
      spread: null,
      frozen: {},
    };
  const folder = path.resolve(recipeDir, autoencoder.from);
  const json = await readJson(folder, 'config.json');
  if (json === null)
    throw new FoveaError(
      `The autoencoder "${autoencoder.from}" has no config.json; give the folder that diffusers writes, such as stable-diffusion-2-1-base/vae.`,
    );
  const where = `"${path.basename(folder)}/config.json"`;
  const draws = autoencoder.kind === 'kl' && autoencoder.latent === 'sample';
  const { all, encoder, stride, channels, encode } = autoencoder.kind === 'kl' ? kl(json, where) : tiny(json, where);
  const mapped = await mapFolder(folder, all, encoder, (tensors) => renameEarlyAttention(tensors, where));
  if (side % stride !== 0)
    throw new FoveaError(
      `The reconstructed pictures' side ${side} is no multiple of the autoencoder's stride ${stride}; change it.`,
    );
  const inside = (p: NamedTensors) => mapValues(encoder, (_, name) => p[PREFIX + name]);
  return {
    latent: [channels, side / stride, side / stride],
    drawsLatents: draws,
    clean: (p, pixels, noise) => encode(inside(p), signed(pixels), draws ? (noise as Tensor) : null),
    spread(p, pixels) {
      const mean = encode(inside(p), signed(pixels), null);
      return { mean, deviation: draws ? tf.sub(encode(inside(p), signed(pixels), tf.onesLike(mean)), mean) : null };
    },
    frozen: prefixed(PREFIX, mapped),
  };
}

function kl(json: unknown, where: string) {
  const c = readAutoencoderKlConfig(json, where);
  return {
    all: autoencoderKlSpecs(c),
    encoder: klEncoderSpecs(c),
    stride: klStride(c),
    channels: c.latentChannels,
    encode: (p: NamedTensors, pixels: Tensor, noise: Tensor | null) => latentOf(encodeKl(p, pixels, c), noise, c),
  };
}

function tiny(json: unknown, where: string) {
  const c = readTinyAutoencoderConfig(json, where);
  const encoder = tinyEncoderSpecs(c);
  return {
    all: { ...encoder, ...tinyDecoderSpecs(c) },
    encoder,
    stride: 2 ** (c.encoderBlocks.length - 1),
    channels: c.latentChannels,
    encode: (p: NamedTensors, pixels: Tensor, _noise: Tensor | null) => encodeTiny(p, pixels, c),
  };
}

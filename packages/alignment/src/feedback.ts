// The half of a run that judges: a denoiser, and what tells it of the encoder's tokens. Either the project's own small DiT
// with its projector, or a denoiser of diffusers behind one of the methods' connectors.

import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import {
  type DenoiserConfig,
  denoise,
  denoiserSpecs,
  type EncoderOutput,
  mapFolder,
  projectCondition,
  projectorSpecs,
  readJson,
} from '@fovea/models';
import type { BuiltinDenoiser, Recipe } from '@fovea/recipe';
import { mapValues, type NamedTensors, prefixed, type Tensor, tf } from '@fovea/tensor';
import { openAutoencoder } from './autoencoder.ts';
import { openConnector } from './connector.ts';
import { familyOf } from './denoisers.ts';
import type { Condition, Connector, Constants, Denoiser, Encoder } from './networks.ts';

export interface Feedback {
  connector: Connector;
  denoiser: Denoiser;
  /** Shape of what is denoised: [C, H, W]. */
  latent: number[];
  /** Pictures [P, 3, S, S], RGB in [0, 1] -> what is denoised, [P, C, H, W]; `noise` of that shape where it is drawn. */
  clean(p: NamedTensors, pixels: Tensor, noise?: Tensor): Tensor;
  /** Whether {@link Feedback.clean} reads noise. */
  drawsLatents: boolean;
  /** Mean of a picture's latent and, where it is drawn, its deviation; null where pictures themselves are denoised. */
  spread: ((p: NamedTensors, pixels: Tensor) => { mean: Tensor; deviation: Tensor | null }) | null;
  /** Fills in latents that were computed before, sample by sample; see latents.ts. */
  cached?: (query: { seed: number; stream: string }, sample: number, out: Float32Array) => void;
  /** What no checkpoint holds: frozen networks of folders, mapped from their files, and what was computed of them once. */
  frozen: Constants;
}

const PREFIX = 'denoiser.';

export async function openFeedback(recipe: Recipe, recipeDir: string, encoder: Encoder): Promise<Feedback> {
  const { denoiser, data } = recipe;
  if (denoiser.kind === 'builtin') return builtinFeedback(denoiser, data.imageSize, encoder);
  const coder = await openAutoencoder(recipe, recipeDir);
  const folder = denoiser.from === undefined ? null : path.resolve(recipeDir, denoiser.from);
  const json = folder === null ? denoiser.config : await readJson(folder, 'config.json');
  if (json === null)
    throw new FoveaError(
      `The denoiser "${denoiser.from}" has no config.json; give the folder that diffusers writes, such as stable-diffusion-2-1-base/unet.`,
    );
  const where = folder === null ? 'of the recipe’s denoiser' : `"${path.basename(folder)}/config.json"`;
  const family = familyOf(denoiser.kind, json, where, coder.latent);
  const { connector, frozen: texts } = await openConnector(recipe, recipeDir, encoder, family);
  const frozen: Constants = { ...coder.frozen, ...texts };
  if (folder !== null) {
    Object.assign(frozen, prefixed(PREFIX, await mapFolder(folder, family.stored ?? family.specs, family.specs)));
  }
  const inside = (p: NamedTensors) => mapValues(family.specs, (_, name) => p[PREFIX + name]);
  return {
    ...coder,
    connector,
    denoiser: {
      specs: prefixed(PREFIX, family.specs),
      isFrozen: folder !== null,
      prediction: denoiser.prediction,
      widest: family.widest,
      predict: (p, noisy, t, condition, output) =>
        family.predict(inside(p), noisy, t, condition, (features) => connector.residuals?.(p, features, output) ?? []),
    },
    frozen,
  };
}

function builtinFeedback(c: BuiltinDenoiser, imageSize: number, { shape }: Encoder): Feedback {
  const config: DenoiserConfig = { imageSize, ...c };
  return {
    connector: {
      specs: projectorSpecs(shape.width, config),
      draw: null,
      dropout: 0,
      connect(p, output, _drawn, repeat) {
        const { vector, tokens } = projectCondition(p, evenTokens(output, c.conditionTokens));
        return { vector: repeat(vector), tokens: repeat(tokens) };
      },
    },
    denoiser: {
      specs: denoiserSpecs(config),
      isFrozen: false,
      prediction: c.prediction,
      widest: ((imageSize / c.patchSize) ** 2 + 1 + c.conditionTokens) * 4 * c.width,
      predict: (p, noisy, t, condition) => denoise(p, noisy, t, condition as Required<Condition>, config),
    },
    latent: [3, imageSize, imageSize],
    drawsLatents: false,
    clean: (_p, pixels) => tf.sub(tf.mul(pixels, 2), 1),
    spread: null,
    frozen: {},
  };
}

/** The pooled vector, then evenly spaced patch tokens of the last layer: [B, count, D]. */
export function evenTokens({ pooled, hidden }: EncoderOutput, count: number): Tensor {
  const [batch, length, width] = hidden.shape;
  const patches = length - 1;
  const parts: Tensor[] = [tf.reshape(pooled, [batch, 1, width])];
  for (let i = 0; i < Math.min(count - 1, patches); i++) {
    const at = 1 + Math.floor(((i + 0.5) * patches) / (count - 1));
    parts.push(tf.slice(hidden, [0, at, 0], [-1, 1, -1]));
  }
  return parts.length === 1 ? parts[0] : tf.concat(parts, 1);
}

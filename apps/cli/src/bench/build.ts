// The full size on one machine: the alignment step of CLIP ViT-L/14-336 (304 M parameters, trained by AdamW) through the
// frozen U-Net of Stable Diffusion 2.1 (866 M, mapped from its file) is recorded, opened and run once at batch 1. The
// weights are drawn, so that nothing need be downloaded; what is measured does not depend on them.

import { mkdtemp, open, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { clipByGlobalNorm, type OptimiserConfig, optimiserOf, stepScalars } from '@fovea/alignment';
import { FoveaError, ParamStore } from '@fovea/artifacts';
import {
  clipVit,
  clipVitSpecs,
  linear,
  linearSpecs,
  normal,
  type ParamSpec,
  type ParamSpecs,
  readClipVitConfig,
  readUnetConfig,
  unet,
  unetSpecs,
} from '@fovea/models';
import {
  compile,
  mapValues,
  type NamedTensors,
  type NumericArray,
  prefixed,
  type Spec,
  type StepFunction,
  sizeOf,
  tf,
  valueAndGrads,
} from '@fovea/tensor';
import { philox } from '@fovea/tensor/random';
import { peakMB } from './memory.ts';

export interface BuildResult {
  trainedParameters: number;
  frozenParameters: number;
  nodes: number;
  traceSeconds: number;
  sessionSeconds: number;
  /** Of the first step, which also reads the weights' pages and allocates. */
  stepSeconds: number;
  loss: number;
  /** Of this process since it started, with the pages of the weights' file that it has mapped. */
  peakGB: number;
}

const VISION = readClipVitConfig(
  {
    model_type: 'clip_vision_model',
    image_size: 336,
    patch_size: 14,
    hidden_size: 1024,
    intermediate_size: 4096,
    num_hidden_layers: 24,
    num_attention_heads: 16,
    projection_dim: null,
  },
  'of ViT-L/14-336',
);

const UNET = readUnetConfig(
  { sample_size: 64, attention_head_dim: [5, 10, 20, 20], cross_attention_dim: 1024, use_linear_projection: true },
  'of Stable Diffusion 2.1',
);

const OPTIMISER: OptimiserConfig = {
  optimizer: 'adamw',
  lr: 1e-5,
  warmup: 0,
  schedule: 'constant',
  weightDecay: 0.05,
  betas: [0.9, 0.999],
  eps: 1e-8,
  momentum: 0,
  clip: 1,
  ema: null,
};

const optimiser = optimiserOf(OPTIMISER, () => ({ scale: 1, weightDecay: OPTIMISER.weightDecay }));

const INPUTS: Record<string, Spec> = mapValues(
  {
    pixels: [1, 3, VISION.imageSize, VISION.imageSize],
    noisy: [1, 4, 64, 64],
    noise: [1, 4, 64, 64],
    t: [1],
    scalars: [3],
  },
  (shape) => ({ shape, dtype: 'float32' }),
);

/** Draws the weights into a temporary folder, which is removed again, and measures. */
export async function measureBuild(threads: number, say: (text: string) => void): Promise<BuildResult> {
  const folder = await mkdtemp(path.join(tmpdir(), 'fovea-bench-'));
  try {
    const file = path.join(folder, 'unet.safetensors');
    say('writing the weights of the U-Net');
    await writeWeights(file, unetSpecs(UNET));
    return await buildAndStep(file, threads, say);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function buildAndStep(file: string, threads: number, say: (text: string) => void): Promise<BuildResult> {
  const trained: ParamSpecs = {
    ...clipVitSpecs(VISION),
    ...linearSpecs('projector', VISION.width, UNET.crossAttentionDim),
  };
  const params = mapValues(trained, ({ shape }): Spec => ({ shape, dtype: 'float32' }));
  const store = await ParamStore.open(file);
  say('building');
  const program = await compile(
    alignStep,
    {
      inputs: INPUTS,
      state: { ...prefixed('p/', params), ...optimiser.specs(params) },
      constants: store.map(store.tensors.keys()),
    },
    { threads, mappedWeights: 'keep' },
  );
  for (const [i, [name, spec]] of Object.entries(trained).entries()) program.setState({ [`p/${name}`]: draw(spec, i) });
  const given = Object.entries(INPUTS).map(([name, { shape }], i) => [name, draw(normal(shape, 1), i)]);
  const inputs: Record<string, NumericArray> = Object.fromEntries(given);
  inputs.t = Float32Array.of(500);
  inputs.scalars = stepScalars(0, 1, OPTIMISER);
  say('one step');
  const started = performance.now();
  const { loss } = await program.run(inputs);
  const stepSeconds = (performance.now() - started) / 1000;
  const { nodes, traceMs, sessionMs } = program.report;
  await program.dispose();
  return {
    trainedParameters: count(trained),
    frozenParameters: count(unetSpecs(UNET)),
    nodes,
    traceSeconds: traceMs / 1000,
    sessionSeconds: sessionMs / 1000,
    stepSeconds,
    loss: loss[0],
    peakGB: (peakMB() * 2 ** 20) / 1e9,
  };
}

const count = (specs: ParamSpecs): number => Object.values(specs).reduce((sum, { shape }) => sum + sizeOf(shape), 0);

/** The noise of a latent, predicted under the condition of all the encoder's tokens. */
const alignStep: StepFunction = ({ pixels, noisy, noise, t, scalars }, state, frozen) => {
  const { value, grads } = valueAndGrads(
    (p) => {
      const { normed: seen } = clipVit(p, pixels, VISION); // [B, 577, D]
      const predicted = unet(frozen, noisy, t, linear(p, 'projector', seen), UNET); // [B, 4, 64, 64]
      return { value: tf.mean(tf.squaredDifference(predicted, noise)) };
    },
    under(state, 'p/'),
  );
  const params = under(state, 'p/');
  const next = optimiser.update(params, clipByGlobalNorm(grads, OPTIMISER.clip), state, scalars);
  return { outputs: { loss: value }, state: { ...prefixed('p/', next.params), ...next.state } };
};

const under = (tensors: NamedTensors, prefix: string): NamedTensors =>
  Object.fromEntries(
    Object.entries(tensors)
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, tensor]) => [name.slice(prefix.length), tensor]),
  );

const POOL = 2 ** 20;
let pool: Float32Array | undefined;

/** Starting values from a pool of normal numbers, entered at a place of the tensor's own. */
function draw({ shape, init }: ParamSpec, place: number): Float32Array {
  const out = new Float32Array(sizeOf(shape));
  if ('constant' in init) return out.fill(init.constant);
  const rng = philox(0, 'bench/build');
  pool ??= Float32Array.from({ length: POOL }, () => rng.normal());
  for (let i = 0; i < out.length; i++) out[i] = init.std * pool[(i + 7919 * place) % POOL];
  return out;
}

/** Writes starting values as safetensors, one tensor in memory at a time. */
async function writeWeights(file: string, specs: ParamSpecs): Promise<void> {
  let bytes = 0;
  const header = mapValues(specs, ({ shape }) => {
    const begin = bytes;
    bytes += 4 * sizeOf(shape);
    return { dtype: 'F32', shape, data_offsets: [begin, bytes] };
  });
  const { bavail, bsize } = await statfs(path.dirname(file));
  if (bavail * bsize < bytes + 2 ** 28)
    throw new FoveaError(
      `The weights need ${(bytes / 1e9).toFixed(1)} GB in ${tmpdir()}, which has ${((bavail * bsize) / 1e9).toFixed(1)} GB free; make room, or set TMPDIR to another folder.`,
    );
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const handle = await open(file, 'w');
  try {
    await handle.writev([length, json]);
    for (const [i, spec] of Object.values(specs).entries())
      await handle.writeFile(new Uint8Array(draw(spec, i).buffer));
  } finally {
    await handle.close();
  }
}

// The recipe: everything that a run is, as one validated document. Field comments are the manual; units and ranges
// stand beside the defaults. Names follow PyTorch, diffusers and the papers.

import { z } from 'zod';
import { keep, shards } from './fleet.ts';

function isExpression(text: string): boolean {
  try {
    new RegExp(text);
    return true;
  } catch {
    return false;
  }
}

/** A network that says nothing of its kind is the project's own, or a folder's where it names one. */
const kinded = <T extends z.ZodType>(schema: T) =>
  z.preprocess((given) => {
    if (given === undefined) return { kind: 'builtin' };
    if (typeof given !== 'object' || given === null || Array.isArray(given) || 'kind' in given) return given;
    return { kind: 'from' in given ? 'pretrained' : 'builtin', ...given };
  }, schema);

const positive = z.number().positive();
const count = z.int().positive();
const fraction = z.number().min(0).max(1);
const range = (number: z.ZodNumber) =>
  z.tuple([number, number]).refine(([low, high]) => low <= high, 'the first number must not be above the second');

/** Emoji world: scenes composed from SVG emoji in nine styles; unlimited, exactly labelled. */
const emojiWorld = z.strictObject({
  kind: z.literal('emoji-world'),
  /** Side of the square picture in pixels. */
  imageSize: count.max(2048).default(48),
  /** Number of concepts, taken in the order of the package's concept list; `all` for every one. */
  concepts: z.union([count, z.literal('all')]).default('all'),
  /** Styles that are trained on. */
  trainStyles: z.array(z.string()).min(1).default(['noto', 'twemoji', 'fluent-emoji-flat', 'emojione']),
  /** Re-draws of trained styles by other hands, never trained on (the V2 split). */
  redrawStyles: z.array(z.string()).default(['noto-v1', 'fxemoji']),
  /** Renditions never trained on: outlined and monochrome sets (the R split). */
  heldOutStyles: z.array(z.string()).default(['openmoji', 'emojione-monotone', 'fluent-emoji-high-contrast']),
  /**
   * Share of the pictures of the pretrain and projector stages that are drawn as pseudo-monochrome versions of the training
   * sprites (line art, solid ink), 0..1. The align stage sees plain scenes.
   */
  monochrome: fraction.default(0),
  /** Share of those stages' other pictures whose hue is turned at random. */
  hue: fraction.default(0),
  /** Pictures of the pretrain stage over which both shares rise from 0. */
  monochromeRamp: z.int().min(0).default(0),
  /** Icon side as a share of the picture's, drawn uniformly. */
  scale: range(fraction.positive()).default([0.5, 1]),
  /** Largest rotation either way, in degrees. */
  rotation: z.number().min(0).max(180).default(15),
});

/** What training pictures of a folder go through at random; probes, latents and evaluation see them whole. */
const augment = z.strictObject({
  /** torchvision's RandomResizedCrop, in place of the encoder's resize and crop and with its filter; null for those. */
  crop: z
    .strictObject({
      /** Share of the picture's area, drawn uniformly, 0..1. */
      scale: range(fraction.positive()).default([0.08, 1]),
      /** Width over height, uniform in its logarithm. */
      ratio: range(positive).default([3 / 4, 4 / 3]),
    })
    .nullable()
    .default(null),
  /** Share of pictures that are mirrored, left to right: encoder and denoiser see the same one. Captions do not follow. */
  flip: fraction.default(0),
});

/** A user's own pictures: `path/class/…/*.jpg|jpeg|png|webp`. */
const imageFolder = z.strictObject({
  kind: z.literal('image-folder'),
  /** Folder, absolute or relative to the recipe's own folder (or to the working folder for a preset). */
  path: z.string().min(1),
  /**
   * Side of the square that pictures are framed to, by the encoder's own rule (its resize, crop and filter) scaled to this
   * side, or by the shorter edge, bicubic, and a centre crop for the built-in one. At the side of an encoder from a folder
   * it sees what its processor gives; from any other its input is resized once more. It has to be given for such an encoder.
   */
  imageSize: count.max(2048).default(48),
  /** Share of each class that is kept for evaluation, chosen by the seed. */
  holdOut: fraction.default(0.2),
  /** Largest picture in pixels (width × height) that is decoded; larger ones are refused by name. */
  maxPixels: count.default(50_000_000),
  /** Random crops and flips in all training stages; null for none. Not with `autoencoder.cache`. */
  augment: augment.nullable().default(null),
});

/** The small CLIP of this project, in pixel statistics of its own. */
const builtinEncoder = z.strictObject({
  kind: z.literal('builtin'),
  /** Patch side in pixels; must divide the image size. */
  patchSize: count.default(8),
  width: count.default(128),
  layers: count.default(4),
  heads: count.default(4),
  /** Hidden width of the MLP as a multiple of `width`. */
  mlpRatio: positive.default(4),
  /** Width of the shared image–text space. */
  projection: count.default(128),
});

/** A published encoder: CLIP, SigLIP, DINOv2 or CLIP-ConvNeXt, as its config.json says. */
const ownEncoder = z.strictObject({
  kind: z.literal('pretrained'),
  /**
   * Folder as `from_pretrained` takes it (config.json, model.safetensors, preprocessor_config.json), or an open_clip one
   * (open_clip_config.json); absolute, or relative as `data.path` is.
   */
  from: z.string().min(1),
  /** Side of the square picture in pixels; position embeddings are interpolated to it. @default the folder's own */
  imageSize: count.max(1024).optional(),
});

/** The small pixel DiT of this project: condition tokens in its sequence, the pooled vector in its modulation. */
const builtinDenoiser = z.strictObject({
  kind: z.literal('builtin'),
  patchSize: count.default(8),
  width: count.default(128),
  layers: count.default(4),
  heads: count.default(4),
  /** Condition tokens that join the sequence, besides the pooled vector in adaLN: the class token first, then local ones. */
  conditionTokens: count.default(1),
  /** What the network's output is read as: the clean sample (diffusers' `sample`) or the training target itself. */
  prediction: z.enum(['sample', 'target']).default('sample'),
});

/** A denoiser of diffusers: frozen where it comes from a folder, trained by the projector stage where only its sizes are given. */
const ownDenoiser = <K extends string>(kind: K) =>
  z
    .strictObject({
      kind: z.literal(kind),
      /** Folder with config.json and diffusion_pytorch_model.safetensors, as diffusers writes it. */
      from: z.string().min(1).optional(),
      /** diffusers' config.json itself, in place of a folder: a network that starts at random. */
      config: z.record(z.string(), z.unknown()).optional(),
      /** What the network's output is read as; `target` is what `diffusion.target` names. */
      prediction: z.enum(['sample', 'target']).default('target'),
    })
    .refine(({ from, config }) => (from === undefined) !== (config === undefined), 'give either from or config');

/** `UNet2DConditionModel` (Stable Diffusion), `FluxTransformer2DModel` (GenHancer's), `DiTTransformer2DModel`. */
const ownDenoisers = [ownDenoiser('unet'), ownDenoiser('flux'), ownDenoiser('dit')] as const;

/** A frozen autoencoder in front of the denoiser; null for a denoiser of pixels. */
const autoencoder = z.strictObject({
  /** `AutoencoderKL` or `AutoencoderTiny` of diffusers. */
  kind: z.enum(['kl', 'tiny']),
  from: z.string().min(1),
  /** Whether a picture's latent is the mean of its distribution (DIVA) or drawn from it (DEEM). */
  latent: z.enum(['mean', 'sample']).default('mean'),
  /** Whether a folder of pictures is encoded once, by a round of its own, and not anew in every step. */
  cache: z.boolean().default(true),
});

const tokens = z.discriminatedUnion('mode', [
  /** The class token (or the pooled vector) alone. */
  z.strictObject({ mode: z.literal('none') }),
  z.strictObject({ mode: z.literal('randomK'), k: count, replacement: z.boolean().default(false) }),
  z.strictObject({
    mode: z.literal('randomRatio'),
    ratio: fraction.positive(),
    replacement: z.boolean().default(false),
  }),
  /** Means of `window` neighbours in the sequence (DIVA for SigLIP). */
  z.strictObject({ mode: z.literal('pool'), window: count }),
  z.strictObject({ mode: z.literal('all') }),
]);

/** From the encoder's tokens to what the denoiser is conditioned on. The class token always comes first. */
const condition = z.strictObject({
  tokens: tokens.default({ mode: 'none' }),
  /**
   * Which of the encoder's tokens: its last layer's, those after the final norm, projected into the image–text space, or
   * DEEM's of a ConvNeXt: the pooled vector and the stride-16 map, each through an adapter.
   */
  space: z.enum(['hidden', 'normed', 'projected', 'maps']).default('projected'),
  connector: z
    .discriminatedUnion('kind', [
      z.strictObject({ kind: z.literal('linear') }),
      /** Layer norm, linear, GELU, linear (GenHancer); with `repeat` the first token alone, so many times (DCR: 77). */
      z.strictObject({ kind: z.literal('mlp'), repeat: count.optional() }),
      /** Q-Former: learned queries that read the tokens. */
      z.strictObject({
        kind: z.literal('perceiver'),
        queries: count.default(77),
        width: count.default(768),
        layers: count.default(12),
        heads: count.default(12),
        /** Width inside the MLPs. */
        hidden: count.default(3072),
        /** Every how many layers the queries attend to the picture. */
        crossAttentionFrequency: count.default(2),
      }),
      /** None: Stable unCLIP's class label, the picture's vector in the image–text space. */
      z.strictObject({ kind: z.literal('unclip') }),
    ])
    .default({ kind: 'linear' }),
  /** Share of samples whose condition is replaced by a learned one, 0..1. */
  dropout: fraction.default(0),
  /** DEEM's second path, multi-scale features into the U-Net's skips: it leaks the picture past the condition. */
  denseSkip: z.boolean().default(false),
  /** A text encoder's embedding of `prompt` that is added to the condition: token by token, or its mean to all. */
  text: z
    .strictObject({
      from: z.string().min(1),
      prompt: z.string().default(''),
      add: z.enum(['token', 'mean']).default('token'),
    })
    .nullable()
    .default(null),
});

const timesteps = z.discriminatedUnion('kind', [
  z.strictObject({
    /** Whole steps of 0 … steps − 1. */
    kind: z.literal('discrete'),
    steps: count.default(1000),
    /** step → round((step − centre) · scale + centre); DEEM's 500 and 0.6 look at 200 … 799. */
    remap: z.strictObject({ centre: z.number(), scale: fraction.positive() }).optional(),
  }),
  z.strictObject({ kind: z.literal('uniform'), min: fraction.default(0), max: fraction.default(1) }),
  z.strictObject({ kind: z.literal('sigmoid-normal'), mean: z.number().default(0), std: positive.default(1) }),
]);

const diffusion = z.strictObject({
  /** `flow`: x_t = (1 − t)·x0 + t·ε, target ε − x0 (rectified flow). `epsilon` and `velocity`: DDPM,
   * scaled-linear, target ε or √ᾱ·ε − √(1 − ᾱ)·x0. */
  target: z.enum(['flow', 'epsilon', 'velocity']).default('flow'),
  /** What the feedback loss is: the squared error, or DCR's InfoNCE over predictions under each other's conditions. */
  loss: z
    .discriminatedUnion('kind', [
      z.strictObject({ kind: z.literal('mse') }),
      z.strictObject({
        kind: z.literal('infonce'),
        temperature: positive.default(0.1),
        /** Pictures that are contrasted with each other, which takes its square of denoiser passes; must divide each batch. */
        group: count.default(16),
      }),
    ])
    .default({ kind: 'mse' }),
  /** How t in [0, 1] is drawn per sample; t = 1 is pure noise. */
  timesteps: timesteps.default({ kind: 'sigmoid-normal', mean: 0.8, std: 1 }),
  /** Side of the pictures that are reconstructed, which the data's are resized to. @default `data.imageSize` */
  targetSize: count.max(2048).optional(),
  /** Draws of (t, ε) per picture in a step, averaged with one backward pass; the encoder runs once per picture. */
  draws: count.max(16).default(1),
});

/** Parameters that learn at a rate of their own. */
const group = z.strictObject({
  /** Regular expression over parameter names; the first group that matches takes a parameter, and each must take one. */
  match: z.string().refine(isExpression, 'not a regular expression'),
  /** Peak learning rate of the group. */
  lr: positive,
  /** @default the stage's */
  weightDecay: z.number().min(0).optional(),
});

/** What every stage says about its optimiser. */
const optimiser = {
  /** Optimiser steps. */
  steps: count,
  /** Pictures per step. */
  batch: count.default(64),
  /** Peak learning rate. */
  lr: positive,
  /** AdamW with decoupled weight decay (Loshchilov & Hutter 2019), or SGD with momentum; both as PyTorch has them. */
  optimizer: z.enum(['adamw', 'sgd']).default('adamw'),
  /** Steps of linear warm-up from 0. */
  warmup: z.int().min(0).default(20),
  /** Decay after the warm-up. */
  schedule: z.enum(['cosine', 'constant']).default('cosine'),
  weightDecay: z.number().min(0).default(0.05),
  betas: z.tuple([fraction, fraction]).default([0.9, 0.98]),
  eps: positive.default(1e-8),
  momentum: fraction.default(0.9),
  /** Exceptions from `lr` and `weightDecay`. */
  groups: z.array(group).default([]),
  /** Decay of a moving average of the parameters, which is then what is judged and exported; null for none. */
  ema: fraction.nullable().default(null),
  /** Global gradient norm above which gradients are scaled down; 0 turns it off. */
  clip: z.number().min(0).default(1),
  /** Steps between two checkpoints (one round). */
  roundSteps: count.default(100),
  /** Steps after which there is a checkpoint besides, such as 50, 100, 200, 300, 500. */
  saveAt: z.array(count).default([]),
};

export const ROLES = ['aligned', 'control', 'placebo'] as const;

const pretrain = z.strictObject({ stage: z.literal('pretrain'), ...optimiser });
const projector = z.strictObject({ stage: z.literal('projector'), ...optimiser });
const align = z.strictObject({
  stage: z.literal('align'),
  ...optimiser,
  /** Branches trained from the same start: `aligned` (true feedback), `control` (none), `placebo` (feedback of shuffled pairs at matched gradient norm). */
  roles: z
    .array(z.enum(ROLES))
    .min(1)
    .default([...ROLES]),
  /** Weight of the diffusion feedback loss. */
  feedback: positive.default(1),
  /** Weight of the image–text loss that runs along (DEEM trains jointly); 0 for feedback alone. */
  contrastive: z.number().min(0).default(0),
  /** How t is drawn for the feedback; the recipe's `diffusion.timesteps` when left out. */
  timesteps: timesteps.optional(),
  /**
   * Ends a branch at its newest scored checkpoint once top-1 on the retention suite is below the start's by more than `drop`
   * with its whole 95 % interval; every round then waits for the score before it. Null goes on to the end.
   */
  stopOn: z
    .strictObject({ suite: z.literal('retention').default('retention'), drop: fraction.default(0.01) })
    .nullable()
    .default(null),
  /** Weight of 1 − cos(feature, starting feature), which keeps features where they began. */
  retention: z.number().min(0).default(0),
  /** Which encoder parameters learn: all of them, or low-rank adapters on the linear layers. */
  trainable: z
    .union([
      z.literal('full'),
      z.strictObject({
        rank: count,
        alpha: positive,
        /** As PEFT's target_modules: an expression for a layer's whole name, a list of names, or all-linear. @default all in the blocks */
        targets: z.union([z.string(), z.array(z.string()).min(1)]).optional(),
      }),
    ])
    .default('full'),
  /** What learns beside the encoder: the connector (DIVA, DEEM train it jointly), and the denoiser, which undoes the gain (DEEM table 10). */
  alsoTrains: z.array(z.enum(['projector', 'denoiser'])).default([]),
});

export type BuiltinEncoder = z.infer<typeof builtinEncoder>;
export type BuiltinDenoiser = z.infer<typeof builtinDenoiser>;
export type ConditionConfig = z.infer<typeof condition>;

export const stageSchema = z.discriminatedUnion('stage', [pretrain, projector, align]);

const suite = z.enum(['robustvqa', 'retention', 'probes']);

/** Fails once a branch's score is below the start's by more than `maxDrop` with its whole 95 % interval, on the same questions. */
const evalGate = z.strictObject({
  suite,
  /** `id`, `A`, `V2`, `R/<style>`, …; any split of the suite when left out. */
  split: z.string().min(1).optional(),
  /** `top1`, `twoway`, or `r2-<target>` of a probe. */
  metric: z
    .string()
    .regex(/^(top1|twoway|r2-.+)$/, 'top1, twoway or r2-<target>')
    .default('top1'),
  /** Points: hundredths of the metric. */
  maxDrop: z.number().min(0).max(100).default(1),
});

const benchmark = z.union(
  [
    z.string().regex(/^emoji(-[a-z0-9]+)*$/),
    z.strictObject({ path: z.string().min(1), images: z.string().min(1).optional() }),
  ],
  { error: 'the name of a built-in suite (`fovea eval suites` lists them), or {path: FOLDER, images: FOLDER}' },
);

export const recipeSchema = z.strictObject({
  /** Short name, used in the run's id. */
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,39}$/, 'lower-case letters, digits and dashes, at most 40'),
  seed: z
    .int()
    .min(0)
    .max(2 ** 32 - 1)
    .default(0),
  data: z.discriminatedUnion('kind', [emojiWorld, imageFolder]),
  encoder: kinded(z.discriminatedUnion('kind', [builtinEncoder, ownEncoder])),
  denoiser: kinded(z.discriminatedUnion('kind', [builtinDenoiser, ...ownDenoisers])),
  autoencoder: autoencoder.nullable().default(null),
  condition: condition.prefault({}),
  diffusion: diffusion.prefault({}),
  /** `builtin:emoji`, a safetensors file, or null to train from scratch. Stages that the weights cover are skipped. */
  weights: z.string().nullable().default(null),
  stages: z.array(stageSchema).min(1),
  /** Fields whose published value is not known, so that what stands here is a guess. */
  unverified: z.array(z.string()).default([]),
  eval: z
    .strictObject({
      /** Suites to run; empty for none. */
      suites: z.array(suite).default(['robustvqa', 'retention', 'probes']),
      /**
       * Benchmarks beside them: built-in twins by name (`emoji` for all that there are, `emoji-pope`), and folders that
       * `fovea eval build` wrote, with the user's pictures where they hold none.
       */
      benchmarks: z.array(benchmark).max(100).default([]),
      /** Renders per (concept, style) in the in-distribution, R and V2 splits. */
      rendersPerConcept: count.default(2),
      /** Score every n-th round's checkpoint; the first and last of a branch always. */
      everyRounds: count.default(1),
      /** Where scoring falls behind, score the newest checkpoint of a branch alone; those that wait behind it are dropped. */
      newestOnly: z.boolean().default(false),
      /** Bootstrap resamples. */
      bootstrap: count.default(2000),
      seed: z.int().min(0).default(1),
      /** What no branch may lose: it ends at its newest scored checkpoint once a gate fails, and rounds wait for their scores. */
      gates: z.array(evalGate).max(100).default([]),
    })
    .prefault({}),
  engine: z
    .strictObject({
      /** Where steps and encoders run. A device that is missing is an error, never a fall to the CPU; see `fovea doctor`. */
      device: z.enum(['cpu', 'cuda', 'webgpu']).default('cpu'),
      /**
       * Precision of matrix products and convolutions, as PyTorch's autocast; weights, norms, losses and the optimiser stay
       * fp32, and fp16 scales its loss. On the CPU the two halves are only rounded to, for checking: nothing gets faster.
       */
      precision: z.enum(['fp32', 'bf16', 'fp16']).default('fp32'),
      /** Threads of the compute runtime in the train engine. */
      threads: count.max(256).default(2),
      /** A silent engine is ended after this many seconds. */
      hangTimeout: positive.default(300),
      /** Memory that a worker's device must have to get this run's jobs, in GiB (2^30 bytes); 0 for any. */
      memory: z.number().min(0).default(0),
    })
    .prefault({}),
  shards: shards.prefault({}),
  keep: keep.prefault({}),
});

export type Recipe = z.infer<typeof recipeSchema>;
export type RecipeInput = z.input<typeof recipeSchema>;
export type Stage = z.infer<typeof stageSchema>;
export type ShardsConfig = Recipe['shards'];
export type KeepConfig = Recipe['keep'];
export type EvalGate = z.infer<typeof evalGate>;
export type AlignStage = Extract<Stage, { stage: 'align' }>;
export type DataConfig = Recipe['data'];
export type EmojiWorldConfig = Extract<DataConfig, { kind: 'emoji-world' }>;
export type ImageFolderConfig = Extract<DataConfig, { kind: 'image-folder' }>;
export type BenchmarkConfig = Recipe['eval']['benchmarks'][number];
export type Role = (typeof ROLES)[number];

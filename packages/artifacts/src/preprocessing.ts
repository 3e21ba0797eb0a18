// How an encoder wants its pictures, as the files beside published weights say it: transformers' preprocessor_config.json,
// open_clip's preprocess_cfg, timm's pretrained_cfg. Here are the words; packages/data makes the pixels.

import { z } from 'zod';
import { FoveaError } from './errors.ts';

/** How pictures become an encoder's input, as preprocessor_config.json says it. */
export interface Preprocessing {
  /** Both sides, or the shorter one with the aspect kept; null to leave the size. */
  resize: { height: number; width: number } | { shortestEdge: number } | null;
  resample: 'nearest' | 'bilinear' | 'bicubic' | 'lanczos';
  /** Centre crop after the resize. */
  crop: { height: number; width: number } | null;
  /**
   * Where an odd remainder goes: transformers leaves the smaller half above and to the left, torchvision rounds half of it
   * to even. @default 'down'
   */
  cropRounding?: 'down' | 'halfToEven';
  /** Per channel, for RGB in [0, 1]. */
  mean: [number, number, number];
  std: [number, number, number];
}

/** Where a picture's pixels come to lie, whatever they are normalised by afterwards. */
export type Framing = Omit<Preprocessing, 'mean' | 'std'>;

type Json = Record<string, unknown>;

/**
 * Reads preprocessor_config.json of CLIP, SigLIP or BiT (DINOv2) processors, whatever their version, open_clip's
 * open_clip_config.json, or timm's config.json; `where` names the file. Throws a {@link FoveaError} for anything that
 * {@link Preprocessing} cannot say.
 */
export function readPreprocessing(json: unknown, where: string): Preprocessing {
  const read = <T>(schema: z.ZodType<T>, from: unknown): T => {
    const result = schema.safeParse(from);
    if (result.success) return result.data;
    const [{ path, message }] = result.error.issues;
    throw new FoveaError(`The preprocessing ${where} cannot be used: ${path.join('.') || 'it'} — ${message}.`);
  };
  const outer = read(z.record(z.string(), z.unknown()), json);
  if ('preprocess_cfg' in outer) return fromOpenClip(read(openClip, outer));
  if ('pretrained_cfg' in outer) return fromTimm(read(timm, outer.pretrained_cfg));
  const inner = (outer.image_processor ?? outer) as Json;
  const family = read(named, inner);
  return fromTransformers(read(processor, { ...DEFAULTS[family], ...withoutNulls(inner) }), family);
}

const side = z.int().positive();
const both = z.object({ height: side, width: side });
const triple = z.tuple([z.number(), z.number(), z.number()]);
const positive = z.tuple([z.number().positive(), z.number().positive(), z.number().positive()]);
const withoutNulls = (json: Json): Json =>
  Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null));

const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const;
type Triple = [number, number, number];
const OPENAI: { image_mean: Triple; image_std: Triple } = {
  image_mean: [0.48145466, 0.4578275, 0.40821073],
  image_std: [0.26862954, 0.26130258, 0.27577711],
};
const CLIP = { ...OPENAI, size: { shortest_edge: 224 }, crop_size: { height: 224, width: 224 }, do_center_crop: true };
/** What transformers' processors do where their file is silent. */
const DEFAULTS = {
  CLIP,
  Bit: CLIP,
  Siglip: { image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5], size: { height: 224, width: 224 } },
};
type Family = keyof typeof DEFAULTS;

const TYPE = /^(CLIP|Bit|Siglip)(ImageProcessor(Fast|Pil)?|FeatureExtractor)$/;
const message = 'a processor of CLIP, SigLIP or BiT is needed';
const typeName = z.string().regex(TYPE, message).optional();
const named = z
  .object({ image_processor_type: typeName, feature_extractor_type: typeName })
  .transform(({ image_processor_type: type, feature_extractor_type: old }) => type ?? old)
  .pipe(z.string({ error: `it has no image_processor_type, and ${message}` }))
  .transform((name) => name.match(TYPE)![1] as Family);

/** PIL's numbers. */
const RESAMPLE = ['nearest', 'lanczos', 'bilinear', 'bicubic'] as const;
const processor = z.object({
  do_resize: z.boolean().default(true),
  size: z.union([side, z.strictObject({ shortest_edge: side }), both], {
    error: 'height and width, or shortest_edge alone, are needed',
  }),
  resample: z
    .int()
    .min(0)
    .max(3, { error: 'only nearest (0), lanczos (1), bilinear (2) and bicubic (3) can be done' })
    .default(3),
  do_center_crop: z.boolean().default(false),
  crop_size: z.union([side, both]).optional(),
  do_rescale: z.literal(true).default(true),
  rescale_factor: z
    .number()
    .refine((x) => Math.abs(x * 255 - 1) < 1e-6, 'only 1/255 can be done')
    .default(1 / 255),
  do_normalize: z.boolean().default(true),
  image_mean: triple,
  image_std: positive,
  do_pad: z.literal(false).default(false),
});

function fromTransformers(c: z.infer<typeof processor>, family: Family): Preprocessing {
  const square = (size: number) => ({ height: size, width: size });
  const whole = typeof c.size === 'number' && family === 'Siglip' ? square(c.size) : c.size;
  const resize =
    typeof whole === 'number'
      ? { shortestEdge: whole }
      : 'shortest_edge' in whole
        ? { shortestEdge: whole.shortest_edge }
        : whole;
  const crop = typeof c.crop_size === 'number' ? square(c.crop_size) : (c.crop_size ?? null);
  return {
    resize: c.do_resize ? resize : null,
    resample: RESAMPLE[c.resample],
    crop: c.do_center_crop ? crop : null,
    mean: c.do_normalize ? c.image_mean : [0, 0, 0],
    std: c.do_normalize ? c.image_std : [1, 1, 1],
  };
}

const openClip = z
  .object({
    /** The picture's size stands with the network. */
    model_cfg: z.object({ vision_cfg: z.object({ image_size: z.union([side, z.tuple([side, side])]).default(224) }) }),
    preprocess_cfg: z.object({
      mode: z.literal('RGB').default('RGB'),
      mean: triple.default(OPENAI.image_mean),
      std: positive.default(OPENAI.image_std),
      interpolation: z.enum(['bicubic', 'bilinear', 'random']).default('bicubic'),
      resize_mode: z.enum(['shortest', 'squash']).default('shortest'),
    }),
  })
  .refine(
    ({
      model_cfg: {
        vision_cfg: { image_size: s },
      },
      preprocess_cfg: c,
    }) => c.resize_mode === 'squash' || typeof s === 'number' || s[0] === s[1],
    'resize_mode shortest needs a square image_size',
  );

function fromOpenClip({ model_cfg, preprocess_cfg: c }: z.infer<typeof openClip>): Preprocessing {
  const [height, width] = [model_cfg.vision_cfg.image_size, model_cfg.vision_cfg.image_size].flat();
  const isShortest = c.resize_mode === 'shortest';
  return {
    resize: isShortest ? { shortestEdge: height } : { height, width },
    resample: c.interpolation === 'bilinear' ? 'bilinear' : 'bicubic',
    crop: isShortest ? { height, width } : null,
    cropRounding: 'halfToEven',
    mean: c.mean,
    std: c.std,
  };
}

const timm = z.object({
  input_size: z.tuple([z.literal(3), side, side]).refine(([, h, w]) => h === w, 'only a square can be done'),
  crop_pct: z.number().positive().max(1).default(0.875),
  crop_mode: z.enum(['center', 'squash']).default('center'),
  interpolation: z.enum(['bilinear', 'bicubic', 'lanczos', 'nearest']).default('bicubic'),
  mean: triple.default([...IMAGENET.mean]),
  std: positive.default([...IMAGENET.std]),
});

function fromTimm(c: z.infer<typeof timm>): Preprocessing {
  const [, height, width] = c.input_size;
  const scaled = Math.floor(height / c.crop_pct);
  return {
    resize: c.crop_mode === 'squash' ? { height: scaled, width: scaled } : { shortestEdge: scaled },
    resample: c.interpolation,
    crop: { height, width },
    cropRounding: 'halfToEven',
    mean: c.mean,
    std: c.std,
  };
}

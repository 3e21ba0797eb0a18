// A suite of classification, corrupted: every picture clean and under each chosen corruption and severity. Pictures are
// corrupted when they are read; a picture's draws belong to its content and the suite's seed, not to its place or name.

import { canonicalJson, FoveaError, sha256Hex } from '@fovea/artifacts';
import { z } from 'zod';
import { BENCHMARK_15, CORRUPTIONS, type CorruptionName, HOLD_OUT_4 } from '../corruptions/constants.ts';
import { CORRUPTIONS_VERSION } from '../corruptions/index.ts';
import type { Draft } from '../suite/draft.ts';

const PRESETS = {
  benchmark: BENCHMARK_15,
  'hold-out': HOLD_OUT_4,
  all: CORRUPTIONS,
  smoke: ['gaussian_noise', 'motion_blur', 'fog', 'contrast', 'jpeg_compression'],
} as const satisfies Record<string, readonly CorruptionName[]>;

const share = z.number().min(0).max(1);

/** What errors are divided by: a baseline's own, where AlexNet of 1000 classes says nothing. */
export const referenceSchema = z.strictObject({
  name: z.string().min(1),
  clean: share.nullable(),
  errors: z.record(z.enum(BENCHMARK_15), share.positive()),
});

export const corruptionsBuildSchema = z.strictObject({
  /** @default that of the suite and `-c` */
  name: z.string().optional(),
  corruptions: z
    .union([z.enum(['benchmark', 'hold-out', 'all', 'smoke']), z.array(z.enum(CORRUPTIONS)).min(1)])
    .default('benchmark'),
  severities: z.array(z.int().min(1).max(5)).min(1).default([1, 2, 3, 4, 5]),
  seed: z
    .int()
    .min(0)
    .max(2 ** 32 - 1)
    .default(0),
  /** Side of the square that a file's middle is cut to first, since severities are in pixels; null leaves it as it is. */
  square: z.int().min(32).max(4096).nullable().default(224),
  /** @default AlexNet, whose clean error is not verified */
  reference: referenceSchema.optional(),
});
export type CorruptionsBuild = z.input<typeof corruptionsBuildSchema>;

/**
 * `from` under corruptions, clean pictures among them. Throws a FoveaError where it does not ask for classes or is
 * corrupted already.
 */
export async function buildCorruptions(from: Draft, options: CorruptionsBuild = {}): Promise<Draft> {
  const { name, corruptions, severities, seed, square, reference } = corruptionsBuildSchema.parse(options);
  const refuse = (why: string): never => {
    throw new FoveaError(`The suite "${from.name}" cannot be corrupted: ${why}.`);
  };
  if (from.kind !== 'classify') refuse(`it is of the kind ${from.kind}; give a suite of the kind classify`);
  const chosen = new Set<CorruptionName>(typeof corruptions === 'string' ? PRESETS[corruptions] : corruptions);
  const names = CORRUPTIONS.filter((each) => chosen.has(each));
  const strengths = [...new Set(severities)].sort((a, b) => a - b);
  const items = from.items.flatMap((item) => {
    const [picture] = item.pictures;
    if (picture.corruption) return refuse(`the picture of "${item.id}" has a corruption already`);
    const shown = picture.kind === 'file' && square !== null ? { ...picture, square } : picture;
    const own = pictureSeed(seed, picture);
    const clean = {
      ...item,
      id: `${item.id}@clean`,
      split: 'clean',
      pictures: [shown],
      meta: { ...item.meta, corruption: 'clean', severity: 0 },
    };
    const corrupted = names.flatMap((corruption) =>
      strengths.map((severity) => ({
        ...clean,
        id: `${item.id}@${corruption}-${severity}`,
        split: corruption,
        pictures: [{ ...shown, corruption: { name: corruption, severity, seed: own } }],
        meta: { ...item.meta, corruption, severity },
      })),
    );
    return [clean, ...corrupted];
  });
  return {
    ...from,
    name: name ?? `${from.name}-c`,
    kind: 'corruptions',
    title: `${from.title}, under ${names.length} corruptions at ${strengths.length} severities`,
    source: {
      builder: 'corruptions',
      version: 1,
      implementation: `fovea@${CORRUPTIONS_VERSION}`,
      corruptions: names,
      severities: strengths,
      seed,
      square,
      ...(reference && { reference }),
      from: { name: from.name, source: from.source },
    },
    notes: [...from.notes, ...notesFor(names, from.classes?.length ?? 0, reference !== undefined)],
    items,
    probes: [],
  };
}

type DraftPicture = Draft['items'][number]['pictures'][number];

/** Equal for equal content, whatever it is called: 32 bits of SHA-256. */
export function pictureSeed(seed: number, picture: DraftPicture): number {
  const key = picture.kind === 'file' ? picture.sha256 : canonicalJson(picture.scene);
  return Number.parseInt(sha256Hex(`${seed}\n${key}`).slice(0, 8), 16);
}

function notesFor(names: readonly CorruptionName[], classes: number, hasReference: boolean): string[] {
  const missing = BENCHMARK_15.filter((name) => !names.includes(name));
  return [
    ...(names.includes('frost')
      ? ['Frost is drawn by a program, not photographed: scores that hold it are not comparable with a leaderboard.']
      : []),
    ...(missing.length > 0 ? [`There is no mCE: the suite leaves out ${missing.join(', ')}.`] : []),
    ...(hasReference
      ? []
      : [
          'There is no relative CE: the clean error of AlexNet, its reference, is not verified; give a reference of your own.',
        ]),
    ...(hasReference || classes === 1000
      ? []
      : [`CE and mCE are relative to AlexNet on 1000 classes and say little about ${classes}; read the plain errors.`]),
  ];
}

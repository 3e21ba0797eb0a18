// What a suite is, apart from its questions: the first file of its folder (`suite.json`). Its hash, with the hashes of
// items and pictures inside, is what scores are compared under.

import { z } from 'zod';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

/** Kinds of benchmark; each is scored and measured in one way. */
export const KINDS = [
  'pope',
  'robustvqa',
  'mmvp',
  'mmvp-vlm',
  'chair',
  'classify',
  'retrieval',
  'corruptions',
  'cue-conflict',
  'probes',
] as const;
export type Kind = (typeof KINDS)[number];

export const manifestSchema = z.strictObject({
  version: z.literal(1),
  /** Short name: letters, digits, dashes. Names folders and results. */
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,59}$/),
  kind: z.enum(KINDS),
  /** One line for people. */
  title: z.string(),
  /** Everything that the items came from: builder, its options, hashes of its files, seed. */
  source: z.record(z.string(), z.json()),
  /** What a language model is told; `{question}` is replaced. Its id and text are part of the run's key. */
  prompt: z.strictObject({ id: z.string(), template: z.string() }),
  /** How class names and texts are put to an encoder; `{}` is replaced. */
  textTemplate: z.string().default('{}'),
  /** Names that `classify` chooses from. */
  classes: z.array(z.string()).optional(),
  /** Objects with their synonyms, for captions. */
  lexicon: z
    .strictObject({ nodes: z.record(z.string(), z.array(z.string())), doubleWords: z.record(z.string(), z.string()) })
    .optional(),
  /** Which truth the items hold, such as `corrected-2026-01`. */
  gtRevision: z.string().default('original'),
  /** Items by split. */
  splits: z.record(z.string(), z.int().min(0)),
  items: z.strictObject({ count: z.int().min(0), sha256 }),
  probes: z.strictObject({ count: z.int().min(1), sha256 }).optional(),
  /** What could not be asked, and why. */
  omitted: z.array(z.strictObject({ what: z.string(), reason: z.string() })).default([]),
  /** Licences, counts of fallbacks, warnings: what a reader of the scores must know. */
  notes: z.array(z.string()).default([]),
});

export type Manifest = z.infer<typeof manifestSchema>;

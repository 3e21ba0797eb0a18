// One question of a benchmark as a line of JSON: what is shown, what is asked and what is right. It says nothing of how
// a subject answers: texts are for encoders, claims for probes, the question itself for language models.

import { z } from 'zod';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const side = z.int().min(1);
const index = z.int().min(0);

/** The corruption that a picture goes through before a subject sees it; `seed` belongs to the picture, not to its place. */
const corruption = z.strictObject({ name: z.string(), severity: z.int().min(1).max(5), seed: index });
export type Corruption = z.infer<typeof corruption>;

/**
 * A picture. `file`: a path below the suite's picture folder, with forward slashes; the member of a tar is
 * `shard.tar/name.jpg`. `scene`: drawn by the suite's own world from these numbers.
 */
const picture = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('file'),
    path: z.string().min(1),
    sha256,
    width: side,
    height: side,
    /** Side of the square of its middle that is shown, after the shorter edge was brought to 8 ⁄ 7 of that; see centreSquare. */
    square: z.int().min(32).max(4096).optional(),
    corruption: corruption.optional(),
  }),
  z.strictObject({ kind: z.literal('scene'), scene: z.json(), corruption: corruption.optional() }),
]);
export type PictureRef = z.infer<typeof picture>;

/** Something that can be read off a picture: `target` names a column of the suite's probe rows. */
const claim = z.strictObject({ target: z.string(), value: z.number() });
export type Claim = z.infer<typeof claim>;

const ask = z.discriminatedUnion('kind', [
  /** Yes or no. `texts` and `claims` stand for yes first, then no. */
  z.strictObject({
    kind: z.literal('yesno'),
    question: z.string(),
    gold: z.enum(['yes', 'no']),
    texts: z.tuple([z.string(), z.string()]).optional(),
    claims: z.tuple([claim, claim]).optional(),
  }),
  /** One of a few options; `gold` is its position. */
  z.strictObject({
    kind: z.literal('choice'),
    question: z.string(),
    options: z.array(z.string()).min(2).max(26),
    gold: index,
    texts: z.array(z.string()).optional(),
    claims: z.array(claim).optional(),
  }),
  /** One of the manifest's classes. `other` is a second class that is to be seen, such as the texture of a cue conflict. */
  z.strictObject({ kind: z.literal('classify'), gold: index, other: index.optional() }),
  /** Which of the item's pictures a text fits. */
  z.strictObject({ kind: z.literal('pick'), text: z.string(), gold: index, claim: claim.optional() }),
  /** Describe the picture. `gold` are the objects that are there, `references` what people wrote. */
  z.strictObject({
    kind: z.literal('caption'),
    gold: z.array(z.string()),
    references: z.array(z.string()).default([]),
  }),
  /** Find these captions among those of the split, and the picture among its pictures. */
  z.strictObject({ kind: z.literal('retrieve'), captions: z.array(z.string()).min(1) }),
  /** Numbers that a probe reads off the features. */
  z.strictObject({ kind: z.literal('estimate'), target: z.string(), gold: z.array(z.number()).min(1) }),
]);
export type Ask = z.infer<typeof ask>;
export type AskKind = Ask['kind'];

const scalar = z.union([z.string(), z.number(), z.boolean(), z.null()]);

export const itemSchema = z.strictObject({
  /** Unique in the suite. */
  id: z.string().min(1).max(500),
  split: z.string().min(1),
  /** What is resampled together: the picture, the pair, the layout. */
  cluster: z.string(),
  /** Items with the same one are right together or not at all. */
  pair: z.string().optional(),
  /** One; two or more where `pick` is asked. */
  pictures: z.array(picture).min(1),
  ask,
  /** Object, pattern, corruption, area, …: what results are broken down by. */
  meta: z.record(z.string(), scalar).default({}),
});

export type Item = z.infer<typeof itemSchema>;
/** An item that asks in one way. */
export type ItemOf<K extends AskKind> = Item & { ask: Extract<Ask, { kind: K }> };

/** A picture whose facts are known, for fitting probes: never one that is asked about. */
export const probeRowSchema = z.strictObject({
  id: z.string().min(1),
  cluster: z.string(),
  picture,
  /** Values by target; every row of a suite has the same targets, each with as many columns as in the others. */
  targets: z.record(z.string(), z.array(z.number()).min(1)),
});
export type ProbeRow = z.infer<typeof probeRowSchema>;

// What a subject said to one question, as a line of `preds.jsonl`. No clock, machine or place in a batch goes in, so the
// same weights and questions give the same bytes, however often the work was interrupted.

import { z } from 'zod';

const score = z.number();

const answer = z.discriminatedUnion('kind', [
  /** A number per option in its order (yes first, then no; pictures for `pick`): log-likelihoods or logits, higher is likelier. */
  z.strictObject({ kind: z.literal('scores'), scores: z.array(score) }),
  /** Of many classes: the ten best with their logits, the right one's logit and rank (from 0), and log Σ exp over all. */
  z.strictObject({
    kind: z.literal('classes'),
    top: z.array(z.tuple([z.int(), score])),
    gold: score,
    rank: z.int().min(0),
    logSumExp: score,
  }),
  /** Ranks (from 0) of the best of the item's captions for its picture, and of the picture for each caption. */
  z.strictObject({ kind: z.literal('ranks'), toText: z.int().min(0), toImage: z.array(z.int().min(0)) }),
  /** Numbers that were asked for. */
  z.strictObject({ kind: z.literal('values'), values: z.array(z.number()) }),
  /** Words. `tokens` of the model, null where it does not say. */
  z.strictObject({
    kind: z.literal('text'),
    text: z.string(),
    tokens: z.int().min(0).nullable(),
    finish: z.enum(['stop', 'length']),
  }),
  /** No answer, and why in one sentence. */
  z.strictObject({ kind: z.literal('error'), message: z.string(), attempts: z.int().min(1) }),
]);
export type Answer = z.infer<typeof answer>;

export const predictionSchema = z.strictObject({ itemId: z.string(), runKey: z.string(), answer });
export type Prediction = z.infer<typeof predictionSchema>;

/** An answer that was judged. */
export const scoredSchema = z.strictObject({
  itemId: z.string(),
  /** What was understood: `yes`, `no`, an option's letter, a class's name; `unknown`; `error`. */
  label: z.string(),
  /** Rule of the scorer that decided. */
  rule: z.string(),
  correct: z.union([z.literal(0), z.literal(1)]),
  /** Score of the right answer less that of the best wrong one. */
  margin: z.number().nullable().default(null),
  /** Probability that the subject gave to what it answered. */
  confidence: z.number().nullable().default(null),
  /** What measures of one kind need besides: mentioned objects, ranks, squared errors. */
  detail: z.record(z.string(), z.json()).optional(),
});
export type Scored = z.infer<typeof scoredSchema>;

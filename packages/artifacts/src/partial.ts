// A shard that was stopped between two steps: where its state is, so that its next start goes on from there. The train
// engine writes it and its worker removes it once the shard is done; nothing depends on its being there.

import { z } from 'zod';
import { blobRefSchema } from './checkpoint.ts';

const series = z.array(z.number());

export const partialShardSchema = z.strictObject({
  version: z.literal(1),
  /** Checkpoint that the shard started from. */
  base: z.string(),
  /** Hash of the recipe. */
  recipe: z.string(),
  /** A safetensors blob: parameters, moments and whatever else its steps carry. */
  state: blobRefSchema,
  /** Seconds that its steps have taken. */
  seconds: z.number().min(0),
  /** Per step that is done: the objective. */
  loss: series.min(1),
  terms: z.record(z.string(), series),
  /** Per module: gradient norms, summed over the steps. */
  norms: z.record(z.string(), z.number()),
});
export type PartialShard = z.infer<typeof partialShardSchema>;

/** The ref of a shard's partial state. */
export const partialRef = (
  runId: string,
  { track, round }: { track: string; round: number },
  { index, of }: { index: number; of: number },
): string => `runs/${runId}/partial/${track}/${round}/${index}-of-${of}.json`;

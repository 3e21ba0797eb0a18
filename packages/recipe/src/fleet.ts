// What a recipe says to a fleet: into how many shards a round is cut and how they are merged, and which checkpoints are
// kept. It stands beside the networks and stages of schema.ts, which say what is trained.

import { z } from 'zod';

const count = z.int().positive();
const fraction = z.number().min(0).max(1);

/** How the next checkpoint is made of the shards' mean move: see `outer.ts` of @fovea/alignment. */
const outer = z.discriminatedUnion('kind', [
  /** The mean of the shards' weights. */
  z.strictObject({
    kind: z.literal('average'),
    /**
     * What the learning rate of a shard is multiplied by where a round is cut into K: each takes a K-th of the steps, so that
     * their mean goes a K-th of the way. `linear`: K (Goyal et al. 2017, arXiv 1706.02677), `sqrt`: its root, `none`: 1.
     */
    lrScale: z.enum(['linear', 'sqrt', 'none']).default('linear'),
  }),
  /** SGD with Nesterov momentum on the mean move (DiLoCo, arXiv 2311.08105). */
  z.strictObject({
    kind: z.literal('nesterov'),
    lr: z.number().positive().default(0.7),
    momentum: fraction.default(0.9),
  }),
]);

/**
 * Local SGD: a round's steps are dealt to K shards, each with an optimiser of its own, and their moves are merged. K
 * follows the workers that are there; with K = 1 a round is ordinary training, and nothing here but `min` and `max` counts.
 */
export const shards = z
  .strictObject({
    /** A round waits until it can have this many shards. */
    min: count.max(1024).default(1),
    /** No round has more shards than this; at most a round's steps. */
    max: count.max(1024).default(1),
    /** Shards that are enough for a round when others fail or its deadline has passed; null for all of them. */
    quorum: count.nullable().default(null),
    /** Seconds after a round's first shard is done at which the late ones are left out; null waits for them. */
    deadline: z.number().positive().nullable().default(null),
    outer: outer.default({ kind: 'average', lrScale: 'linear' }),
    /**
     * How a shard's move is sent: 4 bytes a parameter, 2, or 1 with a scale per row. What a code rounds away is kept by the
     * shard and sent with its next move.
     */
    delta: z.enum(['fp32', 'fp16', 'int8']).default('fp32'),
  })
  .refine(({ min, max }) => min <= max, { path: ['min'], error: 'it must not be above shards.max' })
  .refine(({ quorum, max }) => quorum === null || quorum <= max, {
    path: ['quorum'],
    error: 'it must not be above shards.max, or no round would have enough shards',
  })
  .refine(({ quorum, deadline }) => deadline === null || quorum !== null, {
    path: ['deadline'],
    error: 'late shards can be left out only where shards.quorum says how many are enough; set it too',
  });

/** Which committed checkpoints of a run stay in the store; those that the run still needs always do. */
export const keep = z.strictObject({
  /** The newest of each track, so many; null keeps all. */
  last: count.nullable().default(null),
  /** The best scored one of each track besides: by top-1 on robustvqa (its V2 split, or all), or else on retention. */
  best: z.boolean().default(true),
  /** Every n-th round's besides; null for none. */
  every: count.nullable().default(null),
});

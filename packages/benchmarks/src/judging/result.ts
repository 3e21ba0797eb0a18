// One number of a suite with everything that it takes to believe it.

import { z } from 'zod';

export const resultSchema = z.strictObject({
  suite: z.string(),
  /** A split, `all`, or a part such as `pattern/orientation`. */
  split: z.string(),
  metric: z.string(),
  /** Null where it is not defined, such as precision without any yes. */
  value: z.number().nullable(),
  /** Items, pairs or captions behind the value. */
  n: z.int().min(0),
  unknown: z.int().min(0),
  errors: z.int().min(0),
  ci: z
    .strictObject({
      low: z.number(),
      high: z.number(),
      method: z.enum(['wilson', 'cluster-bootstrap', 't']),
      level: z.number(),
      resamples: z.int().optional(),
      seed: z.int().optional(),
    })
    .nullable(),
  /** What guessing gives; null where that says nothing. */
  chance: z.number().nullable(),
});
export type Result = z.infer<typeof resultSchema>;

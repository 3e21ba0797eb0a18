// Image–text retrieval from pictures with captions, such as COCO's: every picture with its first captions is one item, and
// the captions of the split are what is searched.

import { FoveaError } from '@fovea/artifacts';
import { annotatedSchema, openAnnotated } from '@fovea/data';
import { z } from 'zod';
import type { Draft } from '../suite/draft.ts';
import { drawn } from './build-classify.ts';

export const retrievalBuildSchema = z.strictObject({
  from: annotatedSchema,
  name: z.string().default('retrieval'),
  split: z.string().min(1).default('all'),
  /** Captions of each picture that are used; COCO's test takes five. */
  captions: z.int().min(1).default(5),
  /** Pictures, drawn by the seed; all where it is left out. Recall falls as they grow. */
  count: z.int().min(1).optional(),
  seed: z.int().min(0).default(0),
});
export type RetrievalBuild = z.input<typeof retrievalBuildSchema>;

/** Throws a FoveaError where the set cannot be used or gives fewer than two pictures with captions. */
export async function buildRetrieval(options: RetrievalBuild): Promise<Draft> {
  const { from, name, split, captions, count, seed } = retrievalBuildSchema.parse(options);
  const set = await openAnnotated(from);
  const usable = set.rows.filter((row) => row.captions.length > 0);
  if (usable.length < 2)
    throw new FoveaError(`The ${from.kind} set has captions for fewer than two pictures; give a file of captions.`);
  const rows = drawn(usable, count, seed, 'retrieval/pictures');
  const bare = set.rows.filter((row) => row.captions.length === 0);
  return {
    name,
    kind: 'retrieval',
    title: `Image–text retrieval among ${rows.length} pictures`,
    source: {
      builder: 'retrieval',
      version: 1,
      from: from.kind,
      files: set.files,
      split,
      captions,
      count: count ?? null,
      seed,
    },
    prompt: { id: 'none', template: '{question}' },
    omitted: [...set.omitted, ...bare.map(({ image }) => ({ what: image.path, reason: 'it has no captions' }))],
    notes: [],
    items: rows.map((row) => ({
      id: `${name}/${row.image.path}`,
      split,
      cluster: row.image.path,
      pictures: [{ kind: 'file', ...row.image }],
      ask: { kind: 'retrieve', captions: row.captions.slice(0, captions) },
      meta: {},
    })),
    probes: [],
  };
}

// CHAIR's questions from annotated pictures: one caption is asked for each, the objects that are there are the annotated
// ones, and people's captions go along.

import { type AnnotatedRow, annotatedSchema, openAnnotated } from '@fovea/data';
import { z } from 'zod';
import type { Draft } from '../suite/draft.ts';
import { drawn } from './build-classify.ts';
import { COCO_LEXICON } from './coco-lexicon.ts';
import { type Lexicon, ObjectMentions } from './object-mentions.ts';

export const chairBuildSchema = z.strictObject({
  from: annotatedSchema,
  name: z.string().default('chair'),
  split: z.string().min(1).default('all'),
  /** Pictures, drawn by the seed; all where it is left out. */
  count: z.int().min(1).optional(),
  seed: z.int().min(0).default(0),
});
export type ChairBuild = z.input<typeof chairBuildSchema>;

/** Throws a FoveaError where the set cannot be used; pictures without objects and captions are omitted. */
export async function buildChair(options: ChairBuild): Promise<Draft> {
  const { from, name, split, count, seed } = chairBuildSchema.parse(options);
  const set = await openAnnotated(from);
  const isBare = ({ objects, captions }: AnnotatedRow) => objects.length + captions.length === 0;
  const bare = set.rows.filter(isBare);
  const usable = set.rows.filter((row) => !isBare(row));
  const omitted = [
    ...set.omitted,
    ...bare.map(({ image }) => ({ what: image.path, reason: 'it has neither objects nor captions' })),
  ];
  const rows = drawn(usable, count, seed, 'chair/pictures');
  const { lexicon, added } = lexiconFor(set.classes);
  const isUncaptioned = rows.every(({ captions }) => captions.length === 0);
  return {
    name,
    kind: 'chair',
    title: 'CHAIR: objects named in captions that are not in the picture',
    source: { builder: 'chair', version: 1, from: from.kind, files: set.files, split, count: count ?? null, seed },
    prompt: { id: 'describe-detail', template: 'Please describe this image in detail.' },
    lexicon,
    omitted,
    notes: [
      ...(isUncaptioned
        ? ['No captions by people were given, so objects that annotators left out count as hallucinated.']
        : []),
      ...(added.length > 0 ? [`Not among COCO's objects, named by their class alone: ${added.join(', ')}.`] : []),
    ],
    items: rows.map(({ image, objects, captions }) => ({
      id: `${name}/${image.path}`,
      split,
      cluster: image.path,
      pictures: [{ kind: 'file', ...image }],
      ask: { kind: 'caption', gold: objects, references: captions },
      meta: {},
    })),
    probes: [],
  };
}

/** COCO's lexicon, with the set's own classes where it has no word for them. */
function lexiconFor(classes: string[]): { lexicon: Lexicon; added: string[] } {
  const mentions = new ObjectMentions(COCO_LEXICON);
  const added = classes.filter((name) => mentions.objects(name).length === 0);
  const nodes = { ...COCO_LEXICON.nodes, ...Object.fromEntries(added.map((name) => [name, []])) };
  return { lexicon: { nodes, doubleWords: COCO_LEXICON.doubleWords }, added };
}

// Builds POPE's questions (Li et al. 2023) from pictures whose objects are known: per picture its first k objects, each
// followed by one that is not there. Negatives are drawn anywhere (random), are the commonest (popular) or keep the
// positive's company most (adversarial). Published question files are read by read-pope.ts instead.

import { FoveaError } from '@fovea/artifacts';
import { annotatedSchema, openAnnotated } from '@fovea/data';
import { permutation, philox } from '@fovea/tensor/random';
import { z } from 'zod';
import type { Draft } from '../suite/draft.ts';
import { YES_NO_PROMPT_IDS, YES_NO_PROMPTS } from './answers/prompts.ts';
import { type PictureFile, POPE_TEXT_TEMPLATE, type PopeQuestion, popeItems, questionText } from './pope-questions.ts';

export const POPE_SPLITS = ['random', 'popular', 'adversarial'] as const;
export type PopeSplit = (typeof POPE_SPLITS)[number];

const recipe = {
  splits: z
    .array(z.enum(POPE_SPLITS))
    .min(1)
    .default([...POPE_SPLITS]),
  /** Pictures that are asked about, drawn by the seed; all that have `k` objects where there are fewer. */
  count: z.int().min(1).default(500),
  /** Positives, and as many negatives, per picture. */
  k: z.int().min(1).max(100).default(3),
  seed: z.int().min(0).max(0xffffffff).default(0),
  /** Which pictures are counted for popular and adversarial: those asked about, as in the reference, or all. */
  statsOver: z.enum(['sampled', 'corpus']).default('sampled'),
  /** Between objects of equal count: by name, or whichever was met first, as in the reference. */
  ties: z.enum(['name', 'first-seen']).default('name'),
};

export const popeRecipeSchema = z.strictObject(recipe);
export type PopeRecipe = z.input<typeof popeRecipeSchema>;

export const popeBuildSchema = z.strictObject({
  from: annotatedSchema,
  name: z.string().default('pope'),
  prompt: z.enum(YES_NO_PROMPT_IDS).default('official'),
  ...recipe,
});
export type PopeBuild = z.input<typeof popeBuildSchema>;

/** A picture and what is in it, in annotation order. */
export interface ObjectsRow {
  image: string;
  objects: readonly string[];
}

export interface PopeQuestions {
  splits: Map<PopeSplit, PopeQuestion[]>;
  notes: string[];
}

/** A suite over an annotated set. Throws a {@link FoveaError} where the set cannot be read or its objects do not suffice. */
export async function buildPope(options: PopeBuild): Promise<Draft> {
  const { from, name, prompt, ...rest } = popeBuildSchema.parse(options);
  const set = await openAnnotated(from);
  const looks = new Map(set.rows.map(({ image: { path, ...look } }): [string, PictureFile] => [path, look]));
  const rows = set.rows.map(({ image, objects }) => ({ image: image.path, objects }));
  const { splits, notes } = askPope(rows, rest);
  return {
    name,
    kind: 'pope',
    title: 'POPE: is there a … in the image?',
    source: { builder: 'pope', version: 1, from: from.kind, files: set.files, ...rest },
    prompt: { id: prompt, template: YES_NO_PROMPTS[prompt] },
    textTemplate: POPE_TEXT_TEMPLATE,
    omitted: set.omitted,
    notes,
    items: popeItems(splits, looks).items,
    probes: [],
  };
}

/**
 * The questions of every split: per picture positive, negative, positive, …; negatives are not in the picture and no two
 * of a picture's are alike. Where a ranking is used up, the negative is drawn as for `random`, and counted in `notes`.
 * Depends on rows, options and seed alone. Throws a {@link FoveaError} where a picture has fewer than `k` objects left to
 * deny, where none has `k` to affirm, and where a picture stands twice.
 */
export function askPope(given: readonly ObjectsRow[], options: PopeRecipe = {}): PopeQuestions {
  const { splits, count, k, seed, statsOver, ties } = popeRecipeSchema.parse(options);
  const rows = distinctRows(given);
  const sampled = sample(rows, count, k, seed);
  const stats = new ObjectCounts(statsOver === 'corpus' ? rows : sampled, ties);
  for (const { image, objects } of sampled) {
    const absent = stats.vocabulary.length - objects.filter((name) => stats.has(name)).length;
    if (absent < k) {
      throw new FoveaError(
        `POPE cannot be built: of the ${stats.vocabulary.length} objects known, ${absent} are not in the picture "${image}", and ${k} are to be denied there; lower k or bring pictures of other objects.`,
      );
    }
  }
  const notes: string[] = [];
  if (sampled.length < count)
    notes.push(`${count} pictures were wanted and ${sampled.length} have ${k} objects or more.`);
  const asked = new Map<PopeSplit, PopeQuestion[]>();
  for (const split of splits) {
    const drawn = { fallbacks: 0 };
    asked.set(
      split,
      sampled.flatMap((row, at) => questionsOf(row, at * k, { split, k, seed, stats, drawn })),
    );
    if (drawn.fallbacks > 0)
      notes.push(
        `${split}: ${drawn.fallbacks} of ${sampled.length * k} negatives were drawn at random, the ranking being used up.`,
      );
  }
  return { splits: asked, notes };
}

function distinctRows(given: readonly ObjectsRow[]): ObjectsRow[] {
  const seen = new Set<string>();
  return given.map(({ image, objects }) => {
    if (seen.has(image))
      throw new FoveaError(`The picture "${image}" is annotated twice; merge its objects into one row.`);
    seen.add(image);
    return { image, objects: [...new Set(objects)] };
  });
}

/** `count` pictures with `k` objects or more, by the seed, in the order given. */
function sample(rows: readonly ObjectsRow[], count: number, k: number, seed: number): ObjectsRow[] {
  const enough = rows.filter(({ objects }) => objects.length >= k);
  if (enough.length === 0) {
    throw new FoveaError(
      `POPE cannot be built: none of the ${rows.length} annotated pictures has ${k} different objects; lower k or bring others.`,
    );
  }
  const chosen = permutation(enough.length, seed, 'pope/pictures').slice(0, count).sort();
  return Array.from(chosen, (at) => enough[at]);
}

interface Denying {
  split: PopeSplit;
  k: number;
  seed: number;
  stats: ObjectCounts;
  drawn: { fallbacks: number };
}

function questionsOf({ image, objects }: ObjectsRow, before: number, by: Denying): PopeQuestion[] {
  const used = new Set(objects);
  return objects.slice(0, by.k).flatMap((positive, i) => {
    const negative = deny(image, positive, i, used, by);
    used.add(negative);
    const pair = before + i + 1;
    const question = (object: string, gold: 'yes' | 'no', number: number): PopeQuestion => ({
      number,
      image,
      object,
      text: questionText(object),
      gold,
      pair,
    });
    return [question(positive, 'yes', 2 * pair - 1), question(negative, 'no', 2 * pair)];
  });
}

/** An object that is not `used`; the draw belongs to seed, split, picture and position alone. */
function deny(image: string, positive: string, i: number, used: ReadonlySet<string>, by: Denying): string {
  const { split, seed, stats, drawn } = by;
  if (split !== 'random') {
    const ranking = split === 'popular' ? stats.popular : stats.companyOf(positive);
    const first = ranking.find((name) => !used.has(name));
    if (first !== undefined) return first;
    drawn.fallbacks++;
  }
  const free = stats.vocabulary.filter((name) => !used.has(name));
  return free[philox(seed, `pope/${split}/${image}`, i).int(free.length)];
}

/** How often objects are seen, and seen together. */
class ObjectCounts {
  /** By name, so that draws do not depend on the order of rows. */
  readonly vocabulary: readonly string[];
  /** The commonest first. */
  readonly popular: readonly string[];
  readonly #together = new Map<string, Map<string, number>>();
  readonly #company = new Map<string, readonly string[]>();
  readonly #ties: 'name' | 'first-seen';

  constructor(rows: readonly ObjectsRow[], ties: 'name' | 'first-seen') {
    this.#ties = ties;
    const counts = new Map<string, number>();
    const add = (sums: Map<string, number>, name: string) => sums.set(name, (sums.get(name) ?? 0) + 1);
    for (const { objects } of rows) {
      for (const name of objects) {
        add(counts, name);
        const company = this.#together.get(name) ?? new Map<string, number>();
        this.#together.set(name, company);
        for (const other of objects) if (other !== name) add(company, other);
      }
    }
    this.vocabulary = [...counts.keys()].sort(byName);
    this.popular = this.#ranked(counts);
  }

  has(name: string): boolean {
    return this.#together.has(name);
  }

  /** Objects seen together with `name`, the most often first. */
  companyOf(name: string): readonly string[] {
    const known = this.#company.get(name) ?? this.#ranked(this.#together.get(name) ?? new Map());
    this.#company.set(name, known);
    return known;
  }

  /** By falling count; Map and sort keep the order of first sight between equals. */
  #ranked(counts: ReadonlyMap<string, number>): readonly string[] {
    const tie = this.#ties === 'name' ? byName : () => 0;
    return [...counts].sort(([a, n], [b, m]) => m - n || tie(a, b)).map(([name]) => name);
  }
}

/** By code units: the same on every machine and in every language. */
const byName = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

// RobustVQA from any labelled pictures: is this, or that, the main object? An independent model may choose the wrong names
// and the pictures; a slice that no model had a say in always stands beside. Follows DEEM's generator (arXiv 2405.15232,
// appendix E.1) in both its versions, but keeps picture, name and wrong name together by position in one list, never zipped.

import { canonicalJson, FoveaError, sha256Hex } from '@fovea/artifacts';
import { permutation, philox, type Rng } from '@fovea/tensor/random';
import { z } from 'zod';
import type { ImageTextEncoder } from '../image-text-encoder.ts';
import { namesOf, similarities } from '../scoring.ts';
import type { Draft } from '../suite/draft.ts';
import type { PictureFacts } from './user-files.ts';

export const robustVqaOptions = z.strictObject({
  name: z.string().default('robustvqa'),
  seed: z.int().min(0).default(0),
  /** `all` pictures (the published file's rule), or only those that the filter model gets wrong (the later script's). */
  rule: z.enum(['all', 'errors-only']).default('all'),
  /** Wrong names: the filter model's best wrong classes, uniform over the split's, or classes of the same group. */
  distractor: z.enum(['clip-top', 'random', 'sibling']).default('clip-top'),
  /** Two questions a picture that are answered by yes and by no, or one with four options. */
  format: z.enum(['yesno', 'mcq4']).default('yesno'),
  /** Ask every mcq4 four times, the options turned by one each time; right when all four are. */
  rotations: z.boolean().default(false),
  /** Names that compete: of the classes that a split has pictures of (200 of 1,000 for ImageNet-A), or of all. */
  mask: z.enum(['present', 'all']).default('present'),
});
export type RobustVqaOptions = z.infer<typeof robustVqaOptions>;

/** A picture and its class; `split` is `all` where it is left out. */
export interface LabelledPicture extends PictureFacts {
  label: number;
  split?: string;
}

/** The independent model; it must not be the one under test (see {@link filterRefusal}). */
export interface FilterModel {
  encoder: ImageTextEncoder;
  /** Of its weights and preprocessing; goes into the manifest. */
  sha256: string;
  /** Reads and frames pictures for it: [n, 3, H, W], n at most 256. */
  pixels(pictures: readonly LabelledPicture[]): Promise<Float32Array>;
}

export interface RobustVqaSource {
  pictures: readonly LabelledPicture[];
  /** Names by label; underscores are read as spaces. */
  classes: readonly string[];
  /** Group of each class, such as its WordNet parent; needed for `sibling`. */
  groups?: readonly string[];
  filter?: FilterModel;
  /** Pictures that the filter model sees at once; changes nothing but speed. */
  batch?: number;
  notes?: readonly string[];
  omitted?: Draft['omitted'];
}

/** Best wrong classes that are looked through for three of different names. */
const DEPTH = 12;

/** What the filter model thinks of one picture. */
interface Verdict {
  /** Wrong classes, best first. */
  wrong: number[];
  isRight: boolean;
}

/** One picture with the wrong classes that it is asked with. */
interface Question {
  picture: LabelledPicture;
  split: string;
  wrong: number[];
}

/**
 * Builds the suite. Splits are those of the pictures, each with a twin `<split>-unfiltered`: all its pictures with uniform
 * wrong names; where no model has a say in a split anyhow (rule `all`, distractor `random`) the twin alone is built.
 * Throws a {@link FoveaError} for options that lack their filter, groups or classes, for a picture that is given twice, and
 * where nothing is left to ask.
 */
export async function buildRobustVqa(given: z.input<typeof robustVqaOptions>, source: RobustVqaSource): Promise<Draft> {
  const options = robustVqaOptions.parse(given);
  const names = source.classes.map(cleanName);
  check(options, source, names);
  const usesFilter = options.rule === 'errors-only' || options.distractor === 'clip-top';
  const count = options.format === 'mcq4' ? 3 : 1;
  const drafted: Question[] = [];
  const omitted = [...(source.omitted ?? [])];
  const notes = [...(source.notes ?? [])];
  let filled = 0;
  for (const [split, pictures] of splitsOf(source.pictures)) {
    const mask = maskOf(options, pictures, names, count, split);
    const wrongNames = new WrongNames(names, mask, source.groups);
    if (usesFilter || options.distractor === 'sibling') {
      const verdicts = usesFilter ? await judge(source, names, pictures, mask) : null;
      pictures.forEach((picture, i) => {
        if (options.rule === 'errors-only' && verdicts?.[i].isRight) return;
        const rng = philox(options.seed, `distractor/${split}/${picture.path}`);
        let wrong: number[] | null;
        if (options.distractor === 'clip-top') wrong = wrongNames.best(picture.label, verdicts?.[i].wrong ?? [], count);
        else if (options.distractor === 'random') wrong = wrongNames.random(picture.label, count, rng);
        else {
          const siblings = wrongNames.siblings(picture.label, count, rng);
          wrong = siblings.wrong;
          filled += siblings.filled;
        }
        if (wrong) drafted.push({ picture, split, wrong });
        else
          omitted.push({
            what: `${split}/${picture.path}`,
            reason: 'the wrong name is the same word as the right one',
          });
      });
    }
    for (const picture of pictures) {
      const rng = philox(options.seed, `unfiltered/${split}/${picture.path}`);
      drafted.push({
        picture,
        split: `${split}-unfiltered`,
        wrong: wrongNames.random(picture.label, count, rng),
      });
    }
  }
  if (filled > 0) notes.push(`${filled} wrong names are not of the right one's group, which has too few`);
  return {
    name: options.name,
    kind: 'robustvqa',
    title: 'RobustVQA: is this the main object?',
    source: {
      builder: 'robustvqa',
      ...options,
      filterModel: usesFilter ? (source.filter?.sha256 ?? null) : null,
      classes: sha256Hex(canonicalJson(names)),
      groups: options.distractor === 'sibling' ? sha256Hex(canonicalJson(source.groups ?? [])) : null,
    },
    prompt: { id: 'plain', template: '{question} Please answer yes or no' },
    textTemplate: 'a photo of a {}',
    omitted,
    notes: [...notes, ...countsOf(drafted)],
    items: drafted.flatMap((question) => itemsOf(question, names, options)),
    probes: [],
  };
}

/** A class name as it is asked about: underscores are spaces. */
export function cleanName(name: string): string {
  return name.replace(/[_\s]+/g, ' ').trim();
}

/**
 * Why a suite must not be put to a subject: its own weights chose the questions, so any change of them would look like
 * progress. Null where they did not. `weights` are the hashes that make up the subject.
 */
export function filterRefusal(source: Draft['source'], weights: readonly string[]): string | null {
  const { filterModel } = source;
  if (typeof filterModel !== 'string' || !weights.includes(filterModel)) return null;
  return 'the questions of this suite were chosen by the very encoder under test, which would then seem to improve by any change; build them with another filter model';
}

function check(options: RobustVqaOptions, { pictures, groups, filter }: RobustVqaSource, names: string[]): void {
  const refuse = (why: string): never => {
    throw new FoveaError(`RobustVQA cannot be built: ${why}.`);
  };
  if (pictures.length === 0) refuse('there is no picture; check the folder');
  const empty = names.indexOf('');
  if (empty >= 0) refuse(`class ${empty} has no name; name it`);
  const label = pictures.find((picture) => names[picture.label] === undefined);
  if (label) refuse(`the picture "${label.path}" is of class ${label.label}, but there are ${names.length} classes`);
  const seen = new Set<string>();
  for (const { path, split } of pictures) {
    const key = `${split ?? 'all'}/${path}`;
    if (seen.has(key)) refuse(`the picture "${path}" is given twice; list it once`);
    seen.add(key);
  }
  if (filter === undefined && options.rule === 'errors-only') refuse('errors-only needs a filter model; name one');
  if (filter === undefined && options.distractor === 'clip-top') {
    refuse('clip-top needs a filter model; name one, or choose random or sibling wrong names');
  }
  if (options.distractor === 'sibling' && groups?.length !== names.length) {
    refuse(`sibling needs a group for each of the ${names.length} classes; give the map of groups`);
  }
  if (options.rotations && options.format !== 'mcq4') refuse('rotations turn the options of mcq4; choose that format');
}

function splitsOf(pictures: readonly LabelledPicture[]): Map<string, LabelledPicture[]> {
  const splits = new Map<string, LabelledPicture[]>();
  for (const picture of pictures) {
    const split = picture.split ?? 'all';
    const known = splits.get(split);
    if (known) known.push(picture);
    else splits.set(split, [picture]);
  }
  return splits;
}

function maskOf(
  { mask }: RobustVqaOptions,
  pictures: readonly LabelledPicture[],
  names: string[],
  count: number,
  split: string,
): number[] {
  const present = new Set(pictures.map(({ label }) => label));
  const classes = [...names.keys()].filter((label) => mask === 'all' || present.has(label));
  const different = new Set(classes.map((label) => names[label].toLowerCase())).size;
  if (different > count) return classes;
  throw new FoveaError(
    `RobustVQA cannot be built: the split "${split}" has ${different} classes of different names, but ${count + 1} are needed; add classes or choose mask "all".`,
  );
}

/** Verdicts of the filter model, in the order of the pictures; names outside the mask do not compete. */
async function judge(
  { filter, batch = 64 }: RobustVqaSource,
  names: string[],
  pictures: readonly LabelledPicture[],
  mask: number[],
): Promise<Verdict[]> {
  const { encoder, pixels } = filter as FilterModel;
  const texts = await namesOf(
    encoder,
    mask.map((label) => names[label]),
  );
  const verdicts: Verdict[] = [];
  const scores = new Float64Array(mask.length);
  for (let first = 0; first < pictures.length; first += batch) {
    const chunk = pictures.slice(first, first + batch);
    const features = await encoder.imageFeatures(await pixels(chunk), chunk.length);
    chunk.forEach(({ label, path }, i) => {
      similarities(features, i * encoder.dim, texts, encoder.dim, mask.length, scores);
      if (scores.some(Number.isNaN)) {
        throw new FoveaError(`The filter model's features of "${path}" are not finite; choose another one.`);
      }
      verdicts.push(verdictOf(scores, mask, label));
    });
  }
  return verdicts;
}

/** A tie with a wrong class is no right answer; among equals the first class comes first. */
function verdictOf(scores: Float64Array, mask: number[], label: number): Verdict {
  const right = mask.indexOf(label);
  const order = [...mask.keys()].filter((at) => at !== right).sort((a, b) => scores[b] - scores[a] || a - b);
  return { wrong: order.slice(0, DEPTH).map((at) => mask[at]), isRight: scores[right] > scores[order[0]] };
}

/** Chooses wrong classes for a right one; two classes of one name (ImageNet has two cranes) are never put side by side. */
class WrongNames {
  readonly #names: string[];
  readonly #mask: number[];
  readonly #groups: readonly string[] | undefined;

  constructor(names: string[], mask: number[], groups: readonly string[] | undefined) {
    this.#names = names.map((name) => name.toLowerCase());
    this.#mask = mask;
    this.#groups = groups;
  }

  /** The best of a ranking; null where the single best bears the right name, or too few differ. */
  best(label: number, ranking: readonly number[], count: number): number[] | null {
    const wrong = this.#take(label, count === 1 ? ranking.slice(0, 1) : ranking, count);
    return wrong.length === count ? wrong : null;
  }

  random(label: number, count: number, rng: Rng): number[] {
    return this.#take(label, shuffled(this.#mask, rng), count);
  }

  /** Of the right class's group; `filled` are those that had to come from elsewhere. */
  siblings(label: number, count: number, rng: Rng): { wrong: number[]; filled: number } {
    const groups = this.#groups as readonly string[];
    const order = shuffled(this.#mask, rng);
    const isSibling = (other: number) => groups[other] === groups[label];
    const ranked = [...order.filter(isSibling), ...order.filter((other) => !isSibling(other))];
    const wrong = this.#take(label, ranked, count);
    return { wrong, filled: wrong.filter((other) => !isSibling(other)).length };
  }

  #take(label: number, order: readonly number[], count: number): number[] {
    const taken = new Set([this.#names[label]]);
    const wrong: number[] = [];
    for (const other of order) {
      if (wrong.length === count) break;
      if (taken.has(this.#names[other])) continue;
      taken.add(this.#names[other]);
      wrong.push(other);
    }
    return wrong;
  }
}

function shuffled(values: readonly number[], rng: Rng): number[] {
  const order = [...values];
  for (let i = order.length - 1; i > 0; i--) {
    const j = rng.int(i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

function countsOf(questions: readonly Question[]): string[] {
  const counts = new Map<string, number>();
  for (const { split } of questions) counts.set(split, (counts.get(split) ?? 0) + 1);
  return [...counts].map(([split, count]) => `${split}: ${count} pictures`);
}

function itemsOf({ picture, split, wrong }: Question, names: string[], options: RobustVqaOptions): Draft['items'] {
  const { label, split: _, ...facts } = picture;
  const id = `${split}/${facts.path}`;
  const shown = { kind: 'file', ...facts } as const;
  const base = { split, cluster: facts.path, pictures: [shown] };
  const meta = { label: names[label], distractor: wrong.map((other) => names[other]).join('; ') };
  if (options.format === 'yesno') return yesNoItems({ id, ...base }, names[label], names[wrong[0]], meta);
  const order = permutation(4, options.seed, `options/${id}`);
  const all = [label, ...wrong].map((other) => names[other]);
  return Array.from({ length: options.rotations ? 4 : 1 }, (_, turn) => {
    const places = Array.from({ length: 4 }, (_, at) => order[(at + turn) % 4]);
    const texts = places.map((at) => all[at]);
    const ask = {
      kind: 'choice',
      question: 'What is the main object in this image?',
      options: texts,
      gold: places.indexOf(0),
      texts,
    } as const;
    return options.rotations
      ? { id: `${id}#${turn}`, ...base, pair: id, ask, meta: { ...meta, turn } }
      : { id, ...base, ask, meta };
  });
}

/** The question that is answered by yes and the one that is answered by no, which are a pair. */
export function yesNoItems(
  base: Pick<Draft['items'][number], 'id' | 'split' | 'cluster' | 'pictures'>,
  right: string,
  wrong: string,
  meta: Draft['items'][number]['meta'],
): Draft['items'] {
  const item = (gold: 'yes' | 'no', asked: string, other: string): Draft['items'][number] => ({
    ...base,
    id: `${base.id}#${gold}`,
    pair: base.id,
    ask: { kind: 'yesno', question: `Is ${asked} the main object in this image?`, gold, texts: [asked, other] },
    meta,
  });
  return [item('yes', right, wrong), item('no', wrong, right)];
}

// RobustVQA from any labelled pictures: is this, or that, the main object? An independent model may choose the wrong names
// and the pictures; a slice that no model had a say in always stands beside. Follows DEEM's generator (arXiv 2405.15232,
// appendix E.1) in both its versions, but keeps picture, name and wrong name together by position in one list, never zipped.

import { canonicalJson, FoveaError, sha256Hex } from '@fovea/artifacts';
import { permutation, philox } from '@fovea/tensor/random';
import { z } from 'zod';
import type { ImageTextEncoder } from '../image-text-encoder.ts';
import type { Draft } from '../suite/draft.ts';
import { YES_NO_PROMPTS } from './answers/prompts.ts';
import type { PictureFacts } from './user-files.ts';
import { judge, WrongNames } from './wrong-names.ts';

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

/** One picture with the wrong classes that it is asked with. */
interface Question {
  picture: LabelledPicture;
  split: string;
  wrong: number[];
  /** Of them, how many a group could not give. */
  filled: number;
}

/** Wrong names that a question of a format takes. */
const wrongCount = ({ format }: RobustVqaOptions): number => (format === 'mcq4' ? 3 : 1);

const usesFilter = ({ rule, distractor }: RobustVqaOptions): boolean =>
  rule === 'errors-only' || distractor === 'clip-top';

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
  const questions: Question[] = [];
  for (const [split, pictures] of splitsOf(source.pictures)) {
    const wrongNames = new WrongNames(names, maskOf(options, pictures, names, split), source.groups);
    questions.push(...(await chooseQuestions(options, source, { split, pictures, names, wrongNames })));
    questions.push(...unfiltered(options, split, pictures, wrongNames));
  }
  return {
    name: options.name,
    kind: 'robustvqa',
    title: 'RobustVQA: is this the main object?',
    source: {
      builder: 'robustvqa',
      ...options,
      filterModel: usesFilter(options) ? (source.filter?.sha256 ?? null) : null,
      classes: sha256Hex(canonicalJson(names)),
      groups: options.distractor === 'sibling' ? sha256Hex(canonicalJson(source.groups ?? [])) : null,
    },
    prompt:
      options.format === 'yesno'
        ? { id: 'yes-or-no', template: YES_NO_PROMPTS['yes-or-no'] }
        : { id: 'bare', template: '{question}' },
    textTemplate: 'a photo of a {}',
    omitted: [...(source.omitted ?? [])],
    notes: [...(source.notes ?? []), ...sharedNames(names), ...filledOf(questions), ...countsOf(questions)],
    items: questions.flatMap((question) => itemsOf(question, names, options)),
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

/** One split of the pictures. */
interface SplitOf {
  split: string;
  pictures: readonly LabelledPicture[];
  names: string[];
  wrongNames: WrongNames;
}

/** The questions that a rule and a distractor choose; none where that is what the unfiltered twin asks anyhow. */
async function chooseQuestions(
  options: RobustVqaOptions,
  { filter, batch }: RobustVqaSource,
  { split, pictures, names, wrongNames }: SplitOf,
): Promise<Question[]> {
  const { rule, distractor, seed } = options;
  if (rule === 'all' && distractor === 'random') return [];
  const verdicts = usesFilter(options) ? await judge(filter as FilterModel, names, pictures, wrongNames, batch) : null;
  const count = wrongCount(options);
  return pictures.flatMap((picture, i) => {
    if (rule === 'errors-only' && verdicts?.[i].isRight) return [];
    const rng = philox(seed, `distractor/${split}/${picture.path}`);
    const base = { picture, split, filled: 0 };
    if (distractor === 'sibling') return { ...base, ...wrongNames.siblings(picture.label, count, rng) };
    if (distractor === 'random') return { ...base, wrong: wrongNames.random(picture.label, count, rng) };
    return { ...base, wrong: (verdicts?.[i].wrong ?? []).slice(0, count) };
  });
}

function unfiltered(
  options: RobustVqaOptions,
  split: string,
  pictures: readonly LabelledPicture[],
  wrongNames: WrongNames,
): Question[] {
  return pictures.map((picture) => {
    const rng = philox(options.seed, `unfiltered/${split}/${picture.path}`);
    const wrong = wrongNames.random(picture.label, wrongCount(options), rng);
    return { picture, split: `${split}-unfiltered`, wrong, filled: 0 };
  });
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
  options: RobustVqaOptions,
  pictures: readonly LabelledPicture[],
  names: string[],
  split: string,
): number[] {
  const present = new Set(pictures.map(({ label }) => label));
  const classes = [...names.keys()].filter((label) => options.mask === 'all' || present.has(label));
  const different = new Set(classes.map((label) => names[label].toLowerCase())).size;
  const count = wrongCount(options);
  if (different > count) return classes;
  throw new FoveaError(
    `RobustVQA cannot be built: the split "${split}" has ${different} classes of different names, but ${count + 1} are needed; add classes or choose mask "all".`,
  );
}

function sharedNames(names: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name.toLowerCase(), (counts.get(name.toLowerCase()) ?? 0) + 1);
  const shared = [...counts].flatMap(([name, count]) => (count > 1 ? [`"${name}"`] : []));
  return shared.length === 0 ? [] : [`classes that share a name count as one: ${shared.join(', ')}`];
}

function filledOf(questions: readonly Question[]): string[] {
  const filled = questions.reduce((sum, question) => sum + question.filled, 0);
  return filled === 0 ? [] : [`${filled} wrong names are not of the right one's group, which has too few`];
}

function countsOf(questions: readonly Question[]): string[] {
  const counts = new Map<string, number>();
  for (const { split } of questions) counts.set(split, (counts.get(split) ?? 0) + 1);
  return [...counts].map(([split, count]) => `${split}: ${count} pictures`);
}

function itemsOf({ picture, split, wrong }: Question, names: string[], options: RobustVqaOptions): Draft['items'] {
  const { label, path, sha256, width, height } = picture;
  const id = `${split}/${path}`;
  const shown = { kind: 'file', path, sha256, width, height } as const;
  const base = { split, cluster: path, pictures: [shown] };
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

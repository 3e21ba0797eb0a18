// RobustVQA from any labelled pictures: is this, or that, the main object? An independent model may choose the wrong names
// and the pictures; a slice that no model had a say in always stands beside. Follows DEEM's generator (arXiv 2405.15232,
// appendix E.1) in both its versions, but a picture, its name and its wrong names are one object from the start, never zipped.

import { canonicalJson, FoveaError, sha256Hex } from '@fovea/artifacts';
import { annotatedSchema, decodePicture, openAnnotated } from '@fovea/data';
import { philox } from '@fovea/tensor/random';
import { z } from 'zod';
import type { Draft } from '../suite/draft.ts';
import { parseAs, parseJson } from '../suite/safe-files.ts';
import { YES_NO_PROMPT_IDS, YES_NO_PROMPTS } from './answers/prompts.ts';
import { grouped } from './measures.ts';
import type { FilterModel, ReadPicture, RunOptions } from './picture-features.ts';
import { cleanName, fourWayItems, ROBUSTVQA_TEXT_TEMPLATE, yesNoItems } from './robustvqa-questions.ts';
import { type PictureFacts, readText } from './user-files.ts';
import { judgePictures, WrongNames } from './wrong-names.ts';

const recipe = {
  seed: z.int().min(0).max(0xffffffff).default(0),
  /** `all` pictures (the published file's rule), or only those that the filter model gets wrong (the later script's). */
  rule: z.enum(['all', 'errors-only']).default('all'),
  /** Wrong names: the filter model's likeliest, uniform over those that compete, or of the same group. */
  distractor: z.enum(['clip-top', 'random', 'sibling']).default('clip-top'),
  /** Two questions a picture that are answered by yes and by no, or one with four options. */
  format: z.enum(['yesno', 'mcq4']).default('yesno'),
  /** Ask every mcq4 four times, the options turned by one each time; right when all four are. */
  rotations: z.boolean().default(false),
  /** Names that compete: of the classes that a split has pictures of (200 of 1,000 for ImageNet-A), or of all. */
  mask: z.enum(['present', 'all']).default('present'),
};

export const robustVqaRecipeSchema = z.strictObject(recipe);
export type RobustVqaRecipe = z.input<typeof robustVqaRecipeSchema>;
type Recipe = z.output<typeof robustVqaRecipeSchema>;

export const robustVqaBuildSchema = z.strictObject({
  /** A set that gives every picture one class: a folder of class folders, or tars. */
  from: annotatedSchema,
  /** Name of its split. */
  split: z.string().min(1).default('all'),
  /** A JSON file of groups by class name, such as WordNet parents; for `sibling`. */
  groups: z.string().optional(),
  name: z.string().default('robustvqa'),
  prompt: z.enum(YES_NO_PROMPT_IDS).default('yes-or-no'),
  ...recipe,
});
export type RobustVqaBuild = z.input<typeof robustVqaBuildSchema>;

export type { FilterModel } from './picture-features.ts';

/** A picture and its class, by number. */
export interface LabelledPicture extends PictureFacts {
  label: number;
  split: string;
}

/** What questions are made of. */
export interface RobustVqaSource {
  pictures: readonly LabelledPicture[];
  /** Names by label; underscores are read as spaces. */
  classes: readonly string[];
  /** Group of each class; needed for `sibling`. */
  groups?: readonly string[];
  /** It must not be the one under test; see {@link foilRefusal}. */
  filter?: FilterModel & { read: ReadPicture };
}

/** One picture with the wrong classes that it is asked with. */
interface Question {
  picture: LabelledPicture;
  split: string;
  wrong: number[];
  /** Of them, how many a group could not give. */
  filled: number;
}

/**
 * A suite over an annotated set; `filter` where the options need one. Throws a {@link FoveaError} where the set cannot be
 * read, gives no classes, or as {@link askRobustVqa} does. Damaged pictures are omitted.
 */
export async function buildRobustVqa(
  given: RobustVqaBuild,
  filter: FilterModel | null = null,
  run: RunOptions = {},
): Promise<Draft> {
  const { from, split, groups, name, prompt, ...rest } = robustVqaBuildSchema.parse(given);
  const { classes, rows, omitted, files, pictures: source } = await openAnnotated(from);
  const pictures = rows.map(({ image, label }): LabelledPicture => {
    if (label === undefined)
      throw new FoveaError(
        `RobustVQA needs pictures of one class each, and "${image.path}" has none; give a set that has.`,
      );
    return { ...image, label: classes.indexOf(label), split };
  });
  const read: ReadPicture = async ({ path }) => decodePicture(await source.read(path), { where: path });
  const grouped = groups === undefined ? undefined : await groupsOf(groups, classes);
  const asked = await askRobustVqa(
    rest,
    { pictures, classes, groups: grouped?.groups, filter: filter ? { ...filter, read } : undefined },
    run,
  );
  const isYesNo = rest.format === 'yesno';
  return {
    name,
    kind: 'robustvqa',
    title: 'RobustVQA: is this the main object?',
    source: {
      builder: 'robustvqa',
      version: 1,
      from: from.kind,
      files: { ...files, ...(grouped && { groups: grouped.sha256 }) },
      classes: sha256Hex(canonicalJson(classes)),
      ...rest,
      foil: needsFilter(rest) && filter ? filter.id : null,
    },
    prompt: isYesNo ? { id: prompt, template: YES_NO_PROMPTS[prompt] } : { id: 'bare', template: '{question}' },
    textTemplate: ROBUSTVQA_TEXT_TEMPLATE,
    omitted,
    notes: asked.notes,
    items: asked.items,
    probes: [],
  };
}

async function groupsOf(file: string, classes: readonly string[]) {
  const { text, sha256 } = await readText(file);
  const what = `The file of groups "${file}"`;
  const groups = new Map(Object.entries(parseAs(z.record(z.string(), z.string()), parseJson(text, what), what)));
  const named = classes.map((name) => {
    const group = groups.get(name) ?? groups.get(cleanName(name));
    if (group === undefined) throw new FoveaError(`${what} has no group for "${name}"; add it.`);
    return group;
  });
  return { groups: named, sha256 };
}

/**
 * The questions of every split. Each split of the pictures has a twin `<split>-unfiltered`, all its pictures with uniform
 * wrong names; where no model and no group has a say in a split anyhow (rule `all`, distractor `random`) there is only the
 * twin. A picture's questions depend on the options, the filter model and, with mask `present`, the classes of its split;
 * never on other pictures, their order or batches. Throws a {@link FoveaError} where the options lack their filter, groups or
 * classes, and for a picture that is given twice.
 */
export async function askRobustVqa(
  given: RobustVqaRecipe,
  source: RobustVqaSource,
  run: RunOptions = {},
): Promise<{ items: Draft['items']; notes: string[] }> {
  const options = robustVqaRecipeSchema.parse(given);
  const names = source.classes.map(cleanName);
  check(options, source, names);
  const questions: Question[] = [];
  for (const [split, pictures] of grouped(source.pictures, (picture) => picture.split)) {
    const wrongNames = new WrongNames(names, maskOf(options, pictures, names, split), source.groups);
    questions.push(...(await choose(options, source.filter, { pictures, names, wrongNames }, run)));
    questions.push(...unfiltered(options, pictures, wrongNames));
  }
  const items = questions.flatMap(({ picture, split, wrong }) => {
    const named = { picture, split, right: names[picture.label], wrong: wrong.map((label) => names[label]) };
    return options.format === 'yesno' ? yesNoItems(named) : fourWayItems(named, options);
  });
  return { items, notes: [...sharedNames(names), ...filledOf(questions), ...countsOf(questions)] };
}

/** Wrong names that a question of a format takes. */
const wrongCount = ({ format }: Recipe): number => (format === 'mcq4' ? 3 : 1);

const needsFilter = ({ rule, distractor }: Pick<Recipe, 'rule' | 'distractor'>): boolean =>
  rule === 'errors-only' || distractor === 'clip-top';

function check(options: Recipe, { pictures, groups, filter }: RobustVqaSource, names: readonly string[]): void {
  const refuse = (why: string): never => {
    throw new FoveaError(`RobustVQA cannot be built: ${why}.`);
  };
  if (pictures.length === 0) refuse('there is no picture; check the folder');
  const empty = names.indexOf('');
  if (empty >= 0) refuse(`class ${empty} has no name; name it`);
  const stray = pictures.find(({ label }) => names[label] === undefined);
  if (stray) refuse(`the picture "${stray.path}" is of class ${stray.label}, but there are ${names.length} classes`);
  const seen = new Set<string>();
  for (const { path, split } of pictures) {
    if (seen.has(`${split}/${path}`)) refuse(`the picture "${path}" is given twice; list it once`);
    seen.add(`${split}/${path}`);
  }
  if (filter === undefined && options.rule === 'errors-only') refuse('errors-only needs a filter model; name one');
  if (filter === undefined && options.distractor === 'clip-top')
    refuse('clip-top needs a filter model; name one, or choose random or sibling wrong names');
  if (options.distractor === 'sibling' && groups?.length !== names.length)
    refuse(`sibling needs a group for each of the ${names.length} classes; give the map of groups`);
  if (options.rotations && options.format !== 'mcq4') refuse('rotations turn the options of mcq4; choose that format');
}

function maskOf(
  options: Recipe,
  pictures: readonly LabelledPicture[],
  names: readonly string[],
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

/** One split of the pictures. */
interface SplitOf {
  pictures: readonly LabelledPicture[];
  names: readonly string[];
  wrongNames: WrongNames;
}

/** The questions that a rule and a distractor choose; none where that is what the unfiltered twin asks anyhow. */
async function choose(
  options: Recipe,
  filter: RobustVqaSource['filter'],
  { pictures, names, wrongNames }: SplitOf,
  run: RunOptions,
): Promise<Question[]> {
  const { rule, distractor, seed } = options;
  if (rule === 'all' && distractor === 'random') return [];
  const verdicts =
    filter && needsFilter(options) ? await judgePictures(filter, names, pictures, wrongNames, run) : null;
  const count = wrongCount(options);
  return pictures.flatMap((picture, i) => {
    const { split, label, path } = picture;
    if (rule === 'errors-only' && verdicts?.[i].isRight) return [];
    const rng = philox(seed, `distractor/${split}/${path}`);
    const base = { picture, split, filled: 0 };
    if (distractor === 'sibling') return { ...base, ...wrongNames.siblings(label, count, rng) };
    if (distractor === 'random') return { ...base, wrong: wrongNames.random(label, count, rng) };
    return { ...base, wrong: (verdicts?.[i].wrong ?? []).slice(0, count) };
  });
}

function unfiltered(options: Recipe, pictures: readonly LabelledPicture[], wrongNames: WrongNames): Question[] {
  return pictures.map((picture) => {
    const { split, label, path } = picture;
    const rng = philox(options.seed, `unfiltered/${split}/${path}`);
    const wrong = wrongNames.random(label, wrongCount(options), rng);
    return { picture, split: `${split}-unfiltered`, wrong, filled: 0 };
  });
}

function sharedNames(names: readonly string[]): string[] {
  const byName = grouped(names, (name) => name.toLowerCase());
  const shared = [...byName].flatMap(([name, all]) => (all.length > 1 ? [`"${name}"`] : []));
  return shared.length === 0 ? [] : [`Classes that share a name count as one: ${shared.join(', ')}.`];
}

function filledOf(questions: readonly Question[]): string[] {
  const filled = questions.reduce((sum, question) => sum + question.filled, 0);
  return filled === 0 ? [] : [`${filled} wrong names are not of the right one's group, which has too few.`];
}

const countsOf = (questions: readonly Question[]): string[] =>
  [...grouped(questions, ({ split }) => split)].map(([split, all]) => `${split}: ${all.length} pictures.`);

/**
 * Why a suite must not be put to a subject: its own weights chose the questions, so that any change of them would look like
 * progress. Null where they did not. `source` is the manifest's; `ids` are the hashes that make up the subject.
 */
export function foilRefusal({ foil }: Draft['source'], ids: readonly string[]): string | null {
  if (typeof foil !== 'string' || !ids.includes(foil)) return null;
  return 'The questions of this suite were chosen by the very encoder under test, which would then seem to improve by any change; build them with another filter model.';
}

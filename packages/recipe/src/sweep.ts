// A sweep: one recipe, some of its fields varied, and what is compared. It knows fields and values, not what becomes of
// them: runs are submitted by the command line's records and the coordinator's sweeper. A control matrix is a sweep that
// varies nothing: its seeds times the recipe's roles.

import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { canonicalJson, FoveaError, sha256Hex } from '@fovea/artifacts';
import { philox } from '@fovea/tensor/random';
import { z } from 'zod';
import { parseMapping } from './load.ts';
import { gatesOf, planOf } from './plan.ts';
import { type Recipe, ROLES } from './schema.ts';

const count = z.int().positive();
const seed = z
  .int()
  .min(0)
  .max(2 ** 32 - 1);
const field = z.string().regex(/^\w+(\.\w+)*$/, 'a field of the recipe, such as stages.align.lr');
const value = z.json();

/** Values between two bounds, uniform or uniform in the logarithm; four digits of each draw count. */
const between = z
  .strictObject({
    min: z.number(),
    max: z.number(),
    log: z.boolean().default(false),
    /** Whole numbers only. */
    int: z.boolean().default(false),
  })
  .refine(({ min, max }) => min < max, 'min must be below max')
  .refine(({ min, log }) => !log || min > 0, 'min must be above 0 where log is true');

const range = z.union([z.array(value).min(1, 'it lists no value'), between], {
  error: 'a list of values, or {min, max} with log or int',
});

/** Which points there are, and how far each is taken. */
const search = z.preprocess(
  (given) => (typeof given === 'string' ? { kind: given } : given),
  z.discriminatedUnion('kind', [
    /** Every combination of the lists. */
    z.strictObject({ kind: z.literal('grid') }),
    z.strictObject({ kind: z.literal('random'), samples: count, seed: seed.default(0) }),
    /**
     * Asynchronous successive halving (Li et al. 2020, arXiv 1810.05934): points are drawn at random, trained for `grace`
     * rounds, and the best 1/eta of those that got there go on for eta times as many, and so on up to `max`.
     */
    z.strictObject({
      kind: z.literal('asha'),
      samples: count,
      seed: seed.default(0),
      eta: z.int().min(2).default(4),
      /** Rounds of the align stage's tracks after which a point is judged first. */
      grace: count.default(1),
      /** Rounds after which a point is done; null for all that the recipe has. */
      max: count.nullable().default(null),
    }),
  ]),
);

/** What is compared: a result of the scorecards at a run's newest scored round; the defaults are the primary measure. */
const metric = z.strictObject({
  suite: z.enum(['robustvqa', 'retention', 'probes']).default('robustvqa'),
  /** Null for the mean over the suite's splits. */
  split: z.string().min(1).nullable().default('V2'),
  metric: z.string().min(1).default('top1'),
  role: z.enum(ROLES).default('aligned'),
  /** Whose value is subtracted, that of the same round and seed; `baseline` is the common start, null subtracts none. */
  against: z
    .enum(['baseline', ...ROLES])
    .nullable()
    .default('control'),
  goal: z.enum(['max', 'min']).default('max'),
});

const distinct = (values: readonly unknown[]) =>
  new Set(values.map((each) => canonicalJson(each))).size === values.length;

export const sweepSchema = z.strictObject({
  /** Short name, used in the ids of the sweep and its runs. */
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,39}$/, 'lower-case letters, digits and dashes, at most 40'),
  /** A preset, or a file, which is relative to the sweep's own. */
  recipe: z.string().min(1),
  /** Fields that are the same at every point. */
  set: z.record(field, value).default({}),
  /** Fields that differ. Empty for one point: a control matrix. */
  space: z
    .record(
      field,
      range.refine((given) => !Array.isArray(given) || distinct(given), 'two of its values are the same'),
    )
    .default({}),
  /** Roles of the align stage. @default the recipe's */
  roles: z.array(z.enum(ROLES)).min(1).refine(distinct, 'two of them are the same').optional(),
  search: search.prefault('grid'),
  /** Every point is run with every one of them. @default the recipe's own */
  seeds: z.array(seed).min(1).max(1000).refine(distinct, 'two of them are the same').optional(),
  metric: metric.prefault({}),
  /** Runs that go on at once. */
  parallel: count.max(1000).default(4),
  /** Of the runs among others of the fleet; lower goes first. */
  priority: z.int().min(1).max(1000).default(100),
});
export type Sweep = z.infer<typeof sweepSchema>;
export type SweepMetric = Sweep['metric'];
export type SweepValues = Record<string, z.infer<typeof value>>;

export interface SweepPoint {
  /** Hash of the values, the same in every sweep that has them. */
  id: string;
  values: SweepValues;
}

/** Points of a sweep; runs are as many times its seeds. */
export const MAX_POINTS = 1000;
const MAX_BYTES = 1 << 20;
/** Draws for each sample before a space of few values counts as used up. */
const MAX_TRIES = 100;

/** Reads and checks a sweep file; every fault in it is a {@link FoveaError}. The recipe's path is made absolute. */
export async function loadSweep(file: string): Promise<Sweep> {
  const full = path.resolve(process.env.INIT_CWD ?? process.cwd(), file);
  const info = await stat(full).catch(() => null);
  if (!info?.isFile()) throw new FoveaError(`The sweep file "${file}" cannot be read: no such file; check the path.`);
  if (info.size > MAX_BYTES)
    throw new FoveaError(
      `The sweep file "${file}" has ${info.size} bytes; a sweep has at most ${MAX_BYTES}; is it the right file?`,
    );
  const sweep = parseSweep(await readFile(full, 'utf8'), file);
  const isFile = /[\\/]|\.(ya?ml|json)$/i.test(sweep.recipe);
  return isFile ? { ...sweep, recipe: path.resolve(path.dirname(full), sweep.recipe) } : sweep;
}

/** As {@link loadSweep}, of a document at hand; `where` is what the sentences call it. */
export function parseSweep(text: string, where: string): Sweep {
  const result = sweepSchema.safeParse(parseMapping(text, `sweep "${where}"`));
  if (!result.success) {
    const [issue] = result.error.issues;
    const at = issue.path.length > 0 ? `at "${issue.path.join('.')}"` : 'at its top level';
    const why = issue.code === 'invalid_key' ? issue.issues[0].message : issue.message;
    throw new FoveaError(`The sweep "${where}" is wrong ${at}: ${why}; mend that value.`);
  }
  const sweep = result.data;
  const fields = [...Object.keys(sweep.set), ...Object.keys(sweep.space)];
  const say = (why: string) => new FoveaError(`The sweep "${where}" ${why}`);
  const twice = fields.find((each, i) => fields.indexOf(each) < i);
  if (twice) throw say(`both sets and varies "${twice}"; leave one of them out.`);
  if (fields.includes('seed')) throw say('sets or varies "seed"; list the seeds in its field "seeds".');
  if (sweep.roles && fields.includes('stages.align.roles'))
    throw say('has roles and sets them in the recipe; leave one out.');
  const { role, against } = sweep.metric;
  if (against === role) throw say(`compares ${role} with itself; change metric.against.`);
  checkSearch(sweep, say);
  return sweep;
}

function checkSearch({ space, search }: Sweep, say: (why: string) => FoveaError): void {
  const drawn = Object.entries(space).find(([, values]) => !Array.isArray(values));
  if (search.kind === 'grid') {
    if (drawn)
      throw say(`varies "${drawn[0]}" between bounds, which a grid cannot; list its values, or search at random.`);
    const points = Object.values(space).reduce((product, values) => product * (values as unknown[]).length, 1);
    if (points > MAX_POINTS) throw say(`has ${points} points, and ${MAX_POINTS} are the most; list fewer values.`);
    return;
  }
  if (search.samples > MAX_POINTS)
    throw say(`draws ${search.samples} points, and ${MAX_POINTS} are the most; lower search.samples.`);
  if (Object.keys(space).length === 0)
    throw say('varies nothing, so there is nothing to search; fill "space", or search a grid.');
}

/** The points of a sweep, always the same and in the same order. */
export function pointsOf(sweep: Sweep): SweepPoint[] {
  const { search } = sweep;
  const all = search.kind === 'grid' ? gridOf(Object.entries(sweep.space)) : drawnOf(sweep, search);
  return all.map((values) => ({ id: sha256Hex(new TextEncoder().encode(canonicalJson(values))).slice(0, 8), values }));
}

function gridOf([first, ...rest]: [string, Sweep['space'][string]][]): SweepValues[] {
  if (!first) return [{}];
  const [name, values] = first;
  const below = gridOf(rest);
  return (values as SweepValues[string][]).flatMap((each) => below.map((others) => ({ [name]: each, ...others })));
}

function drawnOf({ name, space }: Sweep, { samples, seed }: { samples: number; seed: number }): SweepValues[] {
  const found = new Map<string, SweepValues>();
  for (let i = 0; found.size < samples; i++) {
    if (i >= samples * MAX_TRIES)
      throw new FoveaError(
        `The sweep "${name}" draws ${samples} points, but its space has hardly more than ${found.size} different ones; lower search.samples.`,
      );
    const values = Object.fromEntries(
      Object.entries(space).map(([path, range]) => [path, draw(range, philox(seed, `sweep/${path}`, i))]),
    );
    const key = canonicalJson(values);
    if (!found.has(key)) found.set(key, values);
  }
  return [...found.values()];
}

function draw(range: Sweep['space'][string], rng: ReturnType<typeof philox>): SweepValues[string] {
  if (Array.isArray(range)) return range[rng.int(range.length)];
  const { min, max, log, int } = range;
  const [low, high] = int ? [Math.ceil(min), Math.floor(max) + 1] : [min, max];
  const drawn = log ? Math.exp(rng.between(Math.log(low), Math.log(high))) : rng.between(low, high);
  const rounded = int ? Math.floor(drawn) : Number(drawn.toPrecision(4));
  return Math.min(Math.max(rounded, int ? low : min), int ? high - 1 : max);
}

/** The assignments of one point, as `setField` and `--set` take them. */
export function assignmentsOf({ set, roles }: Sweep, values: SweepValues): string[] {
  const all = { ...set, ...(roles && { 'stages.align.roles': roles }), ...values };
  return Object.entries(all).map(([path, each]) => `${path}=${JSON.stringify(each)}`);
}

/**
 * Rounds of the align stage's tracks after which a point is judged: r·η^k of them, and last those after which it is done.
 * One number for a search that lets every point run to its end.
 */
export function rungsOf({ search }: Pick<Sweep, 'search'>, recipe: Recipe): number[] {
  const all = alignRounds(recipe);
  if (search.kind !== 'asha') return [all];
  const max = search.max ?? all;
  const rungs: number[] = [];
  for (let rounds = search.grace; rounds < max; rounds *= search.eta) rungs.push(rounds);
  return [...rungs, max];
}

const alignRounds = (recipe: Recipe): number =>
  Math.max(0, ...[...planOf(recipe)].filter(([track]) => track !== 'trunk').map(([, rounds]) => rounds.length));

/** Refuses a point whose recipe cannot be judged as the sweep says. */
export function checkPoint(sweep: Sweep, recipe: Recipe): void {
  const { metric, search } = sweep;
  const say = (why: string) => new FoveaError(`The sweep "${sweep.name}" ${why}`);
  const align = recipe.stages.find((stage) => stage.stage === 'align');
  if (!align) throw say('has a recipe without an align stage, so there is nothing to compare; add one.');
  const missing = [metric.role, metric.against].find(
    (role) => role && role !== 'baseline' && !align.roles.includes(role),
  );
  if (missing)
    throw say(`compares ${missing}, which is not among the roles ${align.roles.join(', ')}; change metric or roles.`);
  if (!recipe.eval.suites.includes(metric.suite))
    throw say(
      `compares ${metric.suite}, which is not among the suites ${recipe.eval.suites.join(', ') || '(none)'} of the recipe; add it to eval.suites.`,
    );
  if (search.kind !== 'asha') return;
  if (gatesOf(recipe).length > 0)
    throw say(
      'stops points at its rungs, and the recipe stops branches by stopOn or eval.gates; leave one of them out.',
    );
  const all = alignRounds(recipe);
  const rungs = rungsOf(sweep, recipe);
  const last = rungs[rungs.length - 1];
  if (last > all || search.grace > last)
    throw say(
      `has rungs at ${search.grace} to ${last} rounds, but the align stage has ${all}; lower search.grace or search.max, or roundSteps.`,
    );
  const rounds = planOf(recipe).get(metric.role) ?? [];
  const unscored = rungs.find((rung) => !rounds[rung - 1].scored);
  if (unscored)
    throw say(`judges points after ${unscored} rounds, where the recipe scores nothing; lower eval.everyRounds.`);
  const needed = search.eta ** (rungs.length - 1);
  if (search.samples < needed)
    throw say(
      `has rungs at ${rungs.join(', ')} rounds and eta ${search.eta}, so that of ${search.samples} points none would reach the last; draw ${needed} or more, or raise search.grace.`,
    );
}

// Drawn runs for the tests of comparing and reporting: questions of several kinds, answered with chosen skill and lean by
// seeded noise that two subjects share in part. Results are measured by the package's own statistics.

import { philox } from '@fovea/tensor/random';
import { type BinaryCounts, binaryMetrics, count, noCounts } from '../metrics/binary.ts';
import { proportion, wilson } from '../statistics.ts';
import type { Item } from '../suite/item.ts';
import { type Kind, type Manifest, manifestSchema } from '../suite/manifest.ts';
import { type Scored, scoredSchema } from './answer.ts';
import type { JudgedRun, JudgedSuite } from './judged-run.ts';
import type { Result } from './result.ts';

export interface Skill {
  seed: number;
  /** Distance of yes from no, in noise. */
  skill: number;
  /** Added to the margin of yes. */
  lean: number;
}

const scene = (n: number) => ({ kind: 'scene' as const, scene: n });

/** Six questions a picture, half of them yes. */
export function yesNoItems(pictures: number, splits: readonly string[] = ['random']): Item[] {
  return splits.flatMap((split) =>
    Array.from({ length: 6 * pictures }, (_, i): Item => {
      const picture = Math.floor(i / 6);
      const gold = i % 2 === 0 ? 'yes' : 'no';
      return {
        id: `${split}-${i}`,
        split,
        cluster: `picture-${picture}`,
        pictures: [scene(picture)],
        ask: { kind: 'yesno', question: 'Is it there?', gold },
        meta: {},
      };
    }),
  );
}

/** Every item answered by a margin; a share of `silent` is not understood, and as many fail. */
export function answer(items: readonly Item[], { seed, skill, lean }: Skill, silent = 0): Scored[] {
  const shared = philox(1, 'noise');
  const own = philox(seed, 'own');
  return items.map(({ id, ask }) => {
    const noise = shared.normal() + 0.3 * own.normal();
    const lost = own.uniform();
    if (lost < silent) {
      const label = lost < silent / 2 ? 'unknown' : 'error';
      return scoredSchema.parse({ itemId: id, label, rule: label, correct: 0 });
    }
    const gold = ask.kind === 'yesno' && ask.gold === 'no' ? -1 : 1;
    const toYes = (gold * skill) / 2 + (ask.kind === 'yesno' ? lean : 0) + noise;
    const margin = gold * toYes;
    const label = ask.kind === 'yesno' ? (toYes > 0 ? 'yes' : 'no') : margin > 0 ? 'A' : 'B';
    const confidence = 1 / (1 + Math.exp(-2 * Math.abs(margin)));
    return scoredSchema.parse({ itemId: id, label, rule: 'margin', correct: margin > 0 ? 1 : 0, margin, confidence });
  });
}

export function manifestOf(
  name: string,
  kind: Kind,
  title: string,
  items: readonly Item[],
  fields: object = {},
): Manifest {
  const splits: Record<string, number> = {};
  for (const { split } of items) splits[split] = (splits[split] ?? 0) + 1;
  return manifestSchema.parse({
    version: 1,
    name,
    kind,
    title,
    source: { builder: 'testing' },
    prompt: { id: 'plain', template: '{question}' },
    splits,
    items: { count: items.length, sha256: 'a'.repeat(64) },
    ...fields,
  });
}

export const PATTERNS = [
  'Orientation and Direction',
  'Presence of Specific Features',
  'State and Condition',
  'Quantity and Count',
  'Positional and Relational Context',
  'Color and Appearance',
  'Structural and Physical Characteristics',
  'Texts',
  'Viewpoint and Perspective',
];

/** Pairs of statements over two pictures, fifteen of each pattern. */
export function pairItems(): Item[] {
  return Array.from({ length: 270 }, (_, i): Item => {
    const at = Math.floor(i / 2);
    const pair = `pair-${at}`;
    const ask = { kind: 'pick' as const, text: `statement ${i}`, gold: i % 2 };
    const pattern = PATTERNS[Math.floor(at / 15)];
    return {
      id: `s-${i}`,
      split: 'all',
      cluster: pair,
      pair,
      pictures: [scene(2 * at), scene(2 * at + 1)],
      ask,
      meta: { pattern },
    };
  });
}

export const CORRUPTIONS = ['gaussian_noise', 'motion_blur', 'fog', 'contrast', 'jpeg_compression'];

/** Sixty pictures, each under every corruption and severity. */
export function corruptedItems(): Item[] {
  return CORRUPTIONS.flatMap((name) =>
    [1, 2, 3, 4, 5].flatMap((severity) =>
      Array.from({ length: 60 }, (_, i): Item => {
        const picture = { ...scene(i), corruption: { name, severity, seed: i } };
        const ask = { kind: 'classify' as const, gold: i % 7 };
        return { id: `${name}-${severity}-${i}`, split: name, cluster: `c-${i}`, pictures: [picture], ask, meta: {} };
      }),
    ),
  );
}

/** Results by the package's own statistics: accuracy, pairs, patterns, and yes/no metrics. */
export function measured(name: string, items: readonly Item[], scored: readonly Scored[]): Result[] {
  const splits = [...new Set(items.map(({ split }) => split))];
  const patterns = [...new Set(items.map(({ meta }) => meta.pattern))].filter((p) => typeof p === 'string');
  const part = (keep: (item: Item) => boolean) =>
    items.flatMap((item, i) => (keep(item) ? [{ item, scored: scored[i] }] : []));
  return [
    ...splits.flatMap((split) => {
      const rows = part((item) => item.split === split);
      return [
        ...shares(name, split, rows),
        ...(rows.every(({ item }) => item.ask.kind === 'yesno') ? yesNo(name, split, rows) : []),
      ];
    }),
    ...patterns.flatMap((pattern) =>
      shares(
        name,
        `pattern/${pattern}`,
        part((item) => item.meta.pattern === pattern),
      ),
    ),
  ];
}

type Row = { item: Item; scored: Scored };

function counts(rows: readonly Row[]) {
  const of = (label: string) => rows.filter(({ scored }) => scored.label === label).length;
  return { unknown: of('unknown'), errors: of('error') };
}

function shares(suite: string, split: string, rows: readonly Row[]): Result[] {
  const names = [...new Set(rows.map(({ item }) => item.cluster))];
  const right = rows.map(({ scored }) => scored.correct);
  const estimate = proportion(
    right,
    rows.map(({ item }) => names.indexOf(item.cluster)),
    { count: 500, seed: 1 },
  );
  const base = { suite, split, ...counts(rows) };
  const ci = { low: estimate.ci[0], high: estimate.ci[1], method: estimate.method, level: 0.95 };
  const chance = rows[0].item.ask.kind === 'classify' ? 1 / 7 : 0.5;
  const list: Result[] = [{ ...base, metric: 'accuracy', value: estimate.value, n: rows.length, ci, chance }];
  const pairs = new Map<string, number>();
  for (const { item, scored } of rows)
    if (item.pair) pairs.set(item.pair, (pairs.get(item.pair) ?? 1) * scored.correct);
  if (pairs.size === 0) return list;
  const both = [...pairs.values()].reduce((a, b) => a + b, 0);
  const [low, high] = wilson(both, pairs.size);
  const pairCi = { low, high, method: 'wilson' as const, level: 0.95 };
  return [
    { ...base, metric: 'pair-accuracy', value: both / pairs.size, n: pairs.size, ci: pairCi, chance: 0.25 },
    ...list,
  ];
}

function yesNo(suite: string, split: string, rows: readonly Row[]): Result[] {
  const all: BinaryCounts = noCounts();
  for (const { item, scored } of rows) if (item.ask.kind === 'yesno') count(all, item.ask.gold, scored.label);
  const metrics = binaryMetrics(all);
  return (['f1', 'yes-ratio', 'd-prime', 'criterion', 'mcc'] as const).map((metric) => ({
    suite,
    split,
    metric,
    value: metrics[metric],
    n: rows.length,
    ...counts(rows),
    ci:
      metric === 'd-prime' && metrics[metric] !== null
        ? { low: metrics[metric] - 0.2, high: metrics[metric] + 0.2, method: 'cluster-bootstrap', level: 0.95 }
        : null,
    chance: null,
  }));
}

export function suiteOf(
  manifest: Manifest,
  items: readonly Item[],
  scored: readonly Scored[],
  results: readonly Result[] = [],
): JudgedSuite {
  return { manifest, items, scored, results, scorer: 'margin@1' };
}

export const runOf = (key: string, ...suites: JudgedSuite[]): JudgedRun => ({
  key,
  subject: key,
  identity: {},
  suites,
});

/** A run of three suites: yes/no over three splits, pairs by pattern, corruptions. */
export function sampleRun(subject: string, skill: Skill): JudgedRun {
  const made = (
    name: string,
    kind: Kind,
    title: string,
    items: Item[],
    silent: number,
    fields: object,
  ): JudgedSuite => {
    const scored = answer(items, skill, silent);
    return suiteOf(manifestOf(name, kind, title, items, fields), items, scored, measured(name, items, scored));
  };
  const key = `${subject.length.toString(16)}${skill.seed}`.padEnd(64, 'c0ffee');
  return {
    key,
    subject,
    identity: {
      kind: 'encoder',
      weights: 'b'.repeat(64),
      preprocess: { size: 64, mean: [0.5, 0.5, 0.5] },
      dtype: 'float32',
    },
    suites: [
      made(
        'emoji-pope',
        'pope',
        'POPE in the emoji world',
        yesNoItems(120, ['random', 'popular', 'adversarial']),
        0.02,
        {
          notes: ['6 of 720 negatives are random, because every ranked object was in the picture'],
        },
      ),
      made('emoji-pairs', 'mmvp-vlm', 'Visual patterns', pairItems(), 0, {}),
      made('emoji-corruptions', 'corruptions', 'Corruptions', corruptedItems(), 0, {
        omitted: [{ what: 'frost', reason: 'its textures are not given' }],
      }),
    ],
  };
}

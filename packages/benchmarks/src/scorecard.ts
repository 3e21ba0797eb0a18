// The scorecard: everything that judging one checkpoint gave, as one JSON document. It holds every item's outcome so
// that two scorecards can be paired later, and no clock, path or machine, so that equal models give equal bytes.

import { FoveaError } from '@fovea/artifacts';
import { z } from 'zod';
import { resultSchema as benchmarkResultSchema } from './judging/result.ts';
import { SUITES } from './plan.ts';

export const METRICS = ['top1', 'twoway'] as const;
/** Whether the right name wins over all names, or over the foil alone. */
export type Metric = (typeof METRICS)[number];

const index = z.int().min(0);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const interval = z.tuple([z.number(), z.number()]);

const result = z.strictObject({
  /** One of the recipe's own suites, or the name of a benchmark. */
  suite: z.string(),
  /** `id`, `A`, `A-unfiltered`, `R/<style>`, `V2`, `V2/<style>`; a benchmark's own splits and parts. */
  split: z.string(),
  /** `top1`, `twoway`, or `r2-<target>` of a probe; a benchmark's own measures. */
  metric: z.string(),
  /** A share in 0..1; an R², at most 1, for probes. */
  value: z.number(),
  /** Items behind the value. */
  n: index,
  /** 95 %. */
  ci: interval,
  method: z.enum(['cluster-bootstrap', 'wilson']),
  clusters: index,
  /** What guessing gives. */
  chance: z.number(),
  /** Items without a finite feature; counted as wrong. */
  errors: index,
});

const omission = z.strictObject({ suite: z.string(), split: z.string(), reason: z.string() });

const probe = z.strictObject({
  /** Columns per item, averaged after R². */
  columns: index,
  /** Squared error of the probe, [items, columns]. */
  error: z.array(z.number()),
  /** Squared error of always answering the train half's mean, [items, columns]. */
  baseline: z.array(z.number()),
  /** Ridge penalty per train row, per column. */
  lambda: z.array(z.number()),
});

/** A benchmark that was asked beside the recipe's suites, with what it takes to pair two checkpoints. */
const benchmark = z.strictObject({
  name: z.string(),
  kind: z.string(),
  title: z.string(),
  /** SHA-256 of its manifest, which holds those of questions and pictures. */
  manifest: sha256,
  /** How the encoder answered: by comparing texts, or by a probe on its features. */
  subject: z.string(),
  scorer: z.string(),
  /** Every measure, those without a value or an interval too. */
  results: z.array(benchmarkResultSchema),
  items: z.strictObject({
    ids: z.array(z.string()),
    clusterNames: z.array(z.string()),
    clusters: z.array(index),
    correct: z.array(z.union([z.literal(0), z.literal(1)])),
    /** Positions by split. */
    splits: z.record(z.string(), z.array(index)),
  }),
});
export type BenchmarkCard = z.infer<typeof benchmark>;

export const scorecardSchema = z.strictObject({
  version: z.literal(1),
  /** Id of the checkpoint that was judged. */
  checkpoint: z.string(),
  role: z.string(),
  suiteVersion: z.string(),
  /** SHA-256 of the questions; only scorecards with the same one are paired. */
  questions: sha256,
  config: z.strictObject({
    seed: index,
    bootstrap: index,
    rendersPerConcept: index,
    suites: z.array(z.enum(SUITES)),
  }),
  /** Number of classes that top-1 chooses from. */
  classes: index,
  /** Where wrong names came from: the hardest of an independent encoder, or drawn at random by the seed. */
  foils: z.enum(['independent-encoder', 'seeded-random']),
  results: z.array(result),
  /** What could not be asked, and why. */
  omitted: z.array(omission),
  /** Outcomes per item; a split is a list of positions. */
  items: z.strictObject({
    ids: z.array(z.string()),
    clusterNames: z.array(z.string()),
    /** Cluster of each item, into `clusterNames`. */
    clusters: z.array(index),
    foils: z.array(index),
    top1: z.array(z.literal([0, 1])),
    twoway: z.array(z.literal([0, 1])),
    /** Positions by `<suite>/<split>`. */
    splits: z.record(z.string(), z.array(index)),
  }),
  probes: z.strictObject({
    /** Positions of the test half's items. */
    rows: z.array(index),
    targets: z.record(z.string(), probe),
  }),
  /** Absent where the recipe asks for none. */
  benchmarks: z.array(benchmark).optional(),
});

export type Scorecard = z.infer<typeof scorecardSchema>;
export type ScoreResult = Scorecard['results'][number];
export type ProbeItems = z.infer<typeof probe>;

/** Checks a scorecard that was read back; `where` names it in the error. */
export function parseScorecard(value: unknown, where: string): Scorecard {
  const parsed = scorecardSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [fault] = parsed.error.issues;
  throw new FoveaError(
    `The scorecard ${where} cannot be read: ${fault.path.join('.') || 'it'} is not as expected (${fault.message}); score the checkpoint again.`,
  );
}

/** The result of one suite, split and metric, if it was scored. */
export function resultOf(card: Scorecard, suite: string, split: string, metric: string): ScoreResult | undefined {
  return card.results.find((r) => r.suite === suite && r.split === split && r.metric === metric);
}

/** One number of a scorecard: a result, or the mean over the splits of a suite that have it; null where none has. */
export function measureOf(
  card: Pick<Scorecard, 'results'>,
  { suite, split, metric }: { suite: string; split: string | null; metric: string },
): number | null {
  const found = card.results.filter(
    (r) => r.suite === suite && r.metric === metric && (split === null || r.split === split),
  );
  const mean = found.reduce((sum, { value }) => sum + value, 0) / found.length;
  return Number.isFinite(mean) ? mean : null;
}

/** Baseline top-1 must lie above this with its whole interval before a split can carry a claim. */
export function testabilityThreshold(classes: number): number {
  // Three times chance; with fewer than five classes that is out of reach, so half-way between chance and certainty.
  return Math.min(3 / classes, (1 + 1 / classes) / 2);
}

/** Items that a robustness split needs before it can carry a claim. */
export const MIN_ITEMS = 300;

/** Why a split cannot carry a claim, judged on the baseline alone; null when it can. */
export function notTestable(baseline: Scorecard, suite: string, split: string): string | null {
  if (suite === 'probes') return null;
  const top1 = resultOf(baseline, suite, split, 'top1');
  if (!top1) return 'the baseline was not scored on it';
  if (suite === 'robustvqa' && top1.n < MIN_ITEMS) return `${top1.n} items, fewer than ${MIN_ITEMS}`;
  const needed = testabilityThreshold(baseline.classes);
  if (top1.ci[0] > needed) return null;
  const text = (x: number) => `${(100 * x).toFixed(1)}\u00a0%`;
  return `the baseline is too near chance: its top-1 interval starts at ${text(top1.ci[0])}, and ${text(needed)} is needed`;
}

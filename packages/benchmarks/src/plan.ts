// The questions of an evaluation, fixed before any model under test is looked at: which pictures, which right and which
// wrong name, which split holds what. Emoji worlds and picture folders each build one; scoring knows no difference.

import { canonicalJson, sha256Hex } from '@fovea/artifacts';
import type { Recipe } from '@fovea/recipe';
import type { ImageTextEncoder, Progress } from './image-text-encoder.ts';
import type { ProbeTarget } from './probes.ts';

/** Names the questions and the way they are scored. Scores of different versions are never compared. */
export const suiteVersion = 'fovea-suites-1';

export const SUITES = ['robustvqa', 'retention', 'probes'] as const;
export type Suite = (typeof SUITES)[number];

/** One picture and the two names that are asked about it. */
export interface Item {
  /** Unique in the plan. */
  id: string;
  /** Pictures that share it are resampled together: a concept's slug, or the picture itself. */
  clusterId: string;
  /** Index of the right class. */
  gold: number;
}

/** A named set of items, by their positions in the plan; an item may be in several. */
export interface Split {
  suite: Suite;
  split: string;
  rows: Int32Array;
}

/** What could not be asked, and why. */
export interface Omission {
  suite: Suite;
  split: string;
  reason: string;
}

export type FoilKind = 'independent-encoder' | 'seeded-random';

export interface EvalPlan {
  /** All that pictures depend on besides the items' ids; a JSON value. */
  source: unknown;
  classes: string[];
  items: Item[];
  /** The wrong name of each item, as a class index. */
  foils: Int32Array;
  foilKind: FoilKind;
  splits: Split[];
  /** What is read off the features of `rows`; null when there are too few clusters for halves. */
  probe: { rows: Int32Array; targets: ProbeTarget[] } | null;
  omitted: Omission[];
  /** Picture side in pixels. */
  imageSize: number;
  /** Writes the pictures first … first + count − 1 as [count, 3, H, W] into `out`. */
  render(first: number, count: number, out: Float32Array): Promise<void>;
}

/** What building a plan needs besides the data. */
export interface PlanOptions {
  eval: Recipe['eval'];
  /** Source of wrong names; null draws them from the seed. */
  foil: ImageTextEncoder | null;
  suites: readonly Suite[];
  progress?: (event: Progress) => void;
  signal?: AbortSignal;
}

/** SHA-256 of everything that is asked: items, right and wrong names, splits. Equal hashes may be paired. */
export function planHash(plan: EvalPlan): string {
  const document = {
    suiteVersion,
    source: plan.source,
    classes: plan.classes,
    items: plan.items.map((item) => [item.id, item.clusterId, item.gold]),
    foils: Array.from(plan.foils),
    splits: plan.splits.map((split) => [split.suite, split.split, Array.from(split.rows)]),
    probe: plan.probe === null ? null : [Array.from(plan.probe.rows), plan.probe.targets.map((target) => target.name)],
  };
  return sha256Hex(new TextEncoder().encode(canonicalJson(document)));
}

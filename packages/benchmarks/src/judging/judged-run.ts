// What comparing, gating and reporting read of a run's folder: plain data, already judged. Who wrote the folder and how
// it was resumed is not known here.

import type { Item } from '../suite/item.ts';
import type { Manifest } from '../suite/manifest.ts';
import type { Scored } from './answer.ts';
import type { Result } from './result.ts';

/** One suite of a run, complete: as many scored rows as the manifest counts items. */
export interface JudgedSuite {
  manifest: Manifest;
  items: readonly Item[];
  /** In any order; joined to items by id. */
  scored: readonly Scored[];
  results: readonly Result[];
  /** Id and version of the scorer, such as `yes-no@1`; rows of different scorers are not compared. */
  scorer?: string;
}

export interface JudgedRun {
  /** The run key. */
  key: string;
  /** What was asked, in words for people: a checkpoint's name, a model's. */
  subject: string;
  /** Facts that identify the run: weights, preprocessing, prompt, decoding, engine. Shown as they are. */
  identity: Record<string, unknown>;
  suites: readonly JudgedSuite[];
  /** Suites that were asked for and are not complete, with the reason. */
  incomplete?: readonly { suite: string; reason: string }[];
}

// What a kind of benchmark brings: how one answer is judged, and what is measured over all of them. Asking, writing
// down, joining by id and counting what is missing belong to whoever runs a suite, not here.

import type { Item } from '../suite/item.ts';
import type { Kind } from '../suite/manifest.ts';
import type { Suite } from '../suite/suite.ts';
import type { Answer, Scored } from './answer.ts';
import type { Result } from './result.ts';

export interface Judged {
  item: Item;
  scored: Scored;
}

export interface MeasureOptions {
  /** Bootstrap resamples. */
  count: number;
  seed: number;
}

export interface SuiteKind {
  kind: Kind;
  /** Scorers by id, the default first; `compat` ones do what a published script does, faults included. */
  scorers: readonly Scorer[];
  /** Every item of the suite in its order, each with its judged answer. Deterministic. */
  measure(suite: Suite, judged: readonly Judged[], options: MeasureOptions): Result[];
}

export interface Scorer {
  id: string;
  /** Rises whenever a verdict may change. */
  version: number;
  /** Of this script, commit or paper, where it is another's. */
  source?: string;
  /** `error` answers never come here: they are `{label: 'error', correct: 0}`. */
  score(item: Item, answer: Exclude<Answer, { kind: 'error' }>, suite: Suite): Scored;
}

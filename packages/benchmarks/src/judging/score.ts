// Judges the answers of a suite: joins them to its items by id, lets a scorer decide on each, and measures when none is
// missing. It needs neither the subject nor the pictures.

import type { Item } from '../suite/item.ts';
import type { Suite } from '../suite/suite.ts';
import type { Prediction, Scored } from './answer.ts';
import type { Judged, Scorer } from './kind.ts';

export interface Verdict {
  /** Every item in its order; empty where answers are missing. */
  judged: Judged[];
  /** Ids without an answer. */
  missing: string[];
  unknown: number;
  errors: number;
}

/** Joins by item id. A suite with answers missing is not judged at all. */
export function judge(suite: Suite, predictions: readonly Prediction[], scorer: Scorer): Verdict {
  const byId = new Map(predictions.map((row) => [row.itemId, row]));
  const missing = suite.items.flatMap(({ id }) => (byId.has(id) ? [] : [id]));
  if (missing.length > 0) return { judged: [], missing, unknown: 0, errors: 0 };
  const judged = suite.items.map((item) => ({ item, scored: scoreOne(item, byId.get(item.id)!, scorer, suite) }));
  const count = (label: string) => judged.filter(({ scored }) => scored.label === label).length;
  return { judged, missing, unknown: count('unknown'), errors: count('error') };
}

function scoreOne(item: Item, { answer }: Prediction, scorer: Scorer, suite: Suite): Scored {
  if (answer.kind !== 'error') return scorer.score(item, answer, suite);
  return { itemId: item.id, label: 'error', rule: 'error', correct: 0, margin: null, confidence: null };
}

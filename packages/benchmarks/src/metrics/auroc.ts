// The area under the ROC curve: how often a positive scores above a negative, ties counting one half.

/** Items from the lowest score up, in runs of equal scores: what an area needs, whatever weighs the items. */
export interface Ranked {
  /** Item numbers by rising score. */
  order: Int32Array;
  /** 1 where the item at a place of `order` scores as the one before it. */
  tied: Uint8Array;
}

export function rankScores(scores: ArrayLike<number>): Ranked {
  const order = Int32Array.from({ length: scores.length }, (_, i) => i).sort((a, b) => scores[a] - scores[b] || a - b);
  return {
    order,
    tied: Uint8Array.from(order, (item, at) => Number(at > 0 && scores[item] === scores[order[at - 1]])),
  };
}

/**
 * Area under the ROC curve of `scores` for `positive` (1 or 0); null without both kinds. Equals the Mann–Whitney U of the
 * positives over the number of pairs.
 */
export function auroc(scores: ArrayLike<number>, positive: ArrayLike<number>): number | null {
  return weightedAuroc(rankScores(scores), positive, new Uint8Array(scores.length).fill(1));
}

/** The same where item i counts `weights[i]` times, as in a resample. */
export function weightedAuroc(
  { order, tied }: Ranked,
  positive: ArrayLike<number>,
  weights: ArrayLike<number>,
): number | null {
  let below = 0;
  let wins = 0;
  let positives = 0;
  for (let at = 0; at < order.length; ) {
    let yes = 0;
    let no = 0;
    do {
      const item = order[at++];
      if (positive[item]) yes += weights[item];
      else no += weights[item];
    } while (at < order.length && tied[at]);
    wins += yes * (below + no / 2);
    positives += yes;
    below += no;
  }
  return positives * below === 0 ? null : wins / (positives * below);
}

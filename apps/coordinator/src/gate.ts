// When a branch must not go on: its newest scored checkpoint has lost more of what the start could do than the recipe
// allows. The benchmarks are loaded only where a recipe asks for this.

import type { Store } from '@fovea/artifacts';
import type { AlignStage } from '@fovea/recipe';

export interface GateVerdict {
  stops: boolean;
  /** Of the branch's top-1 on the retention questions from the start's, with its 95 % interval. */
  delta: number;
  ci: readonly [number, number];
}

/** Compares two scorecards of the store on the same questions; a branch stops where the whole interval lies below −drop. */
export async function judgeRetention(
  store: Store,
  cards: { start: string; now: string },
  { drop }: NonNullable<AlignStage['stopOn']>,
): Promise<GateVerdict> {
  const { compareScorecards, parseScorecard } = await import('@fovea/benchmarks');
  const read = async (hash: string) =>
    parseScorecard(JSON.parse(new TextDecoder().decode(await store.get(hash))), `scorecard ${hash.slice(0, 12)}`);
  const [start, now] = [await read(cards.start), await read(cards.now)];
  const row = compareScorecards(now, start, { baseline: start }).find(
    ({ suite, metric }) => suite === 'retention' && metric === 'top1',
  );
  if (!row) throw new Error('the scorecards hold no retention questions');
  return { stops: row.ci[1] < -drop, delta: row.delta, ci: row.ci };
}

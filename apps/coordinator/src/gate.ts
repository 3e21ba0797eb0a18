// When a branch must not go on: its newest scored checkpoint fails a gate of the recipe. The benchmarks, which judge two
// scorecards of the store on the same questions, are loaded only where a recipe asks for this.

import type { Store } from '@fovea/artifacts';
import type { EvalGate } from '@fovea/recipe';

/** Why the branch stops, in a sentence; null where it goes on. Throws a FoveaError where a gate names what was not scored. */
export async function judgeBranch(
  store: Store,
  cards: { start: string; now: string },
  gates: readonly EvalGate[],
): Promise<string | null> {
  const { failedGate, parseScorecard } = await import('@fovea/benchmarks');
  const read = async (hash: string) =>
    parseScorecard(JSON.parse(new TextDecoder().decode(await store.get(hash))), `scorecard ${hash.slice(0, 12)}`);
  return failedGate(await read(cards.now), await read(cards.start), gates);
}

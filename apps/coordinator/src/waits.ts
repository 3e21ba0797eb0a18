// Says what a run waits for, to whoever watches it.

import { place, type RunRecord, type WorkerInfo } from '@fovea/jobs';

/** What a run waits for that only a person or an autoscaler can give; null where its workers are there. */
export function waitsFor(run: RunRecord, workers: readonly WorkerInfo[]): string | null {
  const { device, memory } = run.recipe.engine;
  const { min } = run.recipe.shards;
  const found = place({ role: 'train', device, memory }, workers).workers;
  if (found >= min) return null;
  const kind = `${device}${memory > 0 ? ` with ${memory} GiB or more` : ''}`;
  return `it waits for ${min - found} more train worker${min - found > 1 ? 's' : ''} (${kind})`;
}

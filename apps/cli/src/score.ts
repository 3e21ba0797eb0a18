// Scores a checkpoint outside a run, in the same engine and under the same key as the eval jobs do: what was scored
// before is read, not computed again.

import { judgeVersion } from '@fovea/alignment/builtin';
import type { Store } from '@fovea/artifacts';
import { parseScorecard, type Scorecard, suiteVersion } from '@fovea/benchmarks';
import { EngineProcess, type Progress, type ScoreRequest, scoreKey, scoreRef, scoreResultSchema } from '@fovea/jobs';
import type { FoundCheckpoint } from './checkpoints.ts';
import type { Home } from './home.ts';

const ENGINE = new URL('../../eval-worker/src/engine.ts', import.meta.url);

export interface Scored {
  scorecard: Scorecard;
  /** True if it had been scored before. */
  cached: boolean;
}

export async function scoreAll(
  home: Home,
  store: Store,
  checkpoints: readonly FoundCheckpoint[],
  suites: readonly string[] | null,
  onProgress: (event: Progress) => void,
): Promise<Scored[]> {
  let engine: EngineProcess | null = null;
  const scored: Scored[] = [];
  const version = await judgeVersion(suiteVersion);
  try {
    for (const { id, run, role } of checkpoints) {
      const wanted = [...(suites ?? run.recipe.eval.suites)];
      const ref = scoreRef(scoreKey(id, version, run, wanted));
      const known = (await store.readRef(ref)) as { scorecard: string } | null;
      const cached = known !== null && (await store.has(known.scorecard));
      let sha256 = known?.scorecard as string;
      if (!cached) {
        engine ??= new EngineProcess({ entry: ENGINE, hangTimeoutMs: run.recipe.engine.hangTimeout * 1000 });
        const { recipe, recipeDir, sources } = run;
        const request: ScoreRequest = {
          kind: 'score',
          storeRoot: store.root,
          cacheDir: home.cacheDir,
          recipe,
          recipeDir,
          sources,
          checkpoint: id,
          role,
          suites: wanted,
        };
        sha256 = scoreResultSchema.parse(await engine.run(request, { onProgress })).scorecard.sha256;
        await store.writeRef(ref, { scorecard: sha256 });
      }
      const scorecard = parseScorecard(
        JSON.parse(new TextDecoder().decode(await store.get(sha256))),
        sha256.slice(0, 12),
      );
      scored.push({ scorecard, cached });
    }
  } finally {
    await engine?.close();
  }
  return scored;
}

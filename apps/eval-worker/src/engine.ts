// The eval engine: the child process that judges checkpoints and writes reports. It knows no queue; requests come from
// its worker.

import { openStore } from '@fovea/artifacts';
import { type EngineContext, type ReportRequest, type ScoreRequest, serveEngine } from '@fovea/jobs';
import { checkSources } from '@fovea/recipe';
import { startTracing, withSpan } from '@fovea/trackers/traces';
import { Judge } from './judge.ts';
import { writeReport } from './write-report.ts';

const judge = new Judge();

const tracing = startTracing({ serviceName: 'fovea-eval-engine', say: (text) => console.error(text) });

serveEngine<ScoreRequest | ReportRequest>(async (request, context) => {
  await tracing;
  return withSpan(`engine ${request.kind}`, context.trace, {}, () => compute(request, context));
});

async function compute(request: ScoreRequest | ReportRequest, { progress, signal }: EngineContext): Promise<unknown> {
  const store = await openStore(request.storeRoot);
  if (request.kind === 'report') return writeReport(request, store, await judge.datasetOf(request), progress);
  await checkSources(request, { cacheDir: request.cacheDir, hasBegun: true });
  const scorecard = await judge.score(request, store, progress, signal);
  return { scorecard: await store.put(new TextEncoder().encode(JSON.stringify(scorecard))) };
}

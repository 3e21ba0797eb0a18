// The eval engine: the child process that judges checkpoints and writes reports. It knows no queue; requests come from
// its worker.

import { openStore } from '@fovea/artifacts';
import { type ReportRequest, type ScoreRequest, serveEngine } from '@fovea/jobs';
import { checkSources } from '@fovea/recipe';
import { Judge } from './judge.ts';
import { writeReport } from './write-report.ts';

const judge = new Judge();

serveEngine<ScoreRequest | ReportRequest>(async (request, { progress, signal }) => {
  const store = await openStore(request.storeRoot);
  if (request.kind === 'report') return writeReport(request, store, await judge.datasetOf(request), progress);
  await checkSources(request, { cacheDir: request.cacheDir, hasBegun: true });
  const scorecard = await judge.score(request, store, progress, signal);
  return { scorecard: await store.put(new TextEncoder().encode(JSON.stringify(scorecard))) };
});

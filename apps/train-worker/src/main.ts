// The train worker's process: one job at a time, computed in an engine process of its own that stays alive between
// rounds.

import { aboutJob, EngineProcess, engineVersions, graceMs, hostWorker, poolFromEnv, runProcess } from '@fovea/jobs';
import { startTracing, withSpan } from '@fovea/trackers/traces';
import { merge, shard } from './jobs.ts';

await runProcess(async (context) => {
  const tracing = await startTracing({ serviceName: 'fovea-train-worker', say: (text) => console.error(text) });
  const engine = new EngineProcess({
    entry: process.env.FOVEA_TRAIN_ENGINE || new URL('./engine.ts', import.meta.url),
    graceMs: graceMs(),
  });
  engine.warm();
  try {
    await hostWorker(context, {
      pool: poolFromEnv('train'),
      engines: engineVersions(),
      processors: {
        shard: (data, job) => withSpan('shard', data.trace, aboutJob(data), () => shard(data, job, context, engine)),
        merge: (data, job) => withSpan('merge', data.trace, aboutJob(data), () => merge(data, job, context, engine)),
      },
    });
  } finally {
    await engine.close();
    await tracing.close();
  }
});

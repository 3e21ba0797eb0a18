// The train worker's process: one job at a time, computed in an engine process of its own that stays alive between
// rounds.

import { EngineProcess, graceMs, hostWorker, poolFromEnv, runProcess } from '@fovea/jobs';
import { merge, shard } from './jobs.ts';

await runProcess(async (context) => {
  const engine = new EngineProcess({
    entry: process.env.FOVEA_TRAIN_ENGINE || new URL('./engine.ts', import.meta.url),
    graceMs: graceMs(),
  });
  engine.warm();
  try {
    await hostWorker(context, {
      pool: poolFromEnv('train'),
      processors: {
        shard: (data, job) => shard(data, job, context, engine),
        merge: (data, job) => merge(data, job, context, engine),
      },
    });
  } finally {
    await engine.close();
  }
});

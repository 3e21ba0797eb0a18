// The train worker's process: one job at a time, computed in an engine process of its own that stays alive between
// rounds.

import { EngineProcess, hostWorker, runProcess, TRAIN_QUEUE } from '@fovea/jobs';
import { merge, shard } from './jobs.ts';

await runProcess(async (context) => {
  const engine = new EngineProcess({
    entry: process.env.FOVEA_TRAIN_ENGINE || new URL('./engine.ts', import.meta.url),
    hangTimeoutMs: context.run.recipe.engine.hangTimeout * 1000,
  });
  engine.warm();
  try {
    await hostWorker(TRAIN_QUEUE, context, {
      shard: (data, job) => shard(data, job, context, engine),
      merge: (data, job) => merge(data, job, context),
    });
  } finally {
    await engine.close();
  }
});

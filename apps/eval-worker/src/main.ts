// The eval worker's process: scores checkpoints while training goes on, then writes the report. Its engine process is
// started by the first job that has something to compute.

import { aboutJob, EngineProcess, engineVersions, graceMs, hostWorker, poolFromEnv, runProcess } from '@fovea/jobs';
import { startTracing, withSpan } from '@fovea/trackers/traces';
import { report, score } from './jobs.ts';

await runProcess(async (context) => {
  const tracing = await startTracing({ serviceName: 'fovea-eval-worker', say: (text) => console.error(text) });
  const engine = new EngineProcess({
    entry: process.env.FOVEA_EVAL_ENGINE || new URL('./engine.ts', import.meta.url),
    graceMs: graceMs(),
  });
  let version: Promise<string> | undefined;
  try {
    await hostWorker(context, {
      pool: poolFromEnv('eval'),
      engines: engineVersions(),
      processors: {
        score: async (data, job) => {
          const suites = await (version ??= suiteVersion());
          return withSpan('score', data.trace, aboutJob(data), () => score(data, job, context, engine, suites));
        },
        report: (data, job) => withSpan('report', data.trace, aboutJob(data), () => report(data, job, context, engine)),
      },
    });
  } finally {
    await engine.close();
    await tracing.close();
  }
});

/** Version of the suites that the engine scores with; part of every score's key. An engine from elsewhere names its own. */
async function suiteVersion(): Promise<string> {
  const { FOVEA_SUITE_VERSION, FOVEA_EVAL_ENGINE } = process.env;
  if (FOVEA_EVAL_ENGINE && FOVEA_SUITE_VERSION) return FOVEA_SUITE_VERSION;
  const [{ judgeVersion }, benchmarks] = [await import('@fovea/alignment/builtin'), await import('@fovea/benchmarks')];
  return judgeVersion(benchmarks.suiteVersion);
}

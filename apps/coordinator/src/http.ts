// The coordinator's HTTP API: the whole backend over its own fleet, on this machine alone unless told otherwise.

import { fleetBackend, serveApi, tokensOf } from '@fovea/api';
import { connect, type JobBook, type ProcessContext, timestamp } from '@fovea/jobs';
import type { Observer } from './observer.ts';

/** Serves until the function that it returns is called. FOVEA_API_PORT 0 takes any port; `off` serves nothing. */
export async function serveHttp(
  { fleet, redisUrl, cacheDir }: ProcessContext,
  book: JobBook,
  observer: Observer,
  env: NodeJS.ProcessEnv = process.env,
): Promise<() => Promise<void>> {
  if (env.FOVEA_API_PORT === 'off') return async () => undefined;
  // A person waits for these answers, so they fail fast where the coordinator itself waits for Redis.
  const redis = connect(redisUrl, { mode: 'hasty', onError: () => undefined });
  const backend = fleetBackend({
    fleet: { ...fleet, redis },
    book,
    suites,
    metrics: () => observer.metrics.page(),
    now: () => new Date(),
  });
  const { url, close } = await serveApi({
    backend,
    auth: { tokens: await tokensOf(env) },
    host: env.FOVEA_API_HOST || undefined,
    port: env.FOVEA_API_PORT ? Number(env.FOVEA_API_PORT) : undefined,
    roots: env.FOVEA_API_ROOTS ? env.FOVEA_API_ROOTS.split(':') : [],
    cacheDir,
    board: { queues: async () => (await book.counts()).map(({ queue }) => book.queue(queue)) },
    log: process.stdout,
  });
  console.log(`${timestamp()} API at ${url}`);
  return async () => {
    await close();
    redis.disconnect();
  };
}

async function suites() {
  const { SUITES, suiteVersion } = await import('@fovea/benchmarks');
  return SUITES.map((name) => ({ name, version: suiteVersion }));
}

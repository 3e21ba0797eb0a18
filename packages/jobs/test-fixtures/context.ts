// What a worker's process has, for tests that call its jobs without that process: a real Redis, a real store, a run.

import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { connect } from '../src/connection.ts';
import { EngineProcess } from '../src/engine-process.ts';
import type { ProcessContext } from '../src/lifecycle.ts';
import { ensureRedis } from '../src/redis.ts';
import type { RunRecord } from '../src/schemas.ts';
import { testRun } from './run.ts';

export const ENGINE = fileURLToPath(new URL('./engine.ts', import.meta.url));

/** Opens everything under a folder; `close` ends it. */
export async function testContext(
  dir: string,
): Promise<{ context: ProcessContext; run: RunRecord; engine: EngineProcess; close(): Promise<void> }> {
  const server = await ensureRedis({ root: dir, runId: 'test' });
  const redis = connect(server.url);
  const { store, run } = await testRun(path.join(dir, 'store'));
  const engine = new EngineProcess({ entry: ENGINE, hangTimeoutMs: 10_000, env: { FOVEA_FAULTS: dir } });
  const context: ProcessContext = {
    fleet: { redis, store, prefix: 'test' },
    cacheDir: path.join(dir, 'cache'),
    name: 'test-0',
    redisUrl: server.url,
    only: null,
    signal: new AbortController().signal,
    open: () => connect(server.url),
    fatal: (error) => {
      throw error;
    },
  };
  const close = async () => {
    await engine.close();
    redis.disconnect();
    await server.stop();
  };
  return { context, run, engine, close };
}

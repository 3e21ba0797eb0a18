// Connections to Redis by one kind of URL: redis://, rediss:// or unix:/path/of.sock. BullMQ gets live ioredis
// instances, because in ES modules it cannot load the driver itself.

import { createRequire } from 'node:module';
import { FoveaError } from '@fovea/artifacts';
import type { Redis, RedisOptions } from 'ioredis';

export interface ConnectOptions {
  /**
   * `patient` waits for Redis as long as it takes (workers); `hasty` fails a command after one reconnection (questions
   * that a person waits for). @defaultValue 'patient'
   */
  mode?: 'patient' | 'hasty';
  onError?: (error: Error) => void;
  /** A connection that owes an answer and says nothing for so long is made anew. @defaultValue 20 s */
  silentMs?: number;
}

/** Longer than BullMQ blocks (10 s), shorter than a job's lock (60 s). */
const SILENT_MS = 20_000;

/** Opens a connection. Errors are handed to `onError` and reconnection goes on by itself. */
export function connect(url: string, { mode = 'patient', onError, silentMs = SILENT_MS }: ConnectOptions = {}): Redis {
  const options: RedisOptions = {
    maxRetriesPerRequest: mode === 'patient' ? null : 1,
    connectTimeout: 10_000,
    // A router that forgot a connection tells nobody: without this, what was asked on it waits for ever.
    socketTimeout: silentMs,
    retryStrategy: (times) => Math.min(20 * 2 ** Math.min(times, 7), 2000),
  };
  // Loaded here, because the engines import this package too and never connect.
  const { Redis } = createRequire(import.meta.url)('ioredis') as typeof import('ioredis');
  const redis = url.startsWith('unix:')
    ? new Redis({ ...options, path: url.slice('unix:'.length) })
    : new Redis(checkUrl(url), options);
  redis.on('error', (error) => onError?.(error));
  return redis;
}

/** True if Redis says that it cannot write its log: nothing can be queued until there is room on its disk. */
export function isDiskFullReply(error: Error): boolean {
  return /MISCONF/.test(error.message);
}

export const REDIS_DISK_FULL =
  'Redis cannot write its append-only file, most likely because the disk is full: free some space there and run `fovea train --resume`; what was committed before is safe.';

function checkUrl(url: string): string {
  if (/^rediss?:\/\//.test(url)) return url;
  throw new FoveaError(
    'REDIS_URL is not a Redis address: it must start with redis:// or rediss://, or be unix:/path/of.sock.',
  );
}

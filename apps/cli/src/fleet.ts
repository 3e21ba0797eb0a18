// The fleet that a command is about, by environment: FOVEA_REDIS_URL, FOVEA_STORE and FOVEA_PREFIX. Commands that submit,
// watch and steer runs share it with the coordinator and the workers.

import { FoveaError, openStore } from '@fovea/artifacts';
import { connect, DEFAULT_PREFIX, type Fleet } from '@fovea/jobs';
import type { Home } from './home.ts';

export interface OpenFleet extends Fleet {
  close(): void;
}

/** The environment of the fleet's processes, as far as the user has not set it already. */
export function fleetEnv(home: Home, env: NodeJS.ProcessEnv = process.env): Record<string, string> {
  const redis = env.FOVEA_REDIS_URL || env.REDIS_URL;
  if (!redis)
    throw new FoveaError(
      'No fleet is named: set FOVEA_REDIS_URL to its Redis (redis://…), and FOVEA_STORE to its store (a folder that all machines share, or s3://bucket/prefix).',
    );
  return {
    FOVEA_REDIS_URL: redis,
    FOVEA_STORE: env.FOVEA_STORE || home.storeDir,
    FOVEA_CACHE: env.FOVEA_CACHE || home.cacheDir,
    FOVEA_PREFIX: env.FOVEA_PREFIX || DEFAULT_PREFIX,
  };
}

/** Opens the fleet's Redis and store; a FoveaError where one does not answer. */
export async function openFleet(home: Home, env: NodeJS.ProcessEnv = process.env): Promise<OpenFleet> {
  const { FOVEA_REDIS_URL: url, FOVEA_STORE: where, FOVEA_PREFIX: prefix } = fleetEnv(home, env);
  const store = await openStore(where);
  const redis = connect(url, { mode: 'hasty' });
  try {
    await redis.ping();
  } catch (error) {
    redis.disconnect();
    throw new FoveaError(
      `The fleet's Redis (FOVEA_REDIS_URL) does not answer: ${(error as Error).message}; start it or mend the address.`,
    );
  }
  return { redis, store, prefix, close: () => redis.disconnect() };
}

/** Opens the fleet for one piece of work. */
export async function withFleet<T>(home: Home, work: (fleet: Fleet) => Promise<T>): Promise<T> {
  const fleet = await openFleet(home);
  try {
    return await work(fleet);
  } finally {
    fleet.close();
  }
}

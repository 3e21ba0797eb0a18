import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { connect } from './connection.ts';
import { typescriptFlags } from './engine-process.ts';
import { purge } from './fleet.ts';
import { ensureRedis, type OwnedRedis } from './redis.ts';
import { findRedisServer, redisServerVersion } from './redis-server.ts';

let dir: string;
const servers: OwnedRedis[] = [];
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-redis-test-'));
  vi.stubEnv('REDIS_URL', '');
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await Promise.all(servers.splice(0).map((server) => server.stop()));
  await rm(dir, { recursive: true, force: true });
});

async function ensure(options: Partial<Parameters<typeof ensureRedis>[0]> = {}): Promise<OwnedRedis> {
  const server = await ensureRedis({ root: dir, runId: 'run', ...options });
  servers.push(server);
  return server;
}

async function ask<T>(url: string, question: (redis: ReturnType<typeof connect>) => Promise<T>): Promise<T> {
  const redis = connect(url);
  return question(redis).finally(() => redis.disconnect());
}

const isAlive = (pid: number) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test('a private server listens on a socket file alone, keeps a log of what it is told, evicts nothing, and leaves nothing', async () => {
  const server = await ensure();
  expect(server.url).toBe(`unix:${dir}/redis/run/redis.sock`);
  const config = await ask(server.url, async (redis) =>
    Object.fromEntries(
      await Promise.all(
        ['port', 'appendonly', 'maxmemory-policy', 'save', 'unixsocketperm'].map(
          (name) =>
            redis
              .config('GET', name)
              .then((reply) =>
                Array.isArray(reply) ? (reply as string[]) : Object.entries(reply as object)[0],
              ) as Promise<[string, string]>,
        ),
      ),
    ),
  );
  expect(config).toEqual({
    port: '0',
    appendonly: 'yes',
    'maxmemory-policy': 'noeviction',
    save: '',
    unixsocketperm: '700',
  });
  const pid = server.ownedPid!;
  await server.stop();
  expect(isAlive(pid)).toBe(false);
  expect(await readdir(path.join(dir, 'redis'))).toEqual([]);
});

test('a path too long for a socket is taken elsewhere', async () => {
  const server = await ensure({ root: path.join(dir, 'x'.repeat(100)) });
  expect(Buffer.byteLength(server.url)).toBeLessThan(100);
  expect(await ask(server.url, (redis) => redis.ping())).toBe('PONG');
});

test('a port is used if it is free and is a sentence if it is taken', async () => {
  const port = await freePort();
  const server = await ensure({ port });
  expect(server.url).toBe(`redis://127.0.0.1:${port}`);
  expect(await ask(server.url, (redis) => redis.ping())).toBe('PONG');
  await expect(ensure({ port, runId: 'other' })).rejects.toThrow(`Port ${port} of this machine is taken`);
});

test('a server that is killed comes back with what it was told', async () => {
  const said: string[] = [];
  const server = await ensure({ say: (text) => said.push(text) });
  const redis = connect(server.url, { onError: () => undefined });
  await redis.set('a', '1');
  await redis.config('SET', 'appendfsync', 'always');
  await redis.set('b', '2');
  process.kill(server.ownedPid!, 'SIGKILL');
  expect(await redis.mget('a', 'b')).toEqual(['1', '2']);
  expect(said).toEqual(['Redis ended unexpectedly; it is started again']);
  redis.disconnect();
});

test('a server that dies again and again is given up with a sentence', async () => {
  const server = await ensure();
  let pid = 0;
  const killing = setInterval(() => {
    if (server.ownedPid !== null && server.ownedPid !== pid) process.kill((pid = server.ownedPid), 'SIGKILL');
  }, 5);
  expect(await server.lost).toMatch(
    /^Redis \((redis|valkey)-server\) ended 6 times, the last time with: .+; mend that/,
  );
  clearInterval(killing);
});

test('a server does not outlive an owner that was killed', async () => {
  const script = `
    import { ensureRedis } from ${JSON.stringify(new URL('./redis.ts', import.meta.url).href)};
    console.log((await ensureRedis({ root: ${JSON.stringify(dir)}, runId: 'run' })).ownedPid);
    setInterval(() => {}, 1000);`;
  const owner = spawn(process.execPath, [...typescriptFlags(), '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [chunk] = await once(owner.stdout, 'data');
  const url = `unix:${dir}/redis/run/redis.sock`;
  expect(await ask(url, (redis) => redis.ping())).toBe('PONG');
  expect(Number(String(chunk))).toBeGreaterThan(0);
  owner.kill('SIGKILL');
  const answers = async () => {
    const redis = connect(url, { mode: 'hasty' });
    return redis
      .ping()
      .then(
        () => true,
        () => false,
      )
      .finally(() => redis.disconnect());
  };
  while (await answers()) await new Promise((resolve) => setTimeout(resolve, 20));
});

describe('REDIS_URL', () => {
  test('is used where it answers, and left running', async () => {
    const mine = await ensure();
    vi.stubEnv('REDIS_URL', mine.url);
    const foreign = await ensureRedis({ root: dir, runId: 'run' });
    expect(foreign).toMatchObject({ url: mine.url, ownedPid: null });
    await foreign.stop();
    expect(await ask(mine.url, (redis) => redis.ping())).toBe('PONG');
  });

  test('that does not answer is a sentence without its password', async () => {
    vi.stubEnv('REDIS_URL', `redis://user:secret@127.0.0.1:${await freePort()}`);
    const error = await ensure().catch((caught) => caught);
    expect(error.name).toBe('FoveaError');
    expect(error.message).toMatch(/redis:\/\/\*\*\*@127\.0\.0\.1.*does not answer.*ECONNREFUSED/);
    expect(error.message).not.toContain('secret');
  });

  test('that is no address is a sentence', async () => {
    vi.stubEnv('REDIS_URL', 'localhost');
    await expect(ensure()).rejects.toThrow(/must start with redis:\/\//);
  });
});

test('the program is found on the path it is given', async () => {
  const found = await findRedisServer(process.env.PATH);
  expect(found).toMatch(/(redis|valkey)-server$/);
  expect(await redisServerVersion(found!)).toMatch(/^\d+\.\d+/);
});

test('purging a run leaves others alone, even one whose name begins the same', async () => {
  const server = await ensure();
  await ask(server.url, async (redis) => {
    await redis.mset('fovea:a:x', 1, 'fovea:a:y:z', 1, 'fovea:a-2:x', 1, 'other', 1);
    expect(await purge(redis, 'fovea:a')).toBe(2);
    expect((await redis.keys('*')).sort()).toEqual(['fovea:a-2:x', 'other']);
  });
});

// The third host: a real Redis and a real S3 server, on addresses that are given, that can be killed and started again.

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { connect as dial } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findRedisServer } from '@fovea/jobs';
import { BUCKET, provisionS3 } from '../../packages/artifacts/test-fixtures/s3.ts';

export interface Address {
  host: string;
  port: number;
}

/** What must be there, or why it is not, as a sentence. */
export async function findServers(): Promise<{ redis: string; s3: string } | { reason: string }> {
  const redis = await findRedisServer();
  if (!redis) return { reason: 'there is no redis-server here' };
  const found = provisionS3();
  return 'reason' in found ? found : { redis, s3: found.binary };
}

/** One server process. */
class Kept {
  readonly #command: string[];
  readonly #env: NodeJS.ProcessEnv;
  readonly #at: Address;
  #child: ChildProcess | null = null;

  constructor(command: string[], at: Address, env: NodeJS.ProcessEnv = {}) {
    this.#command = command;
    this.#at = at;
    this.#env = { PATH: process.env.PATH, ...env };
  }

  async start(): Promise<void> {
    const [program, ...args] = this.#command;
    const child = spawn(program, args, { env: this.#env, stdio: 'ignore' });
    this.#child = child;
    const deadline = Date.now() + 30_000;
    while (!(await listens(this.#at))) {
      if (Date.now() > deadline || child.exitCode !== null) throw new Error(`${program} does not start`);
      await sleep(20);
    }
  }

  /** kill -9. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (!child || child.exitCode !== null) return;
    const gone = new Promise((resolve) => child.once('close', resolve));
    child.kill('SIGKILL');
    await gone;
  }
}

export class Servers {
  readonly redis: Kept;
  readonly s3: Kept;
  readonly redisAt: Address;
  readonly s3At: Address;
  readonly credentials: NodeJS.ProcessEnv;

  /** `on` stands before the commands: what runs them on another host. */
  constructor(programs: { redis: string; s3: string }, dir: string, ports: [Address, Address], on: string[] = []) {
    [this.redisAt, this.s3At] = ports;
    const [root, meta] = [path.join(dir, 's3'), path.join(dir, 'meta')];
    for (const folder of [path.join(root, BUCKET), meta]) mkdirSync(folder, { recursive: true });
    const accessKey = `AK${randomBytes(9).toString('hex').toUpperCase()}`;
    const secretKey = randomBytes(20).toString('hex');
    this.credentials = {
      ...{ AWS_ACCESS_KEY_ID: accessKey, AWS_SECRET_ACCESS_KEY: secretKey, AWS_EC2_METADATA_DISABLED: 'true' },
    };
    const listen = ['--port', String(this.redisAt.port), '--bind', this.redisAt.host, '--protected-mode', 'no'];
    const durable = ['--dir', dir, '--appendonly', 'yes', '--save', '', '--maxmemory-policy', 'noeviction'];
    this.redis = new Kept([...on, programs.redis, ...listen, ...durable], this.redisAt);
    const gateway = ['--port', `${this.s3At.host}:${this.s3At.port}`, '--quiet', '--keep-alive'];
    this.s3 = new Kept([...on, programs.s3, ...gateway, 'posix', '--sidecar', meta, root], this.s3At, {
      ...{ ROOT_ACCESS_KEY: accessKey, ROOT_SECRET_KEY: secretKey },
    });
  }

  async start(): Promise<void> {
    await Promise.all([this.redis.start(), this.s3.start()]);
  }

  async kill(): Promise<void> {
    await Promise.all([this.redis.kill(), this.s3.kill()]);
  }
}

function listens({ host, port }: Address): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = dial({ host, port, timeout: 1000 });
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket
      .once('connect', () => end(true))
      .once('error', () => end(false))
      .once('timeout', () => end(false));
  });
}

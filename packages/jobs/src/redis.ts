// Where the queue's Redis comes from: REDIS_URL, else a redis-server or valkey-server found on the PATH and run as a
// private child, else one installed by apt, else a sentence. The private one is disposable: its folder is made new for
// every start, because the store alone is the truth.

import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FoveaError } from '@fovea/artifacts';
import { connect } from './connection.ts';
import { findRedisServer, installRedisServer } from './redis-server.ts';

export interface RedisOptions {
  /** Fovea's home folder (`<root>/.fovea`); a private server keeps its files under `redis/<runId>/` of it. */
  root: string;
  runId: string;
  /** Listen on this port of the loopback interface instead of a socket file. */
  port?: number;
  /** Told what takes long: an installation, a restart. */
  say?: (text: string) => void;
}

export interface OwnedRedis {
  /** For `connect`: redis://… or unix:/…. */
  url: string;
  /** Process id of the private server; null where Redis is somebody else's. */
  readonly ownedPid: number | null;
  /** Resolves with a sentence when the private server died and cannot be brought back; never otherwise. */
  readonly lost: Promise<string>;
  /** Ends the private server and removes its folder; does nothing to somebody else's. */
  stop(): Promise<void>;
}

/** Longest path of a socket file that every system takes, in bytes. */
const MAX_SOCKET_PATH = 100;
const MIN_VERSION = [6, 2] as const;

/** Finds or starts a Redis that answers. */
export async function ensureRedis(options: RedisOptions): Promise<OwnedRedis> {
  const given = process.env.REDIS_URL;
  if (given) {
    await checkForeign(given);
    return { url: given, ownedPid: null, lost: new Promise(() => undefined), stop: async () => undefined };
  }
  const server = (await findRedisServer()) ?? (await installRedisServer(options.say));
  if (options.port !== undefined) await checkPort(options.port);
  const dir = path.join(path.resolve(options.root), 'redis', options.runId);
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true, mode: 0o700 });
  return PrivateRedis.start(server, dir, options);
}

async function checkForeign(url: string): Promise<void> {
  const where = withoutPassword(url);
  let version: number[];
  try {
    version = await probe(url);
  } catch (error) {
    if (error instanceof FoveaError) throw error;
    throw new FoveaError(
      `Redis at ${where} (from REDIS_URL) does not answer: ${(error as Error).message}; start it, mend REDIS_URL, or unset it to let Fovea start its own.`,
    );
  }
  if (version[0] < MIN_VERSION[0] || (version[0] === MIN_VERSION[0] && version[1] < MIN_VERSION[1])) {
    throw new FoveaError(
      `Redis at ${where} (from REDIS_URL) is version ${version.join('.')}; Fovea needs ${MIN_VERSION.join('.')} or newer: update it, or unset REDIS_URL.`,
    );
  }
}

/** The server's version, asked over a fresh connection; throws the first error instead of trying again. */
async function probe(url: string): Promise<number[]> {
  let failure: Error | null = null;
  const redis = connect(url, { mode: 'hasty', onError: (error) => (failure ??= error) });
  try {
    const info = await Promise.race([
      redis.info('server'),
      sleep(5000, undefined, { ref: false }).then(() => {
        throw new Error('no answer within 5 s');
      }),
    ]);
    return (/redis_version:([\d.]+)/.exec(info)?.[1] ?? '0').split('.').map(Number);
  } catch (error) {
    throw failure ?? error;
  } finally {
    redis.disconnect();
  }
}

function withoutPassword(url: string): string {
  return url.replace(/\/\/[^@/]*@/, '//***@');
}

async function checkPort(port: number): Promise<void> {
  const code = await new Promise<string | null>((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ port, host: '127.0.0.1' }, () => server.close(() => resolve(null)));
  });
  if (code === 'EADDRINUSE') {
    throw new FoveaError(
      `Port ${port} of this machine is taken by another program, so Redis cannot listen there: choose another --redis-port, or leave it out.`,
    );
  }
  if (code !== null)
    throw new FoveaError(
      `Redis cannot listen on port ${port} of this machine (${code}): choose another --redis-port, or leave it out.`,
    );
}

/**
 * What the shell runs before it becomes the server: a watcher that ends the server when our end of its standard input
 * closes, which the kernel does for us however we die.
 */
const GUARD = 'exec 3<&0; (cat <&3 >/dev/null; kill -TERM $$) 2>/dev/null & exec "$@" 3<&- </dev/null';
const MAX_RESTARTS = 5;

class PrivateRedis implements OwnedRedis {
  readonly url: string;
  ownedPid: number | null = null;
  readonly lost: Promise<string>;
  private lose: (sentence: string) => void = () => undefined;
  private readonly command: string[];
  private readonly dir: string;
  private readonly socketDir: string | null;
  private readonly say: (text: string) => void;
  private stopping = false;
  private restarts = 0;
  private closeGuard: () => void = () => undefined;
  private exited: Promise<void> = Promise.resolve();

  private constructor(
    command: string[],
    dir: string,
    socketDir: string | null,
    url: string,
    say: (text: string) => void,
  ) {
    this.command = command;
    this.dir = dir;
    this.socketDir = socketDir;
    this.url = url;
    this.say = say;
    this.lost = new Promise((resolve) => {
      this.lose = resolve;
    });
  }

  static async start(server: string, dir: string, { port, say }: RedisOptions): Promise<PrivateRedis> {
    let socket = path.join(dir, 'redis.sock');
    let socketDir: string | null = null;
    if (port === undefined && Buffer.byteLength(socket) > MAX_SOCKET_PATH) {
      socketDir = await mkdtemp(path.join(tmpdir(), 'fovea-redis-'));
      socket = path.join(socketDir, 'redis.sock');
    }
    const listen =
      port === undefined
        ? ['--port', '0', '--unixsocket', socket, '--unixsocketperm', '700']
        : ['--port', String(port), '--bind', '127.0.0.1'];
    const durable = ['--dir', dir, '--appendonly', 'yes', '--appendfsync', 'everysec', '--save', ''];
    const rest = ['--maxmemory-policy', 'noeviction', '--daemonize', 'no', '--logfile', path.join(dir, 'redis.log')];
    const url = port === undefined ? `unix:${socket}` : `redis://127.0.0.1:${port}`;
    const redis = new PrivateRedis(
      [server, ...listen, ...durable, ...rest],
      dir,
      socketDir,
      url,
      say ?? (() => undefined),
    );
    redis.spawn();
    await redis.ready();
    return redis;
  }

  async stop(): Promise<void> {
    this.stopping = true;
    if (this.ownedPid !== null) {
      const pid = this.ownedPid;
      signal(pid, 'SIGTERM');
      const timer = setTimeout(() => signal(pid, 'SIGKILL'), 5000);
      await this.exited;
      clearTimeout(timer);
    }
    await rm(this.dir, { recursive: true, force: true }).catch(() => undefined);
    if (this.socketDir) await rm(this.socketDir, { recursive: true, force: true });
  }

  private spawn(): void {
    // Its own session: Ctrl-C in the terminal is for us, and we end the server after those who use it.
    const child = spawn('/bin/sh', ['-c', GUARD, 'sh', ...this.command], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    child.stdin.on('error', () => undefined);
    child.unref();
    (child.stdin as unknown as { unref(): void }).unref();
    this.ownedPid = child.pid ?? null;
    this.closeGuard = () => child.stdin.destroy();
    this.exited = new Promise((resolve) => {
      const gone = () => {
        this.ownedPid = null;
        this.closeGuard();
        resolve();
        void this.restart();
      };
      child.once('error', gone);
      child.once('exit', gone);
    });
  }

  /** A server that died goes on from its append-only file; the clients reconnect by themselves. */
  private async restart(): Promise<void> {
    if (this.stopping) return;
    if (this.restarts >= MAX_RESTARTS) {
      const name = path.basename(this.command[0]);
      return this.lose(
        `Redis (${name}) ended ${MAX_RESTARTS + 1} times, the last time with: ${await this.lastWords()}; mend that, or set REDIS_URL to a running one.`,
      );
    }
    this.restarts++;
    await sleep(50 * this.restarts);
    if (this.stopping) return;
    this.say('Redis ended unexpectedly; it is started again');
    this.spawn();
  }

  /** The last line of the server's log. */
  private async lastWords(): Promise<string> {
    const log = await readFile(path.join(this.dir, 'redis.log'), 'utf8').catch(() => '');
    const line = log.trim().split('\n').at(-1) ?? '';
    return line.replace(/^.*? [#*.-] /, '') || 'it wrote no log';
  }

  private async ready(): Promise<void> {
    const deadline = Date.now() + 15_000;
    for (;;) {
      if (
        await probe(this.url).then(
          () => true,
          () => false,
        )
      )
        return;
      if (this.ownedPid === null || Date.now() > deadline) {
        this.stopping = true;
        const last = await this.lastWords();
        await this.stop();
        throw new FoveaError(
          `Redis (${path.basename(this.command[0])}) did not start: ${last}; mend that, or set REDIS_URL to a running one.`,
        );
      }
      await sleep(20);
    }
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It is gone already.
  }
}

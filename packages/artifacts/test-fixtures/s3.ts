// A real S3 server for tests: versitygw over a folder, on a loopback port with credentials of its own, that can be killed
// and started again; and a proxy before it that is slow, breaks off or answers 503. Not a mock: every byte is the server's.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const PROVISION = fileURLToPath(new URL('../../../infra/s3/provision.mjs', import.meta.url));
const PATIENCE_MS = 30_000;
export const BUCKET = 'fovea-test';

/** The server's program, built if need be (some two minutes, once a machine); or why there is none, as a sentence. */
export function provisionS3(): { binary: string } | { reason: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROVISION], { encoding: 'utf8' });
  const said = (status === 0 ? stdout : stderr).trim().split('\n').at(-1) ?? '';
  return status === 0 ? { binary: said } : { reason: `no S3 server can be had here: ${said}` };
}

export class S3Server {
  readonly accessKey = `AK${randomBytes(9).toString('hex').toUpperCase()}`;
  readonly secretKey = randomBytes(20).toString('hex');
  /** What is under the bucket lies here as files. */
  readonly bucketDir: string;
  private readonly binary: string;
  private readonly dir: string;
  private readonly metaDir: string;
  private port = 0;
  private child: ChildProcess | null = null;

  constructor(binary: string, dir: string) {
    this.binary = binary;
    this.dir = path.join(dir, 'server');
    this.metaDir = path.join(dir, 'meta');
    this.bucketDir = path.join(this.dir, BUCKET);
    for (const folder of [this.bucketDir, this.metaDir]) mkdirSync(folder, { recursive: true });
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** The environment that `openStore` wants; `endpoint` may be a proxy's. */
  env(endpoint = this.endpoint): NodeJS.ProcessEnv {
    return {
      FOVEA_S3_ENDPOINT: endpoint,
      AWS_ACCESS_KEY_ID: this.accessKey,
      AWS_SECRET_ACCESS_KEY: this.secretKey,
      AWS_EC2_METADATA_DISABLED: 'true',
    };
  }

  /** Starts it, on the port that it had if it had one. */
  async start(): Promise<void> {
    this.port ||= await freePort();
    // Metadata in a folder of its own: not every file system has extended attributes.
    const args = ['--port', `127.0.0.1:${this.port}`, '--quiet', '--keep-alive', 'posix', '--sidecar', this.metaDir];
    this.child = spawn(this.binary, [...args, this.dir], {
      env: { PATH: process.env.PATH, ROOT_ACCESS_KEY: this.accessKey, ROOT_SECRET_KEY: this.secretKey },
      stdio: 'ignore',
    });
    const deadline = Date.now() + PATIENCE_MS;
    while (!(await listens(this.port))) {
      if (Date.now() > deadline || this.child.exitCode !== null) throw new Error('versitygw does not start');
      await sleep(20);
    }
  }

  /** kill -9. */
  async kill(): Promise<void> {
    const child = this.child;
    this.child = null;
    if (!child || child.exitCode !== null) return;
    const gone = new Promise((resolve) => child.once('close', resolve));
    child.kill('SIGKILL');
    await gone;
  }
}

/** What the proxy does with a request: nothing, or answer in the server's place, or break off, or dawdle. */
export type Fault =
  | { kind: 'answer'; status: number; body?: string }
  /** The request reaches the server and its answer is thrown away. */
  | { kind: 'lose-answer' }
  /** The answer's body ends after so many bytes. */
  | { kind: 'cut-body'; after: number }
  /** The request's body is broken off after so many bytes. */
  | { kind: 'cut-request'; after: number }
  /** Everything waits so many milliseconds at every chunk. */
  | { kind: 'slow'; ms: number };

/** An HTTP proxy on loopback before the server; `fault` is asked once a request. */
export class FaultProxy {
  fault: (method: string, url: string) => Fault | null | Promise<null> = () => null;
  /** Method and path of each request that came. */
  readonly seen: string[] = [];
  private readonly target: () => string;
  private readonly server: Server;

  private constructor(target: () => string) {
    this.target = target;
    this.server = createServer((asked, answer) => void this.pass(asked, answer));
  }

  static async start(target: () => string): Promise<FaultProxy> {
    const proxy = new FaultProxy(target);
    await new Promise<void>((resolve) => proxy.server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async pass(asked: IncomingMessage, answer: ServerResponse): Promise<void> {
    this.seen.push(`${asked.method} ${asked.url}`);
    const fault = await this.fault(asked.method!, asked.url!);
    if (fault?.kind === 'answer') {
      asked.resume();
      answer.writeHead(fault.status, { 'content-type': 'application/xml', connection: 'close' });
      return void answer.end(fault.body ?? '');
    }
    const onward = request(`${this.target()}${asked.url}`, { method: asked.method, headers: asked.headers });
    const broken = () => answer.destroy();
    onward.on('error', broken).on('response', (given) => {
      if (fault?.kind === 'lose-answer') return void given.resume().on('end', broken);
      answer.writeHead(given.statusCode!, given.headers);
      copy(given, answer, fault?.kind === 'cut-body' ? fault.after : Number.POSITIVE_INFINITY, fault).catch(broken);
    });
    asked.on('error', () => onward.destroy());
    const limit = fault?.kind === 'cut-request' ? fault.after : Number.POSITIVE_INFINITY;
    await copy(asked, onward, limit, fault).catch(() => {
      onward.destroy();
      broken();
    });
  }
}

async function copy(
  from: IncomingMessage,
  to: { write(chunk: Uint8Array): boolean; end(): unknown },
  limit: number,
  fault: Fault | null,
): Promise<void> {
  let passed = 0;
  for await (const chunk of from) {
    if (fault?.kind === 'slow') await sleep(fault.ms);
    to.write(chunk.subarray(0, limit - passed));
    passed += chunk.length;
    if (passed >= limit) throw new Error('cut');
  }
  to.end();
}

async function freePort(): Promise<number> {
  const server = createTcpServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

// What infra/ packages: the linter passes on it and fails on each of these breakages; Redis's user can run the queue and
// nothing else; the Slurm script lets its workers finish; the health check tells a coordinator that answers.
// No container is built and no cluster is reached: neither is to be had in the tests.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { connect, findRedisServer, installRedisServer } from '@fovea/jobs';
import { Queue, Worker } from 'bullmq';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const run = promisify(execFile);
const root = fileURLToPath(new URL('..', import.meta.url));
const infra = path.join(root, 'infra');
let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-infra-test-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

async function lint(...args: string[]): Promise<{ code: number; output: string }> {
  try {
    const { stdout } = await run(process.execPath, [path.join(infra, 'lint.mjs'), ...args], { maxBuffer: 1 << 26 });
    return { code: 0, output: stdout };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, output: `${stdout}${stderr}` };
  }
}

/** Each is one edit of a file of infra/ and what the linter must say of it. */
const BREAKAGES: { check: string; file: string; from: string; to: string; says: RegExp; tool?: string }[] = [
  {
    check: 'containers',
    file: 'containers/cpu.Dockerfile',
    from: 'USER 10001:10001',
    to: 'USER root',
    says: /DL3002/,
    tool: 'hadolint',
  },
  {
    check: 'containers',
    file: 'containers/cuda.Dockerfile',
    from: '# The package',
    to: 'RUN apt-get update && apt-get install -y curl\n# The package',
    says: /DL3008/,
    tool: 'hadolint',
  },
  {
    check: 'containers',
    file: 'containers/cpu.Dockerfile',
    from: 'WORKDIR /app',
    to: 'WORKDIRR /app',
    says: /missing whitespace|unexpected/,
    tool: 'hadolint',
  },
  {
    check: 'shell',
    file: 'compose/redis.sh',
    from: 'umask 077\n',
    to: 'umask 077\nrm -rf $TMPDIR/users\n',
    says: /SC2086|SC2250/,
    tool: 'shellcheck',
  },
  {
    check: 'compose',
    file: 'compose/compose.yaml',
    from: 'restart: unless-stopped',
    to: 'restarts: unless-stopped',
    says: /restarts/,
    tool: 'check-jsonschema',
  },
  {
    check: 'compose',
    file: 'compose/compose.yaml',
    from: 'redis:8.6.3-bookworm',
    to: 'redis:latest',
    says: /redis:latest has no version/,
  },
  {
    check: 'compose',
    file: 'compose/compose.yaml',
    from: 'bucket: { condition',
    to: 'buckets: { condition',
    says: /buckets, which is no service/,
  },
  {
    check: 'compose',
    file: 'compose/compose.yaml',
    from: 'ports: ["127.0.0.1:7070',
    to: 'ports: ["7070',
    says: /open to every host/,
  },
  {
    check: 'chart',
    file: 'helm/fovea/templates/coordinator.yaml',
    from: 'replicas: {{',
    to: 'replicas: many{{',
    says: /replicas/,
    tool: 'helm',
  },
  {
    check: 'chart',
    file: 'helm/fovea/templates/workers.yaml',
    from: 'imagePullPolicy:',
    to: 'imagePullPolice:',
    says: /imagePullPolice/,
    tool: 'kubernetes-validate',
  },
  {
    check: 'chart',
    file: 'helm/fovea/templates/scaledobjects.yaml',
    from: 'maxReplicaCount',
    to: 'maxReplicas',
    says: /maxReplicas/,
    tool: 'keda',
  },
  {
    check: 'chart',
    file: 'helm/fovea/templates/_helpers.tpl',
    from: 'runAsNonRoot: true',
    to: 'runAsNonRoot: false',
    says: /may run as root/,
    tool: 'helm',
  },
  {
    check: 'chart',
    file: 'helm/fovea/values.yaml',
    from: 'terminationGracePeriodSeconds: 600',
    to: 'terminationGracePeriodSeconds: 5',
    says: /minimum/,
    tool: 'helm',
  },
  {
    check: 'chart',
    file: 'helm/examples/cpu.yaml',
    from: 'role: train',
    to: 'role: trian',
    says: /must be one of/,
    tool: 'helm',
  },
  {
    check: 'chart',
    file: 'helm/examples/cpu.yaml',
    from: 'name: eval-cpu',
    to: 'name: train-cpu',
    says: /there twice/,
    tool: 'helm',
  },
  {
    check: 'chart',
    file: 'helm/fovea/templates/workers.yaml',
    from: '{{- end }}\n---\n# Nodes',
    to: '---\n# Nodes',
    says: /unexpected EOF|end of|parse error/,
    tool: 'helm',
  },
];

describe('the linter', () => {
  let clean: { code: number; output: string };
  beforeAll(async () => {
    clean = await lint();
    for (const line of clean.output.split('\n').filter((text) => text.startsWith('SKIPPED'))) console.log(line);
  }, 600_000);

  test('finds nothing in infra/ and says what judged it', () => {
    expect(clean.output).toMatch(/infra: clean/);
    expect(clean.code).toBe(0);
    if (!clean.output.includes('SKIPPED')) expect(clean.output).toMatch(/\d{2} objects against Kubernetes/);
  });

  test.each(BREAKAGES)('finds $to in $file', async ({ check, file, from, to, says, tool }) => {
    if (tool && clean.output.includes(`SKIPPED ${tool}`)) return console.log(`not tested without ${tool}: ${file}`);
    const copy = await mkdtemp(path.join(dir, 'copy-'));
    for (const folder of ['containers', 'compose', 'helm', 'slurm'])
      await cp(path.join(infra, folder), path.join(copy, 'infra', folder), { recursive: true });
    for (const example of ['external', 'gpu-fixed']) await rm(path.join(copy, `infra/helm/examples/${example}.yaml`));
    const broken = path.join(copy, 'infra', file);
    const text = await readFile(broken, 'utf8');
    expect(text).toContain(from);
    await writeFile(broken, text.replaceAll(from, to));
    const { code, output } = await lint('--root', copy, '--only', check);
    expect(output).toMatch(says);
    expect(code).toBe(1);
  });
});

test("the fleet's Redis evicts nothing, logs all, and its user runs the queue and sees no other key", async () => {
  const server = (await findRedisServer()) ?? (await installRedisServer());
  const port = await freePort();
  const env = {
    PATH: `${path.dirname(server)}:${process.env.PATH}`,
    FOVEA_REDIS_PASSWORD: 'secret0',
    FOVEA_REDIS_DIR: dir,
    FOVEA_REDIS_ACL: path.join(dir, 'users.acl'),
  };
  const args = ['--port', `${port}`, '--bind', '127.0.0.1'];
  const redisServer = spawn('sh', [path.join(infra, 'compose/redis.sh'), ...args], { env, stdio: 'pipe' });
  try {
    await said(redisServer, /Ready to accept connections/i);
    expect(await readFile(env.FOVEA_REDIS_ACL, 'utf8')).not.toContain('secret0');
    const open = () => connect(`redis://fovea:secret0@127.0.0.1:${port}`);
    const redis = open();
    const info = await redis.info();
    expect(info).toMatch(/maxmemory_policy:noeviction/);
    expect(info).toMatch(/aof_enabled:1/);
    const blocking = open();
    const queue = new Queue('train-cpu-0g', { connection: redis, prefix: 'fovea' });
    const worker = new Worker('train-cpu-0g', async (job) => job.data.x * 2, { connection: blocking, prefix: 'fovea' });
    const done = once(worker, 'completed');
    await queue.add('shard', { x: 21 }, { priority: 1 });
    expect((await done)[1]).toBe(42);
    for (const command of [
      ['set', 'other', '1'],
      ['get', 'other'],
      ['flushall'],
      ['config', 'get', '*'],
      ['keys', '*'],
    ])
      await expect(redis.call(command[0], ...command.slice(1)), command[0]).rejects.toThrow(/NOPERM/);
    const stranger = connect(`redis://127.0.0.1:${port}`, { mode: 'hasty' });
    await expect(stranger.ping()).rejects.toThrow(/NOAUTH|NOPERM/);
    await worker.close();
    await queue.close();
    for (const each of [redis, blocking, stranger]) each.disconnect();
  } finally {
    redisServer.kill('SIGKILL');
  }
});

test('a Slurm job that is told to stop lets its workers write their state, and asks to be queued again', async () => {
  const bin = await mkdtemp(path.join(dir, 'bin-'));
  const program = async (name: string, lines: string) => {
    await writeFile(path.join(bin, name), `#!/bin/bash\n${lines}\n`);
    await chmod(path.join(bin, name), 0o755);
  };
  // Slurm's own programs: srun starts the task and passes signals on, scontrol is told to requeue.
  await program('srun', 'while [[ "$1" == --* ]]; do shift; done; exec "$@"');
  await program('squeue', 'echo RUNNING');
  await program('scontrol', `echo "scontrol $*"`);
  await program(
    'npx',
    `trap 'sleep 1; echo "state written"; exit 0' TERM; echo "worker $*"; while :; do sleep 0.1; done`,
  );
  const env = {
    PATH: `${bin}:${process.env.PATH}`,
    FOVEA_REDIS_URL: 'redis://r',
    FOVEA_STORE: 's3://b',
    SLURM_JOB_ID: '7',
  };
  const args = [path.join(infra, 'slurm/fovea-workers.sbatch'), 'eval', '16'];
  const job = spawn('bash', args, { env: { ...env, SLURM_GPUS_ON_NODE: '1' }, stdio: 'pipe' });
  let output = '';
  job.stdout.on('data', (chunk) => (output += chunk));
  await said(job, /worker --no-install fovea worker eval --device cuda --memory 16/);
  job.kill('SIGTERM');
  const [code] = await once(job, 'exit');
  expect(output).toMatch(/state written\nscontrol requeue 7/);
  expect(code).toBe(0);
});

test('the health check believes a coordinator that answers, refusals included, and no other', async () => {
  let status = 401;
  const server = createServer((_request, response) => response.writeHead(status).end()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const script = path.join(infra, 'containers/healthcheck.mjs');
  const healthy = () =>
    run(process.execPath, [script, 'coordinator', `${port}`]).then(
      () => true,
      () => false,
    );
  expect(await healthy()).toBe(true);
  status = 503;
  expect(await healthy()).toBe(false);
  server.close();
  server.closeAllConnections();
  expect(await healthy()).toBe(false);
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Waits until a process has said something. */
function said(child: ChildProcess, what: RegExp): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = '';
    const read = (chunk: Buffer) => {
      text += chunk;
      if (what.test(text)) resolve();
    };
    child.stdout?.on('data', read);
    child.stderr?.on('data', read);
    child.once('exit', (code) => reject(new Error(`exit ${code}: ${text}`)));
  });
}

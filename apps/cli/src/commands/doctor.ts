// `fovea doctor`: what this machine has for Fovea to run on, and what is missing. `--install-cuda` fetches the CUDA
// files of onnxruntime-node by that package's own script, which `npm ci` deliberately does not run.

import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { access, constants, mkdir, statfs } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { FoveaError } from '@fovea/artifacts';
import { findRedisServer, redisServerVersion } from '@fovea/jobs';
import { defineCommand } from 'citty';
import { findHome, shown } from '../home.ts';

const run = promisify(execFile);
const require = createRequire(import.meta.url);
const GIB = 2 ** 30;

interface Engine {
  name: string;
  version: string | null;
  devices: string[];
  note: string;
}

export default defineCommand({
  meta: { name: 'doctor', description: 'Show machine, engines, devices, Redis and store, and what is missing' },
  args: {
    json: { type: 'boolean', description: 'Print one JSON document' },
    'install-cuda': {
      type: 'boolean',
      description: "Fetch onnxruntime-node's CUDA 12 files by its own install script (about 300 MB)",
    },
  },
  async run({ args }) {
    const installed = args['install-cuda'] ? await installCuda(args.json === true) : null;
    const report = {
      machine: await machine(),
      engines: [onnxruntime(), tfjsNode('tfjs-node-gpu'), tfjsNode('tfjs-node'), sharp()],
      redis: await redis(),
      store: await store(),
      cuda: installed,
    };
    console.log(args.json ? JSON.stringify(report, null, 2) : text(report));
  },
});

type Report = {
  machine: Awaited<ReturnType<typeof machine>>;
  engines: Engine[];
  redis: Awaited<ReturnType<typeof redis>>;
  store: Awaited<ReturnType<typeof store>>;
  cuda: string | null;
};

async function machine() {
  const [cpu] = cpus();
  return {
    platform: `${process.platform} ${process.arch}`,
    node: process.versions.node,
    cpu: cpu?.model.trim() ?? 'unknown',
    threads: availableParallelism(),
    memoryGiB: round(totalmem() / GIB),
    freeGiB: round(freemem() / GIB),
    gpus: await gpus(),
  };
}

async function gpus(): Promise<string[]> {
  const query = ['--query-gpu=name,memory.total,driver_version', '--format=csv,noheader'];
  const { stdout } = await run('nvidia-smi', query, { timeout: 10_000 }).catch(() => ({ stdout: '' }));
  return stdout
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean);
}

function onnxruntime(): Engine {
  const name = 'onnxruntime-node';
  const found = packageOf(name);
  if (!found) return { name, version: null, devices: [], note: 'not installed; run `npm ci`' };
  try {
    const backends: { name: string; bundled: boolean }[] = require(name).listSupportedBackends();
    const cuda = existsSync(cudaLibrary(found.dir));
    const devices = backends
      .filter((backend) => backend.bundled || (cuda && backend.name === 'cuda'))
      .map((backend) => backend.name);
    const hint =
      process.platform === 'linux' && process.arch === 'x64'
        ? '; `fovea doctor --install-cuda` fetches its CUDA 12 files'
        : '';
    return {
      name,
      version: found.version,
      devices,
      note: cuda ? 'CUDA 12 files are installed' : `no CUDA files${hint}`,
    };
  } catch (error) {
    return { name, version: found.version, devices: [], note: `does not load: ${firstLine(error)}` };
  }
}

function tfjsNode(name: 'tfjs-node' | 'tfjs-node-gpu'): Engine {
  const found = packageOf(`@tensorflow/${name}`);
  if (!found) return { name, version: null, devices: [], note: 'not installed (optional)' };
  const { version } = found;
  const built = path.join(found.dir, 'lib/napi-v8');
  const hint = '`node infra/tensorflow/provision.mjs` builds it';
  if (!existsSync(path.join(built, 'tfjs_binding.node')))
    return { name, version, devices: [], note: `no native binding (optional); ${hint}` };
  const origin = path.join(built, 'provisioned.json');
  if (!existsSync(origin)) return { name, version, devices: ['cpu'], note: 'native binding is built' };
  const { device, tensorflow, libraries } = require(origin);
  if (!existsSync(libraries))
    return { name, version, devices: [], note: `TensorFlow is gone from ${shown(libraries)}; ${hint} anew` };
  return { name, version, devices: [device], note: `TensorFlow ${tensorflow} in ${shown(libraries)}` };
}

function sharp(): Engine {
  const found = packageOf('sharp');
  if (!found) return { name: 'sharp', version: null, devices: [], note: 'not installed; run `npm ci`' };
  try {
    const { versions } = require('sharp') as { versions: { vips: string } };
    return { name: 'sharp', version: found.version, devices: ['cpu'], note: `libvips ${versions.vips}` };
  } catch (error) {
    return { name: 'sharp', version: found.version, devices: [], note: `does not load: ${firstLine(error)}` };
  }
}

async function redis() {
  const url = process.env.REDIS_URL;
  if (url) return { found: 'REDIS_URL', where: url.replace(/\/\/[^@/]*@/, '//***@'), version: null };
  const file = await findRedisServer();
  if (file) return { found: 'program', where: file, version: await redisServerVersion(file).catch(() => null) };
  const where =
    process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')
      ? 'apt-get installs it at the first run'
      : 'install redis or valkey, or set REDIS_URL';
  return { found: 'nothing', where, version: null };
}

async function store() {
  const home = findHome();
  // The nearest folder that exists says whether the rest can be made.
  let at = home.storeDir;
  while (!existsSync(at) && path.dirname(at) !== at) at = path.dirname(at);
  const writable = await access(at, constants.W_OK).then(
    () => true,
    () => false,
  );
  const space = await statfs(at).catch(() => null);
  return {
    path: home.storeDir,
    runs: home.runsDir,
    writable,
    freeGiB: space ? round((space.bavail * space.bsize) / GIB) : null,
  };
}

/** Runs the package's own script and says what came of it; a FoveaError where it fails. */
async function installCuda(quiet: boolean): Promise<string> {
  const found = packageOf('onnxruntime-node');
  if (!found)
    throw new FoveaError('onnxruntime-node is not installed, so its CUDA files cannot be added: run `npm ci` first.');
  const script = path.join(found.dir, 'script', 'install');
  await mkdir(path.dirname(cudaLibrary(found.dir)), { recursive: true });
  const { code, output } = await new Promise<{ code: number | null; output: string }>((resolve) => {
    const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'cuda12' };
    const child = spawn(process.execPath, [script], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        output = (output + chunk).slice(-4000);
        if (!quiet) process.stderr.write(chunk);
      });
    }
    child.once('error', (error) => resolve({ code: null, output: error.message }));
    child.once('close', (code) => resolve({ code, output }));
  });
  if (code === 0 && existsSync(cudaLibrary(found.dir))) return 'the CUDA 12 files of onnxruntime-node are installed';
  const why =
    output
      .split('\n')
      .find((line) => /error/i.test(line))
      ?.trim() ?? `exit code ${code}`;
  throw new FoveaError(
    `The CUDA 12 files of onnxruntime-node were not installed: ${why.slice(0, 300)}; check that this machine reaches the NuGet feed and is Linux x64.`,
  );
}

function cudaLibrary(packageDir: string): string {
  return path.join(packageDir, 'bin/napi-v6', process.platform, process.arch, 'libonnxruntime_providers_cuda.so');
}

function packageOf(name: string): { dir: string; version: string } | null {
  for (const folder of require.resolve.paths(name) ?? []) {
    const file = path.join(folder, name, 'package.json');
    if (existsSync(file)) return { dir: path.dirname(file), version: require(file).version };
  }
  return null;
}

function text({ machine, engines, redis, store, cuda }: Report): string {
  const lines = [
    [
      'machine',
      `${machine.platform}, ${machine.cpu}, ${machine.threads} threads, ${machine.memoryGiB} GiB (${machine.freeGiB} free)`,
    ],
    ['node', machine.node],
    ['gpu', machine.gpus.length > 0 ? machine.gpus.join('; ') : 'none that nvidia-smi knows'],
    ...engines.map((engine) => [
      engine.name,
      [engine.version ?? '–', engine.devices.join(', '), engine.note].filter(Boolean).join(' · '),
    ]),
    [
      'redis',
      [redis.found === 'program' ? redis.where : `${redis.found}: ${redis.where}`, redis.version]
        .filter(Boolean)
        .join(' · '),
    ],
    [
      'store',
      `${shown(store.path)}${store.writable ? '' : ' (cannot be written)'}${store.freeGiB === null ? '' : `, ${store.freeGiB} GiB free`}`,
    ],
    ...(cuda ? [['cuda', cuda]] : []),
  ];
  return lines.map(([label, value]) => `${label.padEnd(18)}${value}`).join('\n');
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function firstLine(error: unknown): string {
  return String((error as Error)?.message ?? error).split('\n')[0];
}

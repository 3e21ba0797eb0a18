// `fovea doctor`: what this machine has for Fovea to run on, and what is missing. `--install-cuda` fetches the CUDA
// files of onnxruntime-node by that package's own script, which `npm ci` deliberately does not run.

import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { access, constants, rename, rm, statfs } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { FoveaError } from '@fovea/artifacts';
import { findRedisServer, redisServerVersion, typescriptFlags } from '@fovea/jobs';
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
    const tried = await devices();
    const report = {
      machine: await machine(),
      devices: tried,
      engines: [onnxruntime(tried), tfjsNode('tfjs-node-gpu'), tfjsNode('tfjs-node'), sharp()],
      redis: await redis(),
      store: await store(),
      cuda: installed,
    };
    console.log(args.json ? JSON.stringify(report, null, 2) : text(report));
  },
});

interface TriedDevice {
  device: string;
  usable: boolean;
  /** Why it cannot be used, with the mend. */
  reason: string | null;
}

type Report = {
  machine: Awaited<ReturnType<typeof machine>>;
  devices: TriedDevice[];
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

/** Each device tried by a product of two matrices, in a process of its own: a graphics driver may write, or crash. */
async function devices(): Promise<TriedDevice[]> {
  const script = fileURLToPath(new URL('../try-devices.ts', import.meta.url));
  const argv = [...typescriptFlags(), script];
  try {
    return JSON.parse((await run(process.execPath, argv, { timeout: 60_000 })).stdout);
  } catch (error) {
    const { signal } = error as { signal?: string };
    const reason = signal
      ? `trying the devices ended with ${signal}: a graphics driver is broken, so update or remove it`
      : `the devices could not be tried: ${firstLine(error)}`;
    return [{ device: 'all', usable: false, reason }];
  }
}

function onnxruntime(tried: TriedDevice[]): Engine {
  const name = 'onnxruntime-node';
  const found = packageOf(name);
  if (!found) return { name, version: null, devices: [], note: 'not installed; run `npm ci`' };
  const usable = tried.filter((device) => device.usable).map(({ device }) => device);
  const note = existsSync(cudaLibrary(found.dir)) ? 'CUDA 12 files are installed' : 'no CUDA files';
  return { name, version: found.version, devices: usable, note };
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

/** Runs the package's own script and says what came of it; a FoveaError where it fails, and then all is as it was. */
async function installCuda(quiet: boolean): Promise<string> {
  const found = packageOf('onnxruntime-node');
  if (!found)
    throw new FoveaError('onnxruntime-node is not installed, so its CUDA files cannot be added: run `npm ci` first.');
  const folder = path.dirname(cudaLibrary(found.dir));
  const files = ['cuda', 'shared', 'tensorrt'].map((n) => path.join(folder, `libonnxruntime_providers_${n}.so`));
  const kept = files.filter((file) => existsSync(file));
  for (const file of kept) await rename(file, `${file}.before`);
  const { code, output } = await runInstaller(path.join(found.dir, 'script', 'install'), quiet);
  if (code === 0 && existsSync(cudaLibrary(found.dir))) {
    for (const file of kept) await rm(`${file}.before`, { force: true });
    return 'the CUDA 12 files of onnxruntime-node are installed';
  }
  for (const file of files) await rm(file, { force: true });
  for (const file of kept) await rename(`${file}.before`, file);
  const line = output.split('\n').find((text) => /error/i.test(text));
  const why = line?.trim().replace(/^(Uncaught )?Error: /, '') ?? `exit code ${code}`;
  throw new FoveaError(
    `The CUDA 12 files of onnxruntime-node were not installed: ${why.slice(0, 300)}; check that this machine is Linux x64 and reaches the NuGet feed.`,
  );
}

/** Its progress goes to standard error; its own errors, which are stacks, only into `output`. */
function runInstaller(script: string, quiet: boolean): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve) => {
    const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'cuda12' };
    const child = spawn(process.execPath, [script], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      if (!quiet) process.stderr.write(chunk);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      output = (output + chunk).slice(-4000);
    });
    child.once('error', (error) => resolve({ code: null, output: error.message }));
    child.once('close', (code) => resolve({ code, output }));
  });
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

function text({ machine, devices, engines, redis, store, cuda }: Report): string {
  const lines = [
    [
      'machine',
      `${machine.platform}, ${machine.cpu}, ${machine.threads} threads, ${machine.memoryGiB} GiB (${machine.freeGiB} free)`,
    ],
    ['node', machine.node],
    ['gpu', machine.gpus.length > 0 ? machine.gpus.join('; ') : 'none that nvidia-smi knows'],
    ...devices.map(({ device, reason }) => [`device ${device}`, reason ?? 'works']),
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

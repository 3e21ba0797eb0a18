// Gives tfjs-node a native binding: TensorFlow's libraries from its PyPI wheel, the binding compiled from the npm
// package's own sources, no prebuilt binaries from elsewhere. Not needed by Fovea itself; it makes the eager engine of
// packages/tensor fast enough to debug with and to compare against. Every step is skipped where its result is there.
//
//     node infra/tensorflow/provision.mjs [--cpu | --cuda] [--python PROGRAM] [--wheel FILE] [--to FOLDER]

import { spawn } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { copyFile, mkdir, readdir, rename, rm, statfs, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const TENSORFLOW = '2.21.0';
/** The wheels differ by Python in parts that are not used here; this one is asked for whatever Python runs pip. */
const WHEEL_TAGS = ['--python-version', '3.12', '--implementation', 'cp', '--platform', 'manylinux_2_27_x86_64'];
/** Headers of Node-API, fetched only where Node came without its own. */
const NODE_HEADERS = 'node-api-headers@1.9.0';
/** The C interface with what it includes, and the two libraries; the rest of the wheel is Python and C++. */
const PARTS = String.raw`^tensorflow/(include/(.*/)?(c|platform)/.*\.h|libtensorflow_(cc|framework)\.so\.2)$`;
/** What the parts of [and-cuda] are loaded for: libraries, and the assembler and bitcode that XLA looks for. */
const CUDA_PARTS = '^nvidia/[^/]+/(lib|bin|nvvm)/';
const GB = 1e9;
/** Room for wheels and what is unpacked of them, at the worst moment. */
const ROOM = { cpu: 1.3 * GB, cuda: 9 * GB };

const here = path.dirname(fileURLToPath(import.meta.url));

/** A fault that the reader can mend: one sentence, exit code 2. */
class Sentence extends Error {}

await main().catch((error) => {
  const full = error.code === 'ENOSPC';
  if (!(error instanceof Sentence) && !full) throw error;
  console.error(
    full ? `The disk is full (${error.message}): free some space or give another folder with --to.` : error.message,
  );
  process.exitCode = 2;
});

async function main() {
  const { device, python, wheel, folder } = options();
  checkPlatform();
  const tfjs = tfjsPackage();
  await checkTools(python);

  const given = wheel ? await inspect(python, wheel) : null;
  const version = given?.version ?? TENSORFLOW;
  if (given) checkWheel(given, wheel, device);
  const site = path.join(folder, `tensorflow-${version}-${device}`);
  await mkdir(folder, { recursive: true }).catch((error) => {
    throw new Sentence(`The folder ${folder} cannot be made (${error.code}): give another with --to.`);
  });

  await step(`TensorFlow ${version} for ${device}`, site, () => unpackTensorflow({ site, device, python, wheel }));
  const binding = path.join(site, `tfjs_binding-${tfjs.version}.node`);
  await step(`binding of ${tfjs.name} ${tfjs.version}`, binding, () => compile(tfjs, site, binding));
  const installed = await install(tfjs, binding, {
    device,
    tensorflow: version,
    libraries: path.join(site, 'tensorflow'),
  });
  console.log(`installed  ${installed}`);
  console.log(`checked    ${await check(tfjs, device)}`);
}

function options() {
  const spec = {
    cpu: { type: 'boolean' },
    cuda: { type: 'boolean' },
    python: { type: 'string', default: 'python3' },
    wheel: { type: 'string' },
    to: {
      type: 'string',
      default: path.join(os.homedir(), '.cache/fovea/tensorflow'),
    },
  };
  let values;
  try {
    ({ values } = parseArgs({ options: spec }));
  } catch (error) {
    throw new Sentence(`${error.message.split('. ')[0]}; there are --cpu, --cuda, --python, --wheel and --to.`);
  }
  if (values.cpu && values.cuda) throw new Sentence('--cpu and --cuda exclude each other: give one.');
  if (values.wheel && !existsSync(values.wheel))
    throw new Sentence(`There is no wheel ${values.wheel}: leave --wheel out to have it fetched by pip.`);
  return {
    device: values.cuda ? 'cuda' : 'cpu',
    python: values.python,
    wheel: values.wheel && path.resolve(values.wheel),
    folder: path.resolve(values.to),
  };
}

function checkPlatform() {
  const glibc = process.platform === 'linux' && process.report.getReport().header.glibcVersionRuntime;
  const found = `${process.platform} ${process.arch}${process.platform === 'linux' && !glibc ? ' without glibc' : ''}`;
  if (!glibc || process.arch !== 'x64')
    throw new Sentence(
      `TensorFlow's libraries are provisioned on Linux x64 with glibc only, and this is ${found}: Fovea runs without them.`,
    );
}

/** Where the npm package lies whose binding is wanted. */
function tfjsPackage() {
  const require = createRequire(path.join(here, '../../packages/tensor/package.json'));
  for (const name of ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node']) {
    const found = require.resolve
      .paths(name)
      .map((root) => path.join(root, name))
      .find((dir) => existsSync(path.join(dir, 'binding')));
    if (found) return { name, dir: realpathSync(found), version: require(path.join(found, 'package.json')).version };
  }
  throw new Sentence(
    'Neither @tensorflow/tfjs-node-gpu nor @tensorflow/tfjs-node is installed: run `npm ci --include=optional`.',
  );
}

async function checkTools(python) {
  const gcc = await run('g++', ['--version']);
  if (gcc.code !== 0)
    throw new Sentence('There is no g++ to compile the binding with: install it (Debian: apt-get install g++).');
  const pip = await run(python, ['-m', 'pip', '--version']);
  if (pip.missing)
    throw new Sentence(`There is no ${python} to fetch TensorFlow with: install Python 3 or name it with --python.`);
  if (pip.code !== 0)
    throw new Sentence(
      `${python} has no pip to fetch TensorFlow with: install it (Debian: apt-get install python3-pip) or name another Python with --python.`,
    );
}

async function inspect(python, wheel) {
  const { code, stdout, stderr } = await run(python, [path.join(here, 'unpack.py'), 'inspect', wheel]);
  if (code !== 0)
    throw new Sentence(
      `${wheel} cannot be read as a wheel (${lastLine(stderr)}): delete it and run this again, or give another.`,
    );
  return JSON.parse(stdout);
}

function checkWheel({ name, version, libraries, cuda }, wheel, device) {
  if (libraries.length !== 2)
    throw new Sentence(
      `${path.basename(wheel)} (${name || 'no name'} ${version}) is no TensorFlow wheel for Linux x64: give one of tensorflow-cpu or tensorflow.`,
    );
  if (device === 'cuda' && (/cpu/.test(name) || cuda.length === 0))
    throw new Sentence(
      `${path.basename(wheel)} has no CUDA: give the wheel of tensorflow, not of ${name}, or leave --cuda out.`,
    );
}

/** Libraries and headers, beside each other as pip would lay them, so that they find one another. */
async function unpackTensorflow({ site, device, python, wheel }) {
  await checkRoom(path.dirname(site), ROOM[device]);
  const wheels = `${site}.wheels`;
  const partial = `${site}.partial`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(wheels, { recursive: true });
  const main = wheel ?? (await fetchTensorflow(python, device, wheels));
  const { cuda, ...found } = await inspect(python, main);
  checkWheel({ cuda, ...found }, main, device);
  const parts = device === 'cuda' ? await download(python, wheels, cuda) : [];
  await unpack(python, main, partial, PARTS);
  for (const part of parts) if (part !== main) await unpack(python, part, partial, CUDA_PARTS);
  for (const name of ['cc', 'framework']) {
    const link = `libtensorflow${name === 'cc' ? '' : `_${name}`}.so`;
    await symlink(`libtensorflow_${name}.so.2`, path.join(partial, 'tensorflow', link));
  }
  await rename(partial, site);
  await rm(wheels, { recursive: true });
}

async function checkRoom(folder, wanted) {
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize < wanted)
    throw new Sentence(
      `${folder} has ${gigabytes(bavail * bsize)} free and TensorFlow needs ${gigabytes(wanted)}: free some or give another folder with --to.`,
    );
}

async function fetchTensorflow(python, device, wheels) {
  const name = device === 'cuda' ? 'tensorflow' : 'tensorflow-cpu';
  const all = await download(python, wheels, [`${name}==${TENSORFLOW}`], WHEEL_TAGS);
  return all.find((file) => path.basename(file).startsWith(`${name.replace('-', '_')}-`));
}

/** Has pip fetch wheels from the index that it is set up for; returns all that lie in the folder then. */
async function download(python, wheels, requirements, tags = []) {
  const args = ['-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', ...tags, '-d', wheels, ...requirements];
  const { code, stderr } = await run(python, args, { show: true });
  if (code !== 0) throw new Sentence(`pip could not fetch ${requirements.join(' ')}: ${lastLine(stderr, /^ERROR/)}`);
  return (await readdir(wheels)).filter((file) => file.endsWith('.whl')).map((file) => path.join(wheels, file));
}

async function unpack(python, wheel, folder, pattern) {
  const { code, stderr } = await run(python, [path.join(here, 'unpack.py'), 'unpack', wheel, folder, pattern]);
  if (code !== 0)
    throw new Sentence(
      `${wheel} could not be unpacked to ${folder} (${lastLine(stderr)}): free some space, or delete the wheel and run this again.`,
    );
}

/** One shared library from the npm package's sources; N-API, so that it serves every Node from 20 on. */
async function compile(tfjs, site, binding) {
  const libraries = path.join(site, 'tensorflow');
  const sources = (await readdir(path.join(tfjs.dir, 'binding'))).filter((file) => file.endsWith('.cc'));
  const { code, stderr } = await run('g++', [
    ...['-std=c++17', '-O2', '-shared', '-fPIC', '-DNAPI_VERSION=8'],
    ...[`-I${path.join(libraries, 'include')}`, `-I${await nodeHeaders(path.dirname(site))}`],
    ...sources.map((file) => path.join(tfjs.dir, 'binding', file)),
    ...[`-L${libraries}`, '-ltensorflow', '-ltensorflow_framework', `-Wl,-rpath,${libraries}`],
    ...['-o', `${binding}.partial`],
  ]);
  if (code !== 0)
    throw new Sentence(
      `g++ could not build the binding: ${lastLine(stderr, /error/)}; if ${site} is damaged, delete it and run this again.`,
    );
  await rename(`${binding}.partial`, binding);
}

async function nodeHeaders(folder) {
  const own = path.join(path.dirname(realpathSync(process.execPath)), '../include/node');
  if (existsSync(path.join(own, 'node_api.h'))) return own;
  const fetched = path.join(folder, 'node_modules/node-api-headers/include');
  if (existsSync(path.join(fetched, 'node_api.h'))) return fetched;
  const { code, stderr } = await run('npm', [
    'install',
    '--ignore-scripts',
    '--no-save',
    '--prefix',
    folder,
    NODE_HEADERS,
  ]);
  if (code !== 0)
    throw new Sentence(
      `This Node has no headers at ${own}, and npm could not fetch ${NODE_HEADERS}: ${lastLine(stderr, /error/i)}`,
    );
  return fetched;
}

/** Puts the binding where tfjs-node looks for it, with a word on where it is from for `fovea doctor`. */
async function install(tfjs, binding, origin) {
  const target = path.join(tfjs.dir, 'lib/napi-v8');
  await mkdir(target, { recursive: true });
  await copyFile(binding, path.join(target, 'tfjs_binding.partial'));
  await rename(path.join(target, 'tfjs_binding.partial'), path.join(target, 'tfjs_binding.node'));
  await writeFile(path.join(target, 'provisioned.json'), `${JSON.stringify(origin, null, 2)}\n`);
  return path.join(target, 'tfjs_binding.node');
}

/** Trains in a process of its own and says on what; a binding that fails is taken away, never left to fall to the CPU. */
async function check(tfjs, device) {
  const { code, stdout, stderr } = await run(process.execPath, [path.join(here, 'check.cjs'), tfjs.dir]);
  const { version, gpu } = code === 0 ? JSON.parse(lastLine(stdout)) : {};
  if (code !== 0 || (device === 'cuda' && !gpu)) await rm(path.join(tfjs.dir, 'lib/napi-v8'), { recursive: true });
  if (code !== 0) throw new Sentence(`The binding was built but does not work here: ${lastLine(stderr, /Error/)}`);
  if (device === 'cuda' && !gpu)
    throw new Sentence(
      `TensorFlow ${version} was built for CUDA but finds no usable GPU here, so its binding was not kept: check nvidia-smi and run this again, or leave --cuda out.`,
    );
  return `TensorFlow ${version} trains on the ${gpu ? 'GPU' : 'CPU'}`;
}

async function step(what, result, work) {
  if (existsSync(result)) return console.log(`present    ${what} (${result})`);
  const started = performance.now();
  await work();
  console.log(`made       ${what} in ${((performance.now() - started) / 1000).toFixed(1)} s (${result})`);
}

/** Runs a program to its end; with `show`, what it says is also passed on as progress. */
function run(program, args, { show = false } = {}) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const said = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr']) {
      child[name].on('data', (chunk) => {
        said[name] = (said[name] + chunk).slice(-100_000);
        if (show) process.stderr.write(chunk);
      });
    }
    child.once('error', (error) =>
      resolve({ code: null, missing: error.code === 'ENOENT', ...said, stderr: error.message }),
    );
    child.once('close', (code) => resolve({ code, missing: false, ...said }));
  });
}

/** The last line that matches, or the last one, or a word that there was none. */
function lastLine(text, pattern = /./) {
  const lines = text
    .trim()
    .split('\n')
    .map((line) => line.trim());
  return (lines.filter((line) => pattern.test(line)).at(-1) ?? lines.at(-1) ?? '') || 'it said nothing';
}

function gigabytes(bytes) {
  return `${(bytes / GB).toFixed(1)} GB`;
}

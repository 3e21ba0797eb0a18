// `fovea eval` over folders and files of a user's: what it makes, what it resumes, and every fault in one sentence. The
// subject is the encoder that ships with Fovea.

import { cp, mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { sha256Hex } from '@fovea/artifacts';
import { type Draft, writeSuite } from '@fovea/benchmarks/judging';
import sharp from 'sharp';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { main } from './main.ts';

let dir: string;
let images: string;
const said = { out: '', err: '' };
beforeAll(async () => {
  dir = await realpath(await mkdtemp(path.join(tmpdir(), 'fovea-eval-')));
  images = path.join(dir, 'images');
  await writeSuite(path.join(dir, 'animals'), await animals(12));
});
afterAll(() => rm(dir, { recursive: true, force: true }));
beforeEach(() => {
  Object.assign(said, { out: '', err: '' });
  vi.stubEnv('INIT_CWD', dir);
  vi.stubEnv('FOVEA_HOME', '');
  vi.spyOn(console, 'log').mockImplementation((text) => void (said.out += `${text}\n`));
  vi.spyOn(console, 'error').mockImplementation((text) => void (said.err += `${text}\n`));
});
afterEach(() => {
  process.exitCode = 0;
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

/** Coloured squares, asked about by words that the shipped encoder knows. */
async function animals(count: number): Promise<Draft> {
  const items: Draft['items'] = [];
  for (let i = 0; i < count; i++) {
    const file = path.join(images, `${i}.png`);
    const background = { r: (40 * i) % 256, g: (90 * i) % 256, b: (20 * i) % 256 };
    const bytes = await sharp({ create: { width: 48, height: 48, channels: 3, background } })
      .png()
      .toBuffer();
    await mkdir(images, { recursive: true });
    await writeFile(file, bytes);
    const picture = { kind: 'file' as const, path: `${i}.png`, sha256: sha256Hex(bytes), width: 48, height: 48 };
    for (const [gold, texts] of [
      ['yes', ['cow', 'car']],
      ['no', ['car', 'cow']],
    ] as const) {
      const ask = { kind: 'yesno' as const, question: `Is there a ${texts[0]} in the image?`, gold, texts: [...texts] };
      const base = {
        id: `${i}-${gold}`,
        split: 'random',
        cluster: `${i}`,
        pictures: [picture],
        meta: { object: 'cow' },
      };
      items.push({ ...base, ask: ask as Draft['items'][number]['ask'] });
    }
  }
  const prompt = { id: 'official', template: '{question}' };
  return {
    name: 'animals',
    kind: 'pope',
    title: 'Animals',
    source: {},
    prompt,
    omitted: [],
    notes: [],
    items,
    probes: [],
  };
}

async function fovea(...args: string[]): Promise<number> {
  process.exitCode = 0;
  await main(args);
  return Number(process.exitCode);
}

const EVAL = ['eval', 'run', '--images', 'images', '--checkpoint', 'builtin:emoji', '--bootstrap', '200'];
const KEPT = ['preds.jsonl', 'scored.jsonl', 'results.json'];
const filesOf = (name: string) =>
  Promise.all(KEPT.map((file) => readFile(path.join(dir, 'evals', name, 'animals', file), 'utf8')));
const answered = (text: string): Record<string, unknown>[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

test('run, resume, judge again, compare and report', async () => {
  expect(await fovea(...EVAL, '--suites', 'animals', '--name', 'first')).toBe(0);
  expect(said.out).toMatch(/^builtin:emoji\nevals\/first\nmeasure[\s\S]*animals random accuracy +24 /);
  expect(said.err).toBe('');
  const whole = await filesOf('first');
  const preds = path.join(dir, 'evals/first/animals/preds.jsonl');
  await writeFile(preds, whole[0].slice(0, -20));
  expect(await fovea('eval', 'rescore', 'evals/first', '--bootstrap', '200')).toBe(3);
  expect(said.err).toMatch(
    /^animals: incomplete: 1 of 24 questions have no answer, the first is "11-no"; resume it\n$/,
  );
  expect(await fovea('eval', 'resume', 'evals/first', '--bootstrap', '200')).toBe(0);
  expect(await filesOf('first')).toEqual(whole);
  expect(await fovea('eval', 'report', 'evals/first')).toBe(0);
  expect(await readFile(path.join(dir, 'evals/first/report.html'), 'utf8')).toContain('builtin:emoji');
  await writeFile(path.join(dir, 'gates.yaml'), 'gates: [{ suite: animals, maxDrop: 1 }]\n');
  said.out = '';
  expect(await fovea('eval', 'compare', 'evals/first', 'evals/first', '--gates', 'gates.yaml', '--json')).toBe(0);
  expect(JSON.parse(said.out).gates).toMatchObject([{ verdict: 'pass', delta: 0 }]);
});

test('answers that exist are judged without a model, and a gate that fails is exit code 4', async () => {
  for (const [name, right] of [
    ['good', 24],
    ['bad', 0],
  ] as const) {
    const rows = Array.from({ length: 24 }, (_, i) => {
      const gold = i % 2 === 0 ? 'yes' : 'no';
      const text = i < right === (gold === 'yes') ? 'Yes.' : 'No, there is not.';
      return JSON.stringify({ itemId: `${Math.floor(i / 2)}-${gold}`, text });
    });
    await writeFile(path.join(dir, `${name}.jsonl`), `${rows.reverse().join('\n')}\n`);
    expect(
      await fovea(
        'eval',
        'run',
        '--suites',
        'animals',
        '--answers',
        `${name}.jsonl`,
        '--name',
        name,
        '--bootstrap',
        '200',
      ),
    ).toBe(0);
  }
  expect(answered((await filesOf('good'))[1]).every(({ correct }) => correct === 1)).toBe(true);
  expect(answered((await filesOf('bad'))[1]).some(({ correct }) => correct === 1)).toBe(false);
  await writeFile(path.join(dir, 'gates.yaml'), 'gates: [{ suite: animals, maxDrop: 1 }]\n');
  expect(await fovea('eval', 'compare', 'evals/bad', 'evals/good', '--gates', 'gates.yaml')).toBe(4);
  expect(said.out).toMatch(/Gate animals\/\S+ accuracy fails/);
});

test('answers that say nothing fail the suite, unless that is allowed', async () => {
  const rows = Array.from({ length: 24 }, (_, i) =>
    JSON.stringify({ itemId: `${Math.floor(i / 2)}-${i % 2 ? 'no' : 'yes'}`, text: i < 2 ? 'I do not know' : 'Yes.' }),
  );
  await writeFile(path.join(dir, 'vague.jsonl'), rows.join('\n'));
  const run = [
    'eval',
    'run',
    '--suites',
    'animals',
    '--answers',
    'vague.jsonl',
    '--name',
    'vague',
    '--bootstrap',
    '200',
  ];
  expect(await fovea(...run)).toBe(3);
  expect(said.err).toMatch(
    /^animals: failed: 2 of 24 answers could not be understood, more than 2 %; see scored\.jsonl/,
  );
  expect(await readdir(path.join(dir, 'evals/vague/animals'))).not.toContain('results.json');
  expect(await fovea('eval', 'rescore', 'evals/vague', '--max-unknown', '0.1', '--bootstrap', '200')).toBe(0);
});

test('a picture that is missing is an error row, and once it is back it can be asked again', async () => {
  const kept = path.join(dir, 'kept.png');
  await cp(path.join(images, '3.png'), kept);
  await rm(path.join(images, '3.png'));
  expect(await fovea(...EVAL, '--suites', 'animals', '--name', 'gaps')).toBe(0);
  expect(said.out).toMatch(/animals random accuracy +24 .* 2\n/);
  await cp(kept, path.join(images, '3.png'));
  expect(await fovea('eval', 'resume', 'evals/gaps', '--bootstrap', '200', '--retry-errors')).toBe(0);
  expect(await filesOf('gaps')).toEqual(await filesOf('first'));
});

test('a part of a suite, and another evaluation in a folder that is taken', async () => {
  expect(await fovea(...EVAL, '--suites', 'animals', '--limit', '10', '--name', 'part')).toBe(0);
  expect(answered((await filesOf('part'))[0])).toHaveLength(10);
  expect(await fovea(...EVAL, '--suites', 'animals', '--name', 'part')).toBe(2);
  expect(said.err).toBe(
    'The folder "' +
      path.join(dir, 'evals/part') +
      '" holds another evaluation: animals.suite differs; give another --name or --out.\n',
  );
});

test.each<[string, (folder: string) => Promise<unknown>, RegExp]>([
  ['a duplicate id', (folder) => edit(folder, '"id":"1-no"', '"id":"1-yes"'), /"1-yes" is the id of two items/],
  ['a path that climbs', (folder) => edit(folder, '"path":"2.png"', '"path":"../2.png"'), /climbs out of the folder/],
  ['a __proto__', (folder) => edit(folder, '"meta":{', '"meta":{"__proto__":1,'), /has the key "__proto__"; remove it/],
  ['another truth', (folder) => edit(folder, '"gold":"yes"', '"gold":"no"'), /does not hold what suite\.json names/],
  ['no manifest', (folder) => rm(path.join(folder, 'suite.json')), /There is no suite "broken"/],
])('a suite with %s is refused in one sentence', async (_what, spoil, sentence) => {
  const folder = path.join(dir, 'broken');
  await rm(folder, { recursive: true, force: true });
  await cp(path.join(dir, 'animals'), folder, { recursive: true });
  await spoil(folder);
  expect(await fovea(...EVAL, '--suites', 'broken', '--name', 'never')).toBe(2);
  expect(said.err).toMatch(sentence);
  expect(said.err.trim()).not.toContain('\n');
  expect(await readdir(path.join(dir, 'evals'))).not.toContain('never');
});

async function edit(folder: string, from: string, to: string): Promise<void> {
  const file = path.join(folder, 'items.jsonl');
  await writeFile(file, (await readFile(file, 'utf8')).replace(from, to));
}

test.each([
  [['eval', 'nope'], /`fovea eval` knows run, resume, .*build; it does not "nope"/],
  [['eval', '--checkpoint', 'latest'], /There is no checkpoint yet/],
  [['eval', 'run', '--suite', 'nope', '--checkpoint', 'latest'], /There is no suite called "nope"/],
  [['eval', 'run', '--images', 'x'], /`fovea eval run --images` needs suites/],
  [['eval', 'run', '--suites', 'nope'], /There is no suite "nope": no folder with a suite\.json, and no built-in one/],
  [[...EVAL, '--suites', 'animals', '--max-unknown', '2'], /--max-unknown takes a share from 0 to 1/],
  [
    [...EVAL, '--suites', 'animals', '--subject', 'oracle'],
    /--subject takes auto, encoder, probe, blind; not "oracle"/,
  ],
  [[...EVAL, '--suites', 'animals', '--lm', 'x'], /--checkpoint and --lm cannot be given together/],
  [[...EVAL, '--suites', 'animals', '--name', '../up'], /cannot be named "\.\.\/up"/],
  [
    ['eval', 'run', '--suites', 'animals', '--checkpoint', 'builtin:none'],
    /There are no weights called "builtin:none"/,
  ],
  [['eval', 'run', '--suites', 'animals', '--encoder', 'animals'], /animals/],
  [['eval', 'run', '--suites', 'animals', '--answers', 'none.jsonl'], /cannot be read: there is no such file/],
  [['eval', 'resume', 'animals'], /\(run\.json\) cannot be read: there is no such file/],
  [['eval', 'report', 'nowhere'], /\(run\.json\) cannot be read: there is no such file/],
  [['eval', 'build', 'nothing'], /`fovea eval build` knows pope, .*; it does not "nothing"/],
  [['eval', 'build', 'classify'], /are not right at from/],
  [
    ['eval', 'build', 'classify', '--out', 'animals', '--set', 'from.kind=image-folder', '--set', 'from.images=x'],
    /is there already/,
  ],
])('fovea %j is refused in one sentence', async (args, sentence) => {
  expect(await fovea(...args)).toBe(2);
  expect(said.err).toMatch(sentence);
  expect(said.err.trim()).not.toContain('\n');
});

test('a suite is built from a folder of classes and then listed and asked', async () => {
  for (const [name, background] of [
    ['cow', 'red'],
    ['car', 'blue'],
  ]) {
    const folder = path.join(dir, 'classes', name);
    await cp(images, folder, { recursive: true });
    await sharp({ create: { width: 40, height: 30, channels: 3, background } }).toFile(path.join(folder, 'own.png'));
  }
  const set = ['--set', 'from.kind=image-folder', '--set', 'from.images=classes', '--set', "template='{}'"];
  expect(await fovea('eval', 'build', 'classify', '--out', 'built', ...set)).toBe(0);
  expect(said.out).toMatch(/^built: 26 questions \(classify\)/);
  expect(await fovea('eval', 'suites', 'built', '--images', 'classes', '--pictures')).toBe(0);
  await rm(path.join(dir, 'classes/cow/own.png'));
  expect(await fovea('eval', 'suites', 'built', '--images', 'classes', '--pictures')).toBe(3);
  expect(said.err).toMatch(/^The picture "cow\/own\.png" cannot be read: there is no such file/);
  const run = [
    'eval',
    'run',
    '--suites',
    'built',
    '--images',
    'classes',
    '--checkpoint',
    'builtin:emoji',
    '--name',
    'b',
  ];
  expect(await fovea(...run, '--bootstrap', '200', '--json')).toBe(0);
  expect(said.out).toMatch(/"metric": "top1",\s+"value": [\d.]+,\s+"n": 26,\s+"unknown": 0,\s+"errors": 1,/);
}, 120_000);

// Suite folders: what is written is read again, and what is wrong with one is one sentence.

import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { canonicalJson, FoveaError, sha256Hex } from '@fovea/artifacts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { limited } from '../judging/limit.ts';
import { smallDraft } from '../judging/testing.ts';
import type { Draft } from './draft.ts';
import { readSuite } from './read-suite.ts';
import { manifestHash, suiteOf } from './suite-of.ts';
import { writeSuite } from './write-suite.ts';

let dir: string;
let folder: string;
let images: string;
let draft: Draft;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-suite-'));
  folder = path.join(dir, 'suite');
  images = path.join(dir, 'images');
  draft = await smallDraft(images, 4);
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const none = () => Promise.reject(new Error('not read'));

test('a draft in memory and the folder that it is written to are the same suite', async () => {
  const written = await writeSuite(folder, draft);
  const suite = await readSuite(folder, { images });
  const inMemory = suiteOf(draft, none);
  expect(manifestHash(suite.manifest)).toBe(manifestHash(inMemory.manifest));
  expect(suite.manifest).toEqual(written);
  expect(suite.items).toEqual(inMemory.items);
  expect(suite.manifest.splits).toEqual({ even: 4, odd: 4 });
  expect(await suite.read(suite.items[0].pictures[0])).toMatchObject({ width: 8, height: 8 });
  expect((await readdir(dir)).sort()).toEqual(['images', 'suite']);
  await expect(writeSuite(folder, draft)).rejects.toThrow(/is there already; remove it/);
});

test('lines may be spelled otherwise: what is asked is hashed, not how it is written', async () => {
  await writeSuite(folder, draft);
  const file = path.join(folder, 'items.jsonl');
  const lines = (await readFile(file, 'utf8')).trimEnd().split('\n');
  const turned = lines.map((line) => JSON.stringify(Object.fromEntries(Object.entries(JSON.parse(line)).reverse())));
  await writeFile(file, `\n${turned.join('\r\n')}\n\n`);
  expect((await readSuite(folder, { images })).items).toHaveLength(8);
});

describe('a folder is refused in one sentence', () => {
  type Line = Record<string, unknown> & { pictures: { path: string }[] };
  const rows = async () =>
    (await readFile(path.join(folder, 'items.jsonl'), 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Line);
  /** Writes items with the hashes that make them this suite's. */
  async function reseal(change: (items: Line[]) => Line[] | undefined) {
    const items = await rows();
    const changed = change(items) ?? items;
    const text = changed.map((each) => `${canonicalJson(each)}\n`).join('');
    await writeFile(path.join(folder, 'items.jsonl'), text);
    const file = path.join(folder, 'suite.json');
    const manifest = JSON.parse(await readFile(file, 'utf8'));
    manifest.items = { count: changed.length, sha256: sha256Hex(text) };
    await writeFile(file, JSON.stringify(manifest));
  }
  const replaceIn = async (name: string, from: string, to: string) => {
    const file = path.join(folder, name);
    await writeFile(file, (await readFile(file, 'utf8')).replace(from, to));
  };
  const cases: [what: string, spoil: () => Promise<unknown>, sentence: RegExp][] = [
    ['no suite', () => rm(path.join(folder, 'suite.json')), /\(suite\.json\) cannot be read: there is no such file/],
    ['a duplicate id', () => reseal((items) => void (items[3].id = items[2].id)), /"1\/yes" is the id of two items/],
    ['a climbing path', () => reseal(([a]) => void (a.pictures[0].path = 'a/../../b.png')), /climbs out of the folder/],
    ['an absolute path', () => reseal(([a]) => void (a.pictures[0].path = '/etc/passwd')), /it is absolute/],
    ['backslashes', () => reseal(([a]) => void (a.pictures[0].path = 'a\\b.png')), /it has backslashes/],
    ['an unknown field', () => reseal(([a]) => void (a.extra = 1)), /line 1\).*Unrecognized key: "extra"/],
    [
      '__proto__',
      () => replaceIn('items.jsonl', '"meta":{}', '"meta":{"__proto__":1}'),
      /line 1\) has the key "__proto__"/,
    ],
    [
      'an escaped __proto__',
      () => replaceIn('items.jsonl', '"meta":{}', '"meta":{"\\u005f_proto__":1}'),
      /"__proto__"/,
    ],
    [
      '__proto__ in the manifest',
      () => replaceIn('suite.json', '"source": {}', '"source": {"__proto__":{}}'),
      /"__proto__"/,
    ],
    ['no JSON', () => replaceIn('items.jsonl', '{', '['), /line 1\) is not JSON/],
    [
      'deep nesting',
      () => replaceIn('items.jsonl', '{', `${'['.repeat(1e5)}${']'.repeat(1e5)}\n{`),
      /nested more than 64 deep/,
    ],
    [
      'another truth',
      () => replaceIn('items.jsonl', '"gold":"yes"', '"gold":"no"'),
      /does not hold what suite\.json names/,
    ],
    ['other counts', () => replaceIn('suite.json', '"odd": 4', '"odd": 5'), /other numbers of items per split/],
    ['a bad hash', () => replaceIn('items.jsonl', '"sha256":"', '"sha256":"x'), /line 1\).*pictures\.0\.sha256/],
    ['no folder of pictures', () => rm(images, { recursive: true }), /The picture folder .* cannot be read/],
    [
      'a link that leads out',
      async () => {
        await rm(path.join(images, '0.png'));
        await symlink('/etc/hostname', path.join(images, '0.png'));
      },
      /is refused\. The path "0\.png" is refused: a link in it leads out/,
    ],
  ];
  test.each(cases)('%s', async (_what, spoil, sentence) => {
    await writeSuite(folder, draft);
    await spoil();
    const error = await readSuite(folder, { images }).then(
      () => null,
      (error) => error,
    );
    expect(error).toBeInstanceOf(FoveaError);
    expect(error.message).toMatch(sentence);
    expect(error.message).not.toContain('\n');
  });

  test.each<[string, (draft: Draft) => void, RegExp]>([
    ['a name with a slash', (d) => void (d.name = '../up'), /at "name"/],
    [
      'an option that is not there',
      (d) => void (d.items[0].ask = { kind: 'choice', question: 'q', options: ['a', 'b'], gold: 2 }),
      /has 2 options and the right one is 2/,
    ],
    [
      'a class that is not there',
      (d) => void (d.items[0].ask = { kind: 'classify', gold: 0 }),
      /the manifest has 0 classes/,
    ],
    [
      'numbers without probe rows',
      (d) => void (d.items[0].ask = { kind: 'estimate', target: 't', gold: [1] }),
      /has no probe rows/,
    ],
  ])('a draft with %s is not written', async (_what, spoil, sentence) => {
    spoil(draft);
    await expect(writeSuite(folder, draft)).rejects.toThrow(sentence);
    expect(await readdir(dir)).toEqual(['images']);
  });
});

test('pictures that cannot be read are a sentence each when they are read', async () => {
  const [bomb, other] = [pngHeader(60_000, 60_000), Buffer.from('not a picture')];
  for (const [name, bytes] of [
    ['bomb.png', bomb],
    ['text.png', other],
  ] as const)
    await writeFile(path.join(images, name), bytes);
  const file = (name: string, bytes: Uint8Array, side = 8) =>
    ({ kind: 'file', path: name, sha256: sha256Hex(bytes), width: side, height: side }) as const;
  await writeSuite(folder, draft);
  const { read } = await readSuite(folder, { images });
  await expect(read(file('bomb.png', bomb))).rejects.toThrow(/"bomb\.png" cannot be read: .*pixel/i);
  await expect(read(file('bomb.png', bomb, 60_000))).rejects.toThrow(/60000 × 60000 pixels, more than/);
  await expect(read(file('text.png', other))).rejects.toThrow(FoveaError);
  await expect(read(file('gone.png', other))).rejects.toThrow(/"gone\.png" cannot be read: there is no such file/);
  await expect(read(file('0.png', other))).rejects.toThrow(/another SHA-256/);
  await mkdir(path.join(images, 'folder.png'));
  await expect(read(file('folder.png', other))).rejects.toThrow(/it is no file/);
  await expect(read({ kind: 'scene', scene: {} })).rejects.toThrow(/its world is not known here/);
});

/** A PNG that says it has many pixels and holds none. */
function pngHeader(width: number, height: number): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const out = Buffer.alloc(body.length + 8);
    out.writeUInt32BE(data.length, 0);
    body.copy(out, 4);
    out.writeUInt32BE(crc32(body), body.length + 4);
    return out;
  };
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('IDAT', Buffer.from([0x78, 0x9c])),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}

test('a part of a suite keeps clusters whole and every stratum, and is a suite of its own', async () => {
  const suite = suiteOf(await smallDraft(images, 60), none);
  const part = limited(suite, 30, 0);
  expect(part.items.length).toBe(30);
  expect(part.manifest.splits).toEqual({ even: 16, odd: 14 });
  const clusters = new Set(part.items.map(({ cluster }) => cluster));
  expect(suite.items.filter(({ cluster }) => clusters.has(cluster))).toEqual(part.items);
  expect(manifestHash(part.manifest)).not.toBe(manifestHash(suite.manifest));
  expect(manifestHash(limited(suite, 30, 0).manifest)).toBe(manifestHash(part.manifest));
  expect(limited(suite, 30, 1).items).not.toEqual(part.items);
  expect(limited(suite, 120, 0)).toBe(suite);
});

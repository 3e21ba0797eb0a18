// Builders over annotated sets on the disk: what is asked, what is left out and why, and that the same options give the
// same questions.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { sha256Hex } from '@fovea/artifacts';
import { PictureFiles } from '@fovea/data';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Draft } from '../suite/draft.ts';
import { encodeDraft } from '../suite/suite-of.ts';
import { buildChair } from './build-chair.ts';
import { buildClassify } from './build-classify.ts';
import { buildCueConflict } from './build-cue-conflict.ts';
import { buildRetrieval } from './build-retrieval.ts';
import { writePictures } from './testing-kinds.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'fovea-builders-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

interface Annotated {
  objects?: string[];
  captions?: string[];
}

/** A COCO set of pictures 0.png, 1.png, …; returns where it lies. */
async function putCoco(rows: Annotated[]) {
  await writePictures(
    path.join(dir, 'images'),
    rows.map((_, i) => `${i}.png`),
  );
  const images = rows.map((_, id) => ({ id, file_name: `${id}.png`, width: 6, height: 4 }));
  const names = [...new Set(rows.flatMap(({ objects = [] }) => objects))];
  const categories = names.map((name, id) => ({ id, name }));
  const objects = rows.flatMap((row, image_id) =>
    (row.objects ?? []).map((name) => ({ image_id, category_id: names.indexOf(name) })),
  );
  const captions = rows.flatMap((row, image_id) => (row.captions ?? []).map((caption) => ({ image_id, caption })));
  const numbered = (list: object[]) => list.map((one, id) => ({ ...one, id }));
  const file = (name: string) => path.join(dir, name);
  await writeFile(file('instances.json'), JSON.stringify({ images, categories, annotations: numbered(objects) }));
  await writeFile(file('captions.json'), JSON.stringify({ images, annotations: numbered(captions) }));
  return {
    kind: 'coco',
    images: file('images'),
    instances: file('instances.json'),
    captions: file('captions.json'),
  } as const;
}

/** The draft must be a suite that opens, and its pictures must be those that it names. */
async function expectWhole(draft: Draft, images: string): Promise<void> {
  const { items } = encodeDraft(draft);
  const files = await PictureFiles.open(images);
  for (const { pictures } of items) {
    const [picture] = pictures;
    if (picture.kind !== 'file') throw new Error('A builder gave a scene.');
    expect(sha256Hex(await files.read(picture.path))).toBe(picture.sha256);
  }
}

describe('CHAIR', () => {
  it('asks for a caption of every picture of which anything is known', async () => {
    const from = await putCoco([
      { objects: ['dog', 'person', 'dog'], captions: ['A man and his dog.'] },
      {},
      { captions: ['A kite.'] },
    ]);
    const draft = await buildChair({ from });
    await expectWhole(draft, from.images);
    expect(draft.items.map(({ id, ask }) => [id, ask])).toEqual([
      ['chair/0.png', { kind: 'caption', gold: ['dog', 'person'], references: ['A man and his dog.'] }],
      ['chair/2.png', { kind: 'caption', gold: [], references: ['A kite.'] }],
    ]);
    expect(draft.omitted).toEqual([{ what: '1.png', reason: 'it has neither objects nor captions' }]);
    expect(draft.notes).toEqual([]);
  });

  it('names classes that COCO has no word for by themselves, and says so', async () => {
    const from = await putCoco([{ objects: ['guitar', 'sofa'] }]);
    const { lexicon, notes } = await buildChair({ from });
    expect(lexicon?.nodes.guitar).toEqual([]);
    expect(Object.keys(lexicon?.nodes ?? {})).toHaveLength(81);
    expect(notes.join(' ')).toMatch(/No captions by people.*guitar/);
  });

  it('draws pictures by the seed, in the order of the set', async () => {
    const from = await putCoco(Array.from({ length: 20 }, () => ({ objects: ['dog'] })));
    const ids = async (seed: number) => (await buildChair({ from, count: 5, seed })).items.map(({ id }) => id);
    const first = await ids(1);
    expect(first).toHaveLength(5);
    expect(await ids(1)).toEqual(first);
    expect(await ids(2)).not.toEqual(first);
    const places = first.map((id) => Number.parseInt(id.slice('chair/'.length), 10));
    expect(places).toEqual([...places].sort((a, b) => a - b));
  });
});

describe('retrieval', () => {
  it('takes the first captions of every picture that has any', async () => {
    const from = await putCoco([{ captions: ['a', 'b', 'c'] }, { objects: ['dog'] }, { captions: ['d'] }]);
    const draft = await buildRetrieval({ from, captions: 2 });
    await expectWhole(draft, from.images);
    expect(draft.items.map(({ ask }) => ask)).toEqual([
      { kind: 'retrieve', captions: ['a', 'b'] },
      { kind: 'retrieve', captions: ['d'] },
    ]);
    expect(draft.omitted).toEqual([{ what: '1.png', reason: 'it has no captions' }]);
  });

  it('is refused without captions', async () => {
    const from = await putCoco([{ objects: ['dog'] }, { objects: ['dog'] }]);
    await expect(buildRetrieval({ from })).rejects.toThrow(/captions for fewer than two pictures/);
  });
});

describe('classification', () => {
  it('asks every picture among the folder’s classes', async () => {
    await writePictures(dir, ['b_c/1.png', 'b_c/2.png', 'b_c/3.png', 'a/1.png']);
    const from = { kind: 'image-folder', images: dir } as const;
    const draft = await buildClassify({ from, template: 'a drawing of a {}', perClass: 2, seed: 4 });
    await expectWhole(draft, dir);
    expect(draft.classes).toEqual(['a', 'b c']);
    expect(draft.items.map(({ ask }) => (ask as { gold: number }).gold)).toEqual([0, 1, 1]);
    expect(draft.textTemplate).toBe('a drawing of a {}');
    expect(draft.source.templateSha256).toBe(sha256Hex('a drawing of a {}'));
    expect(draft.prompt.template).toContain('a, b c');
  });

  it('is refused for a template without a place, and for one class', async () => {
    await writePictures(dir, ['a/1.png']);
    const from = { kind: 'image-folder', images: dir } as const;
    await expect(buildClassify({ from, template: 'a photo' })).rejects.toThrow(/write \{\} once/);
    await expect(buildClassify({ from })).rejects.toThrow(/fewer than two classes/);
  });
});

describe('cue conflict', () => {
  it('reads shape and texture off names, and leaves out what does not conflict', async () => {
    await writePictures(dir, [
      'airplane/airplane1-bicycle2.png',
      'airplane/airplane1-airplane3.png',
      'airplane/airplane10-knife1.png',
      'bicycle/bicycle3-airplane1.png',
      'bicycle/car3-airplane1.png',
      'bicycle/other.png',
    ]);
    const draft = await buildCueConflict({ images: dir });
    await expectWhole(draft, dir);
    expect(draft.items.map(({ ask }) => ask)).toEqual([
      { kind: 'classify', gold: 0, other: 1 },
      { kind: 'classify', gold: 1, other: 0 },
    ]);
    expect(draft.items[0].meta).toEqual({ shape: 'airplane', texture: 'bicycle' });
    expect(draft.omitted.map(({ reason }) => reason)).toEqual([
      'shape and texture do not conflict',
      'its texture knife has no folder',
      'its name says the shape car, its folder bicycle',
      'its name is not shape1-texture2',
    ]);
  });

  it('is refused where nothing conflicts', async () => {
    await mkdir(path.join(dir, 'cat'));
    await writePictures(dir, ['cat/1.png']);
    await expect(buildCueConflict({ images: dir })).rejects.toThrow(
      /no picture such as airplane\/airplane1-bicycle2\.png/,
    );
  });
});

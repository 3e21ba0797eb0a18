// Sets of annotated pictures through the package's front door: what each form gives, and what bad input gets. Real files.

import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { sha256Hex } from '@fovea/artifacts';
import { type AnnotatedSource, openAnnotated, PictureFiles } from '@fovea/data';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cocoOf, png, put, tarOf, vocOf } from './testing.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'fovea-annotated-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const write = (name: string, content: Uint8Array | string | object) => put(dir, name, content);

/** Opening must be refused in one sentence that does not say where on this machine the data lies. */
async function refused(source: AnnotatedSource, pattern: RegExp): Promise<void> {
  const error = await openAnnotated(source).then(
    () => null,
    (caught: Error) => caught,
  );
  expect(error?.name, error?.stack).toBe('FoveaError');
  expect(error?.message).toMatch(pattern);
  expect(error?.message).not.toMatch(/\n/);
}

const coco = (): AnnotatedSource => ({ kind: 'coco', images: dir, instances: path.join(dir, 'instances.json') });
const voc = (list?: string): AnnotatedSource => ({ kind: 'voc', root: dir, list });
const folder = (names?: string): AnnotatedSource => ({ kind: 'image-folder', images: dir, names });
const shards = (names?: string): AnnotatedSource => ({ kind: 'webdataset', images: dir, names });

async function putCoco(count: number, change: (file: ReturnType<typeof cocoOf>) => void = () => undefined) {
  for (let i = 0; i < count; i++) await write(`${i}.png`, await png(i));
  const file = cocoOf(count);
  change(file);
  await write('instances.json', file);
}

describe('COCO', () => {
  it('gives objects once and boxes all, in annotation order', async () => {
    await putCoco(2, ({ annotations }) => {
      annotations.reverse();
      annotations[2].bbox = [15, 5, 10, 10];
      annotations.push({ ...annotations[2], id: 999 });
    });
    const { rows, classes, omitted, files } = await openAnnotated(coco());
    expect(classes).toEqual(['person', 'dog']);
    expect(omitted).toEqual([]);
    expect(files).toEqual({ instances: sha256Hex(await readFile(path.join(dir, 'instances.json'))) });
    expect(rows.map(({ objects }) => objects)).toEqual([
      ['dog', 'person'],
      ['dog', 'person'],
    ]);
    const sha256 = sha256Hex(await readFile(path.join(dir, '0.png')));
    expect(rows[0].image).toEqual({ path: '0.png', sha256, width: 20, height: 10 });
    expect(rows[0].boxes?.map(({ name, areaFrac }) => [name, areaFrac])).toEqual([
      ['dog', (5 * 5) / 200],
      ['person', 40 / 200],
      ['dog', (5 * 5) / 200],
    ]);
  });

  it('joins captions to objects by image', async () => {
    await putCoco(2);
    const { images } = cocoOf(3);
    const annotations = [
      { id: 1, image_id: 1, caption: ' A dog. ' },
      { id: 2, image_id: 0, caption: 'Somebody.' },
      { id: 3, image_id: 1, caption: 'Again a dog.' },
      { id: 4, image_id: 77, caption: 'Of nothing.' },
    ];
    await write('captions.json', { images, annotations });
    const both = { ...coco(), captions: path.join(dir, 'captions.json') } as AnnotatedSource;
    const { rows, omitted } = await openAnnotated(both);
    expect(rows.map(({ captions }) => captions)).toEqual([['Somebody.'], ['A dog.', 'Again a dog.']]);
    expect(omitted).toEqual([
      { what: '1 captions', reason: 'their image is not listed' },
      { what: '2.png', reason: expect.stringMatching(/there is no such file/) },
    ]);
  });

  it('omits pictures that are missing, damaged, too large or of other sides, and goes on', async () => {
    await putCoco(6);
    await rm(path.join(dir, '0.png'));
    await truncate(path.join(dir, '1.png'), 60);
    await write('2.png', 'no picture');
    await write('3.png', await png(3, 400, 300));
    await write('4.png', await png(4, 21, 10));
    const { rows, omitted } = await openAnnotated({ ...coco(), maxPixels: 1000 });
    expect(rows.map(({ image }) => image.path)).toEqual(['5.png']);
    expect(omitted.map(({ what }) => what)).toEqual(['0.png', '1.png', '2.png', '3.png', '4.png']);
    const reasons = omitted.map(({ reason }) => reason);
    expect(reasons[0]).toMatch(/there is no such file/);
    expect(reasons[3]).toMatch(/pixel/);
    expect(reasons[4]).toBe('it has 21 × 10 pixels, its annotation says 20 × 10');
    for (const reason of reasons) expect(reason).not.toContain(dir);
  });

  it('is refused for a file that is not as it should be', async () => {
    await putCoco(1, ({ images }) => images.push({ ...images[0], file_name: 'b.png' }));
    await refused(coco(), /image id 0 twice/);
    await putCoco(1, ({ images }) => images.push({ ...images[0], id: 5 }));
    await refused(coco(), /two images "0\.png"/);
    await putCoco(1, ({ annotations }) => annotations.push(annotations[0]));
    await refused(coco(), /annotation id 100 twice/);
    await putCoco(1, ({ annotations }) => (annotations[0].category_id = 3));
    await refused(coco(), /unknown category 3/);
    await putCoco(1, ({ categories }) => (categories[0].id = 18));
    await refused(coco(), /category id 18 twice/);
    await putCoco(1, ({ annotations }) => (annotations[0].bbox = [1, 2, 3]));
    await refused(coco(), /"annotations\.0\.bbox"/);
    await write('instances.json', '[1, 2');
    await refused(coco(), /"instances\.json" cannot be used: it is not JSON/);
    await write('instances.json', '"text"');
    await refused(coco(), /cannot be used: it —/);
    await rm(path.join(dir, 'instances.json'));
    await refused(coco(), /"instances\.json" cannot be read: there is no such file/);
    await mkdir(path.join(dir, 'instances.json'));
    await refused(coco(), /"instances\.json" cannot be read/);
    await refused({ kind: 'coco', images: dir }, /instances or of captions/);
    await refused({ ...coco(), images: path.join(dir, 'none') } as AnnotatedSource, /no such folder/);
  });

  it.each(['{"__proto__": 1}', '{"\\u005f_proto__": 1}', '{"a": [{"constructor": 1}]}', '{"prototype": {}}'])(
    'is refused for a key such as in %s, wherever it stands',
    async (evil) => {
      await putCoco(1);
      const text = JSON.stringify(cocoOf(1));
      await write('instances.json', `${text.slice(0, -1)}, "info": ${evil}}`);
      await refused(coco(), /has a key "(__proto__|constructor|prototype)"/);
    },
  );

  it('takes such words where they are only values', async () => {
    await putCoco(1, ({ categories }) => (categories[0].name = 'constructor'));
    expect((await openAnnotated(coco())).rows[0].objects).toEqual(['constructor', 'dog']);
  });

  it.each(['../0.png', '/etc/passwd', 'a/../../0.png', 'C:\\x.png', '..\\x.png', 'a\u0000.png', '', './0.png'])(
    'is refused for the path %j',
    async (name) => {
      await putCoco(1, ({ images }) => (images[0].file_name = name));
      await refused(coco(), /is refused: it is no plain path below its folder/);
    },
  );

  it('is refused for a link that leads out of the folder', async () => {
    await put(dir, 'elsewhere/secret.png', await png());
    await put(dir, 'set/instances.json', cocoOf(1));
    await symlink(path.join(dir, 'elsewhere', 'secret.png'), path.join(dir, 'set', '0.png'));
    const source = { ...coco(), images: path.join(dir, 'set'), instances: path.join(dir, 'set', 'instances.json') };
    await refused(source as AnnotatedSource, /The link "0\.png" leads out of its folder/);
  });
});

describe('VOC', () => {
  it('gives objects and boxes of a list, in its order', async () => {
    for (const name of ['a', 'b', 'c']) {
      await write(`JPEGImages/${name}.png`, await png());
      await write(`Annotations/${name}.xml`, vocOf(`${name}.png`, name === 'b' ? ['tv &amp; co', 'cat'] : undefined));
    }
    await write('ImageSets/Main/val.txt', 'b  1\na -1\n');
    const { rows, classes } = await openAnnotated(voc('val'));
    expect(rows.map(({ image }) => image.path)).toEqual(['JPEGImages/b.png', 'JPEGImages/a.png']);
    expect(rows[0].objects).toEqual(['tv & co', 'cat']);
    expect(rows[0].boxes?.[1]).toEqual({ name: 'cat', x: 0, y: 0, w: 10, h: 10, areaFrac: 0.5 });
    expect(classes).toEqual(['cat', 'dog', 'person', 'tv & co']);
    expect((await openAnnotated(voc())).rows).toHaveLength(3);
  });

  it('omits annotations that are damaged, and goes on', async () => {
    await write('JPEGImages/a.png', await png());
    await write('Annotations/a.xml', vocOf('a.png'));
    const whole = vocOf('b.png');
    const broken: Record<string, string> = {
      b: whole.slice(0, 200),
      c: whole.replace('<annotation', '<!DOCTYPE a [<!ENTITY x "y">]><annotation'),
      d: whole.replace('b.png', '&x;'),
      e: whole.replace('</object>', ''),
      f: whole.replace('<xmin>1', '<xmin>left'),
      g: '<html><body/></html>',
      h: '',
      i: '<a>'.repeat(1000),
      j: whole.replace(/<bndbox>.*?<\/bndbox>/, ''),
    };
    for (const [name, xml] of Object.entries(broken)) await write(`Annotations/${name}.xml`, xml);
    const { rows, omitted } = await openAnnotated(voc());
    expect(rows).toHaveLength(1);
    expect(omitted.map(({ what }) => what)).toEqual(Object.keys(broken).map((name) => `Annotations/${name}.xml`));
  });

  it('is refused for a picture that stands twice or climbs out', async () => {
    await write('Annotations/a.xml', vocOf('a.png'));
    await write('Annotations/b.xml', vocOf('a.png'));
    await refused(voc(), /two pictures "JPEGImages\/a\.png"/);
    await write('Annotations/b.xml', vocOf('../a.png'));
    await refused(voc(), /"\.\.\/a\.png" is refused/);
    await write('ImageSets/Main/val.txt', '../../x\n');
    await refused(voc('val'), /"\.\.\/\.\.\/x" is refused/);
    await refused(voc('../val'), /"\.\.\/val" is refused/);
    await rm(path.join(dir, 'Annotations'), { recursive: true });
    await refused(voc(), /no folder Annotations/);
  });
});

describe('class folders', () => {
  it('gives a label to every picture, numbered folders by their number', async () => {
    for (const name of ['10', '2', '1']) await write(`${name}/x.png`, await png());
    await write(
      'names.json',
      Array.from({ length: 11 }, (_, i) => `class ${i}`),
    );
    const { rows, classes } = await openAnnotated(folder(path.join(dir, 'names.json')));
    expect(classes).toEqual(['class 1', 'class 2', 'class 10']);
    expect(rows.map(({ image, label, objects }) => [image.path, label, objects])).toEqual([
      ['1/x.png', 'class 1', ['class 1']],
      ['2/x.png', 'class 2', ['class 2']],
      ['10/x.png', 'class 10', ['class 10']],
    ]);
  });

  it('reads names by folder, and the folder’s own where none are given', async () => {
    await write('n01440764/a.png', await png());
    await write('great_white-shark/b.png', await png(1));
    expect((await openAnnotated(folder())).classes).toEqual(['great white shark', 'n01440764']);
    await write('names.json', { n01440764: 'tench', 'great_white-shark': 'shark' });
    expect((await openAnnotated(folder(path.join(dir, 'names.json')))).classes).toEqual(['shark', 'tench']);
    await write('names.json', { n01440764: 'tench' });
    await refused(folder(path.join(dir, 'names.json')), /"great_white-shark" has no name/);
    await write('names.json', { n01440764: 'shark', 'great_white-shark': 'shark' });
    await refused(folder(path.join(dir, 'names.json')), /two class folders that read "shark"/);
    await write('names.json', '{"__proto__": "tench"}');
    await refused(folder(path.join(dir, 'names.json')), /has a key "__proto__"/);
  });

  it('omits what is damaged, follows no link, and refuses a folder without classes', async () => {
    await refused(folder(), /holds no pictures/);
    await write('cat/a.png', await png());
    await write('cat/b.png', 'no picture');
    await symlink(path.join(dir, 'cat'), path.join(dir, 'dog'));
    const { rows, omitted, classes } = await openAnnotated(folder());
    expect(classes).toEqual(['cat']);
    expect(rows).toHaveLength(1);
    expect(omitted).toEqual([{ what: 'cat/b.png', reason: expect.stringMatching(/cannot be read/) }]);
  });
});

describe('WebDataset', () => {
  const sample = async (key: string, cls: string, level = 0) => [
    { name: `${key}.png`, content: await png(level) },
    { name: `${key}.cls`, content: cls },
  ];

  it('gives samples by shard, and single pictures by their place', async () => {
    await write('s-001.tar', tarOf(await sample('x/c', '1', 3)));
    const fields = { captions: ['two', 'three'], objects: ['dog', 'cat', 'dog'], other: { any: 'thing' } };
    const more = [
      { name: './0.a.png', content: 'not read: its ending is a.png' },
      { name: './b.txt', content: 'one\n' },
      { name: './b.JSON', content: JSON.stringify(fields) },
      { name: './b.PNG', content: await png(2) },
    ];
    await write('s-000.tar', tarOf([...(await sample('a', '0', 1)), ...more]));
    await write('classnames.txt', 'tench\nshark\n');
    const { rows, classes, omitted, pictures } = await openAnnotated(shards(path.join(dir, 'classnames.txt')));
    expect(classes).toEqual(['tench', 'shark']);
    expect(omitted).toEqual([{ what: 's-000.tar/0', reason: 'it has no pictures' }]);
    expect(rows.map(({ image, label, objects, captions }) => [image.path, label, objects, captions])).toEqual([
      ['s-000.tar/a.png', 'tench', ['tench'], []],
      ['s-000.tar/b.PNG', undefined, ['dog', 'cat'], ['one', 'two', 'three']],
      ['s-001.tar/x/c.png', 'shark', ['shark'], []],
    ]);
    expect(Buffer.from(await pictures.read('s-001.tar/x/c.png'))).toEqual(await png(3));
    await expect(pictures.read('s-001.tar/x/d.png')).rejects.toThrow(/no such member/);
  });

  it('reads what GNU tar writes in each of its formats, long names too', async () => {
    const long = `${'deep/'.repeat(30)}${'n'.repeat(60)}`;
    await put(dir, `in/${long}.png`, await png(9));
    await put(dir, `in/${long}.cls`, 'dog');
    await put(dir, 'in/plain.png', await png(8));
    for (const format of ['gnu', 'pax', 'ustar'])
      await promisify(execFile)('tar', [
        `--format=${format}`,
        '-cf',
        path.join(dir, `${format}.tar`),
        '-C',
        `${dir}/in`,
        '.',
      ]);
    const { rows, omitted } = await openAnnotated(shards());
    expect(omitted).toEqual([]);
    expect(rows.map(({ image }) => image.path).sort()).toEqual(
      ['gnu', 'pax', 'ustar'].flatMap((format) => [`${format}.tar/${long}.png`, `${format}.tar/plain.png`]),
    );
    expect(rows.filter(({ label }) => label === 'dog')).toHaveLength(3);
  });

  it('omits a damaged picture, and goes on', async () => {
    await write('a.tar', tarOf([...(await sample('a', '0')), { name: 'b.png', content: 'no picture' }]));
    const { rows, omitted } = await openAnnotated(shards());
    expect(rows).toHaveLength(1);
    expect(omitted).toEqual([
      { what: 'a.tar/b.png', reason: expect.stringMatching(/"a\.tar\/b\.png" cannot be read/) },
    ]);
  });

  it('is refused where a shard is cut short, damaged, compressed or climbs out', async () => {
    await refused(shards(), /holds no shards/);
    const whole = tarOf(await sample('a', '0'));
    for (const length of [0, 100, 512, 700, whole.length - 1024]) {
      await write('a.tar', whole.subarray(0, length));
      await refused(shards(), /The tar "a\.tar" cannot be read: it is cut short/);
    }
    await write('a.tar', whole.fill(1, 20, 30));
    await refused(shards(), /it is no tar or is damaged/);
    await write('a.tar', Buffer.concat([Buffer.of(0x1f, 0x8b), Buffer.alloc(600)]));
    await refused(shards(), /it is compressed/);
    await write('a.tar', tarOf([...(await sample('../a', '0'))]));
    await refused(shards(), /"\.\.\/a\.png" is refused/);
    await write('a.tar', tarOf([...(await sample('a', '0')), ...(await sample('a', '1'))]));
    await refused(shards(), /two members "a\.png"/);
    await write('a.tar', tarOf([{ name: 'a.png', content: 'x', size: 2 ** 33 - 1 }]));
    await refused(shards(), /cut short/);
    await write('a.tar', tarOf([{ name: 'a.json', content: '{"__proto__": 1}' }, ...(await sample('a', '0'))]));
    await refused(shards(), /has a key "__proto__"/);
    await write('a.tar', tarOf(await sample('a', '7')));
    await write('names.txt', 'tench\n');
    await refused(shards(path.join(dir, 'names.txt')), /class 7 has no line/);
  });

  it('passes over links and folders in a shard', async () => {
    const odd = [
      { name: 'dir/', content: '', type: '5' },
      { name: 'link.png', content: '', type: '2' },
    ];
    await write('a.tar', tarOf([...odd, ...(await sample('a', '0'))]));
    expect((await openAnnotated(shards())).rows.map(({ image }) => image.path)).toEqual(['a.tar/a.png']);
  });
});

describe('picture files', () => {
  it('bounds what it reads', async () => {
    await write('big.png', '');
    await truncate(path.join(dir, 'big.png'), 2 ** 33);
    const files = await PictureFiles.open(dir, 1000);
    await expect(files.read('big.png')).rejects.toThrow(/8589934592 bytes, more than/);
    await expect(files.read('.')).rejects.toThrow(/refused/);
  });

  it('never waits on a pipe', async () => {
    await promisify(execFile)('mkfifo', [path.join(dir, 'pipe.png')]);
    const files = await PictureFiles.open(dir);
    await expect(files.read('pipe.png')).rejects.toThrow(/it is no file/);
  });

  it('reads a folder that is called as a tar', async () => {
    await mkdir(path.join(dir, 'x.tar'));
    await writeFile(path.join(dir, 'x.tar', 'a.png'), await png());
    const files = await PictureFiles.open(dir);
    expect((await files.look('x.tar/a.png')).width).toBe(20);
  });
});

// Damaged annotations: seeded mutations of a COCO file, a VOC annotation and a shard, each of which must end as a set whose
// pictures are the folder's own, or as one sentence. FOVEA_FUZZ sets another count per form, FOVEA_FUZZ_SEED another seed.

import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { type AnnotatedSource, openAnnotated } from '@fovea/data';
import { philox, type Rng } from '@fovea/tensor/random';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cocoOf, png, put, tarOf, vocOf } from './testing.ts';

const COUNT = Number(process.env.FOVEA_FUZZ ?? 70);
const SEED = Number(process.env.FOVEA_FUZZ_SEED ?? 1);

const WORDS = [
  ...['"__proto__":', '"constructor":', '{', '}', '[', ']', ',', ':', 'null', '-1', '1e999', '9007199254740993', '""'],
  ...['"../../etc/passwd"', '\\u0000', '"\\ud800"', '['.repeat(20_000), '{"a":'.repeat(5_000), '9'.repeat(400)],
  ...[
    '<',
    '>',
    '</',
    '/>',
    '&',
    '&amp;',
    '&#0;',
    '&#x110000;',
    '<!--',
    '-->',
    '<?',
    '<!DOCTYPE a>',
    ' '.repeat(50_000),
  ],
  ...[
    '<a>'.repeat(5_000),
    'a="'.repeat(500),
    '\0',
    '\u{feff}',
    '../',
    '77777777777',
    '\x80\xff\xff\xff',
    '30 path=../x\n',
  ],
].map((word) => Buffer.from(word, 'utf8'));

/** A few bytes changed, cut out, repeated or put in. */
function mutated(from: Buffer, rng: Rng): Buffer {
  let bytes: Buffer = Buffer.from(from);
  for (let edits = 1 + rng.int(4); edits > 0; edits--) {
    const at = rng.int(bytes.length + 1);
    const length = rng.int(Math.min(600, bytes.length - at + 1));
    const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
    const kind = rng.int(6);
    if (kind === 0 && after.length > 0) bytes[at] = rng.int(256);
    if (kind === 1) bytes = Buffer.concat([before, bytes.subarray(at + length)]);
    if (kind === 2) bytes = Buffer.concat([before, bytes.subarray(at, at + length), after]);
    if (kind === 3) bytes = Buffer.concat([before, WORDS[rng.int(WORDS.length)], after]);
    if (kind === 4) bytes = Buffer.from(before);
    if (kind === 5) bytes = rewritten(bytes, rng);
  }
  return bytes;
}

/** One header of a tar with another field and a sum that is right again; other bytes as they are. */
function rewritten(bytes: Buffer, rng: Rng): Buffer {
  const block = 512 * rng.int(Math.floor(bytes.length / 512) + 1);
  if (block + 512 > bytes.length || bytes.toString('latin1', block + 257, block + 262) !== 'ustar') return bytes;
  const out = Buffer.from(bytes);
  const [from, size] = [
    [0, 100],
    [124, 12],
    [156, 1],
    [345, 155],
  ][rng.int(4)];
  const word = WORDS[rng.int(WORDS.length)];
  out.set(word.subarray(0, rng.int(size) + 1), block + from);
  if (from === 156) out[block + from] = 'LxgKSV1257'.charCodeAt(rng.int(10));
  out.fill(0x20, block + 148, block + 156);
  const sum = out.subarray(block, block + 512).reduce((a, b) => a + b, 0);
  out.write(`${sum.toString(8).padStart(6, '0')}\0 `, block + 148);
  return out;
}

interface Form {
  file: string;
  whole: () => Promise<Buffer> | Buffer;
  source: (root: string) => AnnotatedSource;
  pictures: RegExp;
}

const FORMS: Record<string, Form> = {
  COCO: {
    file: 'instances.json',
    whole: () => Buffer.from(JSON.stringify(cocoOf(2))),
    source: (root) => ({ kind: 'coco', images: root, instances: path.join(root, 'instances.json') }),
    pictures: /^[01]\.png$/,
  },
  VOC: {
    file: 'Annotations/a.xml',
    whole: () => Buffer.from(vocOf('a.png')),
    source: (root) => ({ kind: 'voc', root }),
    pictures: /^JPEGImages\/a\.png$/,
  },
  WebDataset: {
    file: 's.tar',
    whole: async () =>
      tarOf([
        { name: 'a.png', content: await png() },
        { name: 'a.json', content: '{"captions":["one"],"objects":["dog"],"label":1}' },
        { name: 'b.png', content: await png(1) },
        { name: 'b.cls', content: '0' },
      ]),
    source: (root) => ({ kind: 'webdataset', images: root }),
    pictures: /^s\.tar\/(?!.*(^|\/)\.\.(\/|$))[^\0\\]+$/,
  },
};

let root: string;
beforeAll(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'fovea-annotated-fuzz-'));
  await put(root, '0.png', await png());
  await put(root, '1.png', await png(1));
  await put(root, 'JPEGImages/a.png', await png());
});
afterAll(() => rm(root, { recursive: true, force: true }));

test.each(Object.entries(FORMS))(`%s: ${COUNT} mutations end as a set or as a sentence`, async (name, form) => {
  const whole = await form.whole();
  const outcomes = { opened: 0, refused: 0 };
  for (let i = 0; i < COUNT; i++) {
    const where = `${name}, seed ${SEED}, mutation ${i}`;
    await put(root, form.file, mutated(whole, philox(SEED, `fuzz/${name}`, i)));
    const started = performance.now();
    const set = await openAnnotated(form.source(root)).catch((error: Error) => {
      expect(error.name, `${where}: ${error.stack}`).toBe('FoveaError');
      expect(error.message, where).not.toMatch(/[\n\0]/);
      expect(error.message.length, where).toBeLessThan(1000);
      return null;
    });
    expect(performance.now() - started, where).toBeLessThan(5000);
    outcomes[set?.omitted.length === 0 ? 'opened' : 'refused']++;
    for (const { image } of set?.rows ?? []) expect(image.path, where).toMatch(form.pictures);
  }
  await rm(path.join(root, form.file));
  // A harness that broke all or nothing would prove nothing.
  expect(Math.min(outcomes.opened, outcomes.refused), JSON.stringify(outcomes)).toBeGreaterThan(0);
});

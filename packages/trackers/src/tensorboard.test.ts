// Event files: the bytes against golden vectors, writers that die, and TensorBoard's own reader where FOVEA_PYTHON names
// a Python that has it.

import { spawnSync } from 'node:child_process';
import { appendFile, readdir, readFile, truncate } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { followRun } from './follow.ts';
import { Sink } from './sinks.ts';
import { TensorBoardTracker } from './tensorboard.ts';
import { StoredRun, somePoints, temporaryFolder, testRecord, testRun } from './testing.ts';
import { crc32c, decodeScalars, encodeScalars, framesOf, maskedCrc32c, toFrame } from './tfevents.ts';

const PYTHON = process.env.FOVEA_PYTHON;
const READER = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0, 'tensors': 0}).Reload()
print(json.dumps({tag: [[e.step, e.value, e.wall_time] for e in events.Scalars(tag)] for tag in events.Tags()['scalars']}))
`;
const hasTensorBoard = PYTHON !== undefined && spawnSync(PYTHON, ['-c', 'import tensorboard']).status === 0;
if (!hasTensorBoard) console.info('tensorboard: its own reader is not asked: FOVEA_PYTHON names no Python that has it');

type Curves = Record<string, [step: number, value: number, time: number][]>;

/** All scalars of a folder, by our reader. */
async function curvesOf(folder: string): Promise<Curves> {
  const curves: Curves = {};
  for (const name of (await readdir(folder)).sort()) {
    for (const frame of framesOf(await readFile(path.join(folder, name)))) {
      const { step, values } = decodeScalars(frame);
      for (const { tag, value } of values) (curves[tag] ??= []).push([step, value, 0]);
    }
  }
  return curves;
}

const RUN = { id: 'run-1', name: 'run', createdAt: 0, params: {} };
const never = new AbortController().signal;

describe('the bytes', () => {
  it('carry the CRC-32C of RFC 3720 and TFRecord’s mask', () => {
    const ascending = Uint8Array.from({ length: 32 }, (_, i) => i);
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(crc32c(ascending)).toBe(0x46dd794e);
    // The length field of a 24-byte record, as any file that TensorFlow begins has it: 18 00 … then a3 7f 4b 22.
    expect(maskedCrc32c(Buffer.from('1800000000000000', 'hex'))).toBe(0x224b7fa3);
  });

  it('are read back as they were, for every step that a number holds exactly', () => {
    for (const step of [0, 1, 127, 128, 2 ** 31, 2 ** 32 + 5, 2 ** 53 - 1]) {
      const scalars = [
        { tag: 'train/loss', value: 0.5 },
        { tag: 'train/ü', value: -1e30 },
        { tag: 'x', value: Number.NaN },
      ];
      const read = decodeScalars(encodeScalars(1.5, step, scalars));
      expect(read.step).toBe(step);
      expect(read.values.map(({ tag }) => tag)).toEqual(['train/loss', 'train/ü', 'x']);
      expect(read.values.map(({ value }) => value)).toEqual([0.5, Math.fround(-1e30), Number.NaN]);
    }
  });

  it('are read up to the first frame that is torn or damaged, at every byte', () => {
    const frames = [1, 2].map((step) => toFrame(encodeScalars(step, step, [{ tag: 'a', value: step }])));
    const file = Buffer.concat(frames);
    for (let cut = 0; cut < file.length; cut++) {
      expect([...framesOf(file.subarray(0, cut))]).toHaveLength(cut < frames[0].length ? 0 : 1);
      const bad = Buffer.from(file);
      bad[cut] ^= 0x41;
      expect([...framesOf(bad)]).toHaveLength(cut < frames[0].length ? 0 : 1);
    }
  });
});

describe('a TensorBoard tracker', () => {
  it('goes on in a new file that sorts last, whatever the clock says, behind a torn one', async () => {
    const folder = await temporaryFolder();
    const track = path.join(folder, RUN.id, 'aligned');
    let clock = 2_000_000_000_000;
    for (let session = 0; session < 4; session++, clock -= 50_000) {
      const tracker = new TensorBoardTracker(folder, () => clock);
      const had = await tracker.open(RUN);
      const fresh = somePoints(0, 5 * (session + 1)).filter((point) => !had.has(point));
      expect(fresh).toHaveLength(session === 0 ? 5 : 6);
      await tracker.log(fresh, never);
      await tracker.close();
      const last = path.join(track, (await readdir(track)).sort().at(-1)!);
      // The writer dies in the middle of its last frame.
      await truncate(last, (await readFile(last)).length - 3);
    }
    const tracker = new TensorBoardTracker(folder, () => clock);
    expect((await tracker.open(RUN)).has({ track: 'aligned', series: 'train/loss', step: 18 })).toBe(true);
    await tracker.log(somePoints(19, 1), never);
    await tracker.close();
    const names = (await readdir(track)).sort();
    expect(names.map((name) => name.slice(0, 30))).toEqual(
      [0, 1, 2, 3, 4].map((n) => `events.out.tfevents.${2_000_000_000 + n}`),
    );
    expect((await curvesOf(track))['train/loss'].map(([step]) => step)).toEqual(
      Array.from({ length: 20 }, (_, i) => i),
    );
  });

  it('is a sink like any other where its folder cannot be written', async () => {
    const folder = await temporaryFolder();
    await appendFile(path.join(folder, 'file'), '');
    const said: string[] = [];
    const tracker = new TensorBoardTracker(path.join(folder, 'file'));
    const sink = new Sink(tracker, RUN, { say: (line) => said.push(line), retryMs: [1, 5] });
    sink.offer(somePoints(0, 3));
    expect(await sink.close('completed', 100)).toEqual({ dropped: 3 });
    expect(said).toHaveLength(2);
    expect(said[0]).toContain('ENOTDIR');
  });

  it.skipIf(!hasTensorBoard)(
    'is read by TensorBoard: every step once, in order, over restarts',
    async () => {
      const [folder, source, run] = [await temporaryFolder(), await StoredRun.create(), testRun()];
      await source.commit('trunk', 0, testRecord(0, 0, 0));
      const track = path.join(folder, run.id, 'aligned');
      const said: string[] = [];
      for (let round = 0; round < 3; round++) {
        await source.commit('aligned', round, testRecord(round, 4 * (round + 1), 4));
        await source.score('aligned', round, 0.25 * (round + 1));
        const follower = followRun(run, source, [new TensorBoardTracker(folder)], { say: (line) => said.push(line) });
        await follower.close(round < 2 ? 'stopped' : 'completed');
        // Killed while it wrote: half a frame stays behind.
        const last = path.join(track, (await readdir(track)).sort().at(-1)!);
        await appendFile(last, toFrame(encodeScalars(1, 99, [{ tag: 'train/loss', value: 99 }])).subarray(0, 20));
      }
      expect(said).toEqual([]);
      const names = await readdir(track);
      expect(names).toHaveLength(3);
      const { stdout, stderr, status } = spawnSync(PYTHON!, ['-c', READER, track], { encoding: 'utf8' });
      expect(status, stderr).toBe(0);
      const curves: Curves = JSON.parse(stdout);
      expect(Object.keys(curves).sort()).toEqual([
        'eval/robustvqa/A/top1',
        'eval/robustvqa/R/noto/twoway',
        'probe/after',
        'probe/before',
        'probe/gap',
        'train/feedback',
        'train/grad_norm/encoder',
        'train/images_per_second',
        'train/loss',
        'train/odd:name',
        'train/step_seconds',
      ]);
      const steps = Array.from({ length: 12 }, (_, i) => i + 1);
      expect(curves['train/loss'].map(([step, value]) => [step, value])).toEqual(steps.map((step) => [step, step]));
      expect(curves['train/feedback'].map(([, value]) => value)).toEqual(steps.map((step) => step / 2));
      expect(curves['eval/robustvqa/A/top1'].map(([step, value]) => [step, value])).toEqual([
        [4, 0.25],
        [8, 0.5],
        [12, 0.75],
      ]);
      const times = curves['train/loss'].map(([, , time]) => time);
      expect(times).toEqual([...times].sort((a, b) => a - b));
      expect(times[0]).toBeCloseTo(Date.parse(run.createdAt) / 1000 + 4 - 1.5, 3);
    },
    120_000,
  );
});

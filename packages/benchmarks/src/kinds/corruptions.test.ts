// What is built from a suite of classification, and what is measured over it, against the closed forms of mCE.

import { FoveaError } from '@fovea/artifacts';
import { describe, expect, it } from 'vitest';
import { ALEXNET_ERROR, BENCHMARK_15, CORRUPTIONS } from '../corruptions/constants.ts';
import type { Answer } from '../judging/answer.ts';
import type { Draft } from '../suite/draft.ts';
import type { Item } from '../suite/item.ts';
import { buildCorruptions, type CorruptionsBuild, pictureSeed } from './build-corruptions.ts';
import { corruptions } from './corruptions.ts';
import { measured } from './testing-kinds.ts';

const COUNT = 20;
const sha = (i: number) => i.toString(16).padStart(64, '0');

const from = (count = COUNT): Draft => ({
  name: 'birds',
  kind: 'classify',
  title: 'Birds',
  source: { builder: 'classify' },
  prompt: { id: 'p', template: '{question}' },
  classes: ['heron', 'owl', 'wren', 'gull'],
  omitted: [],
  notes: ['a note'],
  items: Array.from({ length: count }, (_, i) => ({
    id: `bird-${i}`,
    split: 'all',
    cluster: `bird-${i}`,
    pictures: [{ kind: 'file', path: `${i}.png`, sha256: sha(i), width: 300, height: 280 }],
    ask: { kind: 'classify', gold: i % 4 },
  })),
  probes: [],
});

const classes = (item: Item, isRight: boolean): Answer => {
  const gold = (item.ask as { gold: number }).gold;
  const best = isRight ? gold : (gold + 1) % 4;
  const top: [number, number][] = [
    [best, 2],
    [(best + 2) % 4, 1],
  ];
  return { kind: 'classes', top, gold: isRight ? 2 : 0, rank: isRight ? 0 : 2, logSumExp: 2.5 };
};

/** Wrong on the first `error` of the pictures in every cell. */
const wrongOn = (errorOf: (corruption: string, severity: number) => number) => (item: Item) => {
  const { corruption = { name: 'clean', severity: 0 } } = item.pictures[0];
  const share = errorOf(corruption.name, corruption.severity);
  return classes(item, Number(item.cluster.slice(5)) >= Math.round(share * COUNT));
};

const RISING = [0.25, 0.3, 0.4, 0.5, 0.6, 0.7];
const build = (options: CorruptionsBuild = {}) => buildCorruptions(from(), options);

describe('corruptions', () => {
  it('measures the closed form of mCE, and null where AlexNet has no verified clean error', async () => {
    const results = measured(
      await build({ corruptions: 'all' }),
      corruptions,
      wrongOn((_, severity) => RISING[severity]),
    );
    expect(results['all mce'].value).toBeCloseTo(0.646726, 6);
    expect(results['all mce'].n).toBe(75 * COUNT);
    expect(results['all error'].value).toBeCloseTo(0.5, 12);
    expect(results['clean error'].value).toBeCloseTo(0.25, 12);
    expect(results['clean error'].chance).toBe(0.75);
    expect(results['fog/3 error'].value).toBeCloseTo(0.5, 12);
    expect(results['fog ce'].value).toBeCloseTo(0.5 / ALEXNET_ERROR.fog, 12);
    expect(results['all relative-mce']).toMatchObject({ value: null, ci: null });
    expect(results['noise error'].n).toBe(15 * COUNT);
    expect(results['spatter error'].value).toBeCloseTo(0.5, 12);
    expect(results['spatter ce']).toBeUndefined();
    const { low, high } = results['all mce'].ci as { low: number; high: number };
    expect(low).toBeLessThan(0.646726);
    expect(high).toBeGreaterThan(0.646726);
  });

  it('measures against a reference of the suite, relative to clean pictures too', async () => {
    const reference = { name: 'alexnet', clean: 0.435, errors: ALEXNET_ERROR };
    const results = measured(
      await build({ reference }),
      corruptions,
      wrongOn((_, severity) => RISING[severity]),
    );
    expect(results['all relative-mce'].value).toBeCloseTo(0.814695, 6);
    expect(results['snow relative-ce'].value).toBeCloseTo(0.25 / (ALEXNET_ERROR.snow - 0.435), 12);
  });

  it('gives a reference its own errors as an mCE of 1', async () => {
    const steps = Object.fromEntries(BENCHMARK_15.map((name, i) => [name, 0.3 + 0.05 * (i % 10)]));
    const reference = { name: 'base', clean: 0.2, errors: steps as typeof ALEXNET_ERROR };
    const answer = wrongOn((name) => (name === 'clean' ? 0.2 : steps[name]));
    const results = measured(await build({ reference }), corruptions, answer);
    expect(results['all mce'].value).toBeCloseTo(1, 12);
    expect(results['all relative-mce'].value).toBeCloseTo(1, 12);
  });

  it('has no mCE where a corruption or a severity is missing, and leaves the hold-outs out of it', async () => {
    const answer = wrongOn(() => 0.5);
    const some = measured(await build({ corruptions: 'smoke', severities: [1, 3, 5] }), corruptions, answer);
    expect(some['all mce'].value).toBeNull();
    expect(some['fog ce'].value).toBeNull();
    expect(some['fog error'].value).toBeCloseTo(0.5, 12);
    const held = measured(await build({ corruptions: 'hold-out' }), corruptions, answer);
    expect(held['all mce'].value).toBeNull();
    expect(held['saturate error'].value).toBeCloseTo(0.5, 12);
  });

  it('counts errors as wrong, cell by cell', async () => {
    const draft = await build({ corruptions: ['fog', 'snow'] });
    const results = measured(draft, corruptions, (item) =>
      item.id === 'bird-0@fog-2' ? { kind: 'error', message: 'lost', attempts: 1 } : classes(item, true),
    );
    expect(results['fog/2 error']).toMatchObject({ value: 1 / COUNT, n: COUNT, errors: 1 });
    expect(results['fog error']).toMatchObject({ n: 5 * COUNT, errors: 1 });
    expect(results['snow error']).toMatchObject({ value: 0, errors: 0, ci: { method: 'wilson' } });
  });
});

describe('buildCorruptions', () => {
  it('shows every picture clean and under each corruption and severity, in one square', async () => {
    const { items, source, notes, kind, name } = await build({ corruptions: 'all', seed: 5 });
    expect([kind, name]).toEqual(['corruptions', 'birds-c']);
    expect(items).toHaveLength(COUNT * 96);
    expect(new Set(items.map(({ id }) => id)).size).toBe(items.length);
    const cells = new Map<string, number>();
    for (const { pictures, split, cluster, meta } of items) {
      expect(pictures[0]).toMatchObject({ kind: 'file', square: 224 });
      const { corruption } = pictures[0];
      expect(meta).toMatchObject({ corruption: corruption?.name ?? 'clean', severity: corruption?.severity ?? 0 });
      expect(split).toBe(corruption?.name ?? 'clean');
      expect(cluster).toMatch(/^bird-\d+$/);
      cells.set(
        `${corruption?.name}/${corruption?.severity}`,
        1 + (cells.get(`${corruption?.name}/${corruption?.severity}`) ?? 0),
      );
    }
    expect([...cells.values()]).toEqual(new Array(96).fill(COUNT));
    expect(source).toMatchObject({ corruptions: [...CORRUPTIONS], severities: [1, 2, 3, 4, 5], seed: 5, square: 224 });
    expect(notes.join(' ')).toMatch(/a note.*Frost is drawn.*not verified.*4;/);
  });

  it("seeds a picture by its content and the suite's seed, not by its place", async () => {
    const [picture, other] = from().items.map(({ pictures }) => pictures[0]);
    expect(pictureSeed(1, { kind: 'file', path: 'moved.png', sha256: sha(0), width: 1, height: 1 })).toBe(
      pictureSeed(1, picture),
    );
    expect(pictureSeed(1, picture)).not.toBe(pictureSeed(2, picture));
    expect(pictureSeed(1, picture)).not.toBe(pictureSeed(1, other));
    expect(pictureSeed(1, { kind: 'scene', scene: { b: 1, a: 2 } })).toBe(
      pictureSeed(1, { kind: 'scene', scene: { a: 2, b: 1 } }),
    );
    const seeds = (draft: Draft) =>
      Object.fromEntries(draft.items.map(({ id, pictures }) => [id, pictures[0].corruption?.seed]));
    const turned = { ...from(), items: from().items.toReversed() };
    expect(seeds(await buildCorruptions(turned))).toEqual(seeds(await build()));
  });

  it('orders names and severities however they are given, and leaves scenes and sizes alone where told', async () => {
    const scene = { ...from(1).items[0], pictures: [{ kind: 'scene' as const, scene: { n: 1 } }] };
    const draft = await buildCorruptions(
      { ...from(1), items: [...from(1).items, { ...scene, id: 's' }] },
      { corruptions: ['snow', 'fog', 'snow'], severities: [3, 1, 3], square: null, name: 'mine' },
    );
    expect(draft.items.slice(0, 5).map(({ id }) => id.split('@')[1])).toEqual([
      'clean',
      'snow-1',
      'snow-3',
      'fog-1',
      'fog-3',
    ]);
    expect(draft.items.every(({ pictures }) => !('square' in pictures[0]))).toBe(true);
    expect(draft.name).toBe('mine');
  });

  it('refuses other kinds and pictures that are corrupted already', async () => {
    await expect(buildCorruptions({ ...from(), kind: 'pope' })).rejects.toThrow(FoveaError);
    const again = { ...(await build()), kind: 'classify' as const };
    await expect(buildCorruptions(again)).rejects.toThrow('has a corruption already');
  });
});

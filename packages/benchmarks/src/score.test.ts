import { permutation } from '@fovea/tensor/random';
import { describe, expect, it } from 'vitest';
import { planHash } from './plan.ts';
import { scorePlan } from './score.ts';
import { parseScorecard, resultOf, type Scorecard } from './scorecard.ts';
import { CHUNK, featuresOf, hardestWrong, scoreItems } from './scoring.ts';
import { drawnPlan, drawnSubject, evalConfig } from './testing.ts';

const judge = async (plan = drawnPlan(), seed = 1, role = 'baseline'): Promise<Scorecard> =>
  scorePlan({
    plan,
    subject: await drawnSubject(seed),
    checkpoint: `c${seed}`,
    role,
    eval: evalConfig,
    suites: evalConfig.suites,
  });

describe('outcomes', () => {
  // Three classes in two dimensions; the pictures lie on class 0, between 0 and 1 nearer to 1, and nowhere.
  const names = Float32Array.of(1, 0, 0, 1, -1, 0);
  const features = Float32Array.of(1, 0, 0.6, 0.8, 0, 0);

  it('take the best wrong class and the margin against it', () => {
    const { wrong, margin } = hardestWrong(features, names, 2, [0, 0, 0]);
    expect([...wrong]).toEqual([1, 1, 1]);
    expect(margin[0]).toBe(1);
    expect(margin[1]).toBeCloseTo(-0.2, 6);
    expect([...hardestWrong(features, names, 2, [1, 1, 1]).wrong]).toEqual([0, 0, 0]);
  });

  it('count ties as wrong and features that are not finite as errors', () => {
    const scores = scoreItems(features, names, 2, [0, 0, 0], [2, 2, 2]);
    expect([...scores.top1]).toEqual([1, 0, 0]);
    expect([...scores.twoway]).toEqual([1, 1, 0]);
    expect([...scores.errors]).toEqual([]);
    const broken = scoreItems(Float32Array.of(Number.NaN, 0, 1, 0), names, 2, [0, 0], [1, 1]);
    expect([...broken.top1, ...broken.twoway]).toEqual([0, 1, 0, 1]);
    expect([...broken.errors]).toEqual([0]);
  });

  it('agree with a plain double loop on random features', () => {
    const rng = permutation(7 * 13 + 50 * 13, 3, 'features');
    const table = Float32Array.from(rng, (v) => v / 700 - 0.5);
    const [texts, images] = [table.subarray(0, 7 * 13), table.slice(7 * 13)];
    const gold = Array.from({ length: 50 }, (_, i) => i % 7);
    const { wrong } = hardestWrong(images, texts, 13, gold);
    gold.forEach((right, i) => {
      const scores = Array.from({ length: 7 }, (_, c) => {
        let sum = 0;
        for (let k = 0; k < 13; k++) sum += images[i * 13 + k] * texts[c * 13 + k];
        return c === right ? Number.NEGATIVE_INFINITY : sum;
      });
      expect(wrong[i]).toBe(scores.indexOf(Math.max(...scores)));
    });
  });
});

describe('scorecards', () => {
  it('hold every suite with intervals around the values, and survive JSON', async () => {
    const card = await judge();
    expect(card.results.map((r) => `${r.suite}/${r.split}/${r.metric}`)).toEqual([
      'retention/id/top1',
      'retention/id/twoway',
      'robustvqa/V2/top1',
      'robustvqa/V2/twoway',
      'probes/id/r2-background',
      'probes/id/r2-x',
    ]);
    for (const { value, ci } of card.results) {
      expect(ci[0]).toBeLessThanOrEqual(value);
      expect(ci[1]).toBeGreaterThanOrEqual(value);
    }
    // A real encoder: far above chance in names, and the ground colour is linear in its features.
    expect(resultOf(card, 'retention', 'id', 'top1')!.ci[0]).toBeGreaterThan(2 / 24);
    expect(resultOf(card, 'probes', 'id', 'r2-background')!.ci[0]).toBeGreaterThan(0.5);
    expect(resultOf(card, 'robustvqa', 'V2', 'top1')!.n).toBe(24 * 7);
    expect(parseScorecard(JSON.parse(JSON.stringify(card)), 'c1')).toEqual(card);
  });

  it('are the same bytes for the same model, whatever the chunks', async () => {
    const [first, second] = [await judge(), await judge()];
    expect(JSON.stringify(second)).toBe(JSON.stringify(first));
    const plan = drawnPlan();
    const subject = await drawnSubject(1);
    const whole = await featuresOf(subject, plan, 0, plan.items.length);
    expect(subject.calls).toEqual([CHUNK, plan.items.length - CHUNK]);
    for (const row of [0, 17, 255, 256, 300]) {
      const alone = await featuresOf(subject, plan, row, 1);
      expect([...alone]).toEqual([...whole.subarray(row * subject.dim, (row + 1) * subject.dim)]);
    }
  });

  it('give every item the same outcome in any order, bit for bit', async () => {
    const card = await judge();
    const shuffled = await judge(drawnPlan({ order: (n) => [...permutation(n, 5, 'order')] }));
    expect(shuffled.items.ids).not.toEqual(card.items.ids);
    const outcomes = ({ items }: Scorecard) =>
      Object.fromEntries(items.ids.map((id, i) => [id, [items.top1[i], items.twoway[i], items.foils[i]]]));
    expect(outcomes(shuffled)).toEqual(outcomes(card));
    for (const result of card.results) {
      const other = resultOf(shuffled, result.suite, result.split, result.metric)!;
      expect(other.n).toBe(result.n);
      if (result.suite === 'probes') expect(other.value).toBeCloseTo(result.value, 1);
      else expect(other.value).toBe(result.value);
    }
  });

  it('name their questions: other pictures or foils have another hash', () => {
    const plan = drawnPlan();
    const hash = planHash(plan);
    expect(planHash(drawnPlan())).toBe(hash);
    expect(planHash({ ...plan, source: 'other drawings' })).not.toBe(hash);
    plan.foils[3] = (plan.foils[3] + 1) % 24;
    expect(planHash(plan)).not.toBe(hash);
  });

  it('say why probes are missing when features are not finite', async () => {
    const subject = await drawnSubject(1);
    const nan = {
      dim: subject.dim,
      textFeatures: (names: string[]) => subject.textFeatures(names),
      imageFeatures: async (_: Float32Array, n: number) => new Float32Array(n * subject.dim).fill(Number.NaN),
    };
    const card = await scorePlan({
      plan: drawnPlan(),
      subject: nan,
      checkpoint: 'x',
      role: 'aligned',
      eval: evalConfig,
      suites: evalConfig.suites,
    });
    expect(card.omitted).toEqual([{ suite: 'probes', split: 'id', reason: expect.stringContaining('not finite') }]);
    expect(resultOf(card, 'retention', 'id', 'top1')).toMatchObject({ value: 0, errors: 336, method: 'wilson' });
  });

  it('refuse a damaged document with one sentence', async () => {
    const card = await judge();
    expect(() => parseScorecard({ ...card, questions: 'x' }, 'abc')).toThrow(
      /^The scorecard abc cannot be read: questions is not/,
    );
    expect(() => parseScorecard(null, 'abc')).toThrow(/cannot be read/);
  });

  it('stop when they are told to', async () => {
    const stop = new AbortController();
    const subject = await drawnSubject(1);
    const request = {
      plan: drawnPlan(),
      subject,
      checkpoint: 'x',
      role: 'r',
      eval: evalConfig,
      suites: evalConfig.suites,
    };
    const progress = () => stop.abort(new Error('stopped'));
    await expect(scorePlan({ ...request, signal: stop.signal, progress })).rejects.toThrow('stopped');
    expect(subject.calls).toEqual([CHUNK]);
  });
});

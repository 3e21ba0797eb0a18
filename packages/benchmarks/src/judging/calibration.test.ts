import { expect, it } from 'vitest';
import { ece } from '../metrics/calibration.ts';
import { measureCalibration } from './calibration.ts';
import { answer, yesNoItems } from './testing-judged.ts';

const items = yesNoItems(200, ['random', 'popular']);
const scored = answer(items, { seed: 2, skill: 2, lean: 0 }, 0.1);
const judged = items.map((item, i) => ({ item, scored: scored[i] }));
const options = { count: 200, seed: 1 };

it('measures each split over the answers that carry a confidence', () => {
  const results = measureCalibration([], 'questions', judged, options);
  const own = judged.filter(({ item, scored: row }) => item.split === 'random' && row.confidence !== null);
  const of = (metric: string) => results.find((r) => r.split === 'random' && r.metric === metric)!;
  const confidence = own.map(({ scored: row }) => row.confidence as number);
  const correct = own.map(({ scored: row }) => row.correct);
  expect(of('ece')).toMatchObject({ value: ece(confidence, correct), n: own.length, suite: 'questions' });
  expect(own.length).toBeLessThan(1200);
  const brier = of('brier');
  expect(brier.ci!.low).toBeLessThan(brier.value!);
  expect(brier.ci!.high).toBeGreaterThan(brier.value!);
  expect(of('auroc-confidence').value).toBeGreaterThan(0.6);
  expect(results.map((r) => r.split).sort()).toContain('popular');
  expect(measureCalibration([], 'questions', judged, options)).toEqual(results);
});

it('scales by a temperature of one half, and judges it on the other', () => {
  // Confidences are σ(2 · margin) and margins are what T is fitted to, so T is that of σ(margin ⁄ T).
  const results = measureCalibration([], 'questions', judged, options);
  const of = (metric: string) => results.find((r) => r.split === 'random' && r.metric === metric)!;
  const [temperature, scaled] = [of('temperature'), of('ece-scaled')];
  expect(temperature.value).toBeGreaterThan(0.2);
  expect(temperature.value).toBeLessThan(1.2);
  expect(scaled.value).toBeLessThan(0.1);
  expect(temperature.n + scaled.n).toBe(of('ece').n);
});

it('measures nothing twice, and nothing of a few answers or of words', () => {
  const all = measureCalibration([], 'questions', judged, options);
  const [first] = all;
  expect(measureCalibration([first], 'questions', judged, options)).toEqual(all.slice(1));
  expect(measureCalibration([], 'questions', judged.slice(0, 20), options)).toEqual([]);
  const words = judged.map(({ item, scored: row }) => ({ item, scored: { ...row, confidence: null } }));
  expect(measureCalibration([], 'questions', words, options)).toEqual([]);
});

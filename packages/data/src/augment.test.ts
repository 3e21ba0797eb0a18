// Random boxes: what they may be, how they spread, and what becomes of pictures that they do not fit.

import { philox } from '@fovea/tensor/random';
import { describe, expect, it } from 'vitest';
import { augmented, type Box, drawBox } from './augment.ts';
import { frame, squareFraming } from './preprocess.ts';
import { resample } from './resample.ts';

const boxes = (n: number, size: { height: number; width: number }, crop: Parameters<typeof drawBox>[2]): Box[] =>
  Array.from({ length: n }, (_, i) => drawBox(philox(1, 'boxes', 0, i), size, crop));

const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

describe('drawBox', () => {
  const size = { height: 900, width: 1000 };
  const crop = { scale: [0.2, 0.6] as [number, number], ratio: [0.75, 4 / 3] as [number, number] };

  it('keeps to the picture, the share of its area and the ratio', () => {
    const all = boxes(4000, size, crop);
    const extremes = (of: (box: Box) => number) => [Math.min(...all.map(of)), Math.max(...all.map(of))];
    const within = (of: (box: Box) => number, low: number, high: number) => {
      const [least, most] = extremes(of);
      expect(least).toBeGreaterThanOrEqual(low);
      expect(most).toBeLessThanOrEqual(high);
    };
    within(({ top }) => top, 0, size.height);
    within(({ left }) => left, 0, size.width);
    within(({ top, height }) => top + height, 0, size.height);
    within(({ left, width }) => left + width, 0, size.width);
    // Sides are whole pixels.
    within(({ height, width }) => (height * width) / (size.height * size.width), 0.2 - 0.002, 0.6 + 0.002);
    within(({ height, width }) => width / height, 0.75 - 0.004, 4 / 3 + 0.004);
  });

  it('is uniform in area, in the logarithm of the ratio and in place', () => {
    const all = boxes(4000, size, crop);
    const shares = all.map(({ height, width }) => (height * width) / (size.height * size.width));
    const ratios = all.map(({ height, width }) => Math.log(width / height) / Math.log(4 / 3));
    const places = all.map(({ top, height }) => top / (size.height - height));
    // The standard error of the mean of 4000 uniform numbers is 0.0046 of their range.
    expect(Math.abs(mean(shares) - 0.4)).toBeLessThan(0.4 * 0.02);
    expect(Math.abs(mean(ratios))).toBeLessThan(2 * 0.02);
    expect(Math.abs(mean(places) - 0.5)).toBeLessThan(0.02);
    for (const [values, low, high] of [
      [shares, 0.2, 0.6],
      [ratios, -1, 1],
      [places, 0, 1],
    ] as const) {
      const counts = new Array(10).fill(0);
      for (const value of values) counts[Math.min(9, Math.max(0, Math.floor((10 * (value - low)) / (high - low))))]++;
      for (const count of counts) expect(Math.abs(count - 400)).toBeLessThan(100);
    }
    expect(Math.min(...places)).toBe(0);
    expect(Math.max(...places)).toBe(1);
  });

  it('falls back to the largest centred box whose ratio is allowed', () => {
    const whole = { scale: [1, 1] as [number, number], ratio: [0.75, 4 / 3] as [number, number] };
    expect(boxes(1, { height: 100, width: 400 }, whole)).toEqual([{ top: 0, left: 133, height: 100, width: 133 }]);
    expect(boxes(1, { height: 400, width: 90 }, whole)).toEqual([{ top: 140, left: 0, height: 120, width: 90 }]);
    const exact = { scale: [1, 1] as [number, number], ratio: [2, 2] as [number, number] };
    expect(boxes(1, { height: 50, width: 100 }, exact)).toEqual([{ top: 0, left: 0, height: 50, width: 100 }]);
    expect(boxes(1, { height: 1, width: 1 }, { scale: [1, 1], ratio: [3, 3] })).toEqual([
      { top: 0, left: 0, height: 1, width: 1 },
    ]);
  });
});

describe('augmented', () => {
  const size = { height: 60, width: 80 };
  const rng = philox(0, 'picture');
  const picture = { ...size, data: Uint8Array.from({ length: 3 * 60 * 80 }, () => rng.int(256)) };
  const framing = squareFraming(16, null);
  const crop = { scale: [0.3, 0.9] as [number, number], ratio: [0.75, 4 / 3] as [number, number] };

  it('is the box of the picture, resized by the encoder’s filter', () => {
    const draws = () => philox(3, 'one');
    const out = augmented(picture, framing, { crop, flip: 0 }, draws(), 'a');
    const told = draws();
    told.uniform();
    const { top, left, height, width } = drawBox(told, picture, crop);
    const data = new Uint8Array(3 * height * width);
    for (let i = 0; i < data.length; i++) {
      const [y, x] = [Math.floor(i / (3 * width)), Math.floor(i / 3) % width];
      data[i] = picture.data[3 * ((top + y) * 80 + left + x) + (i % 3)];
    }
    const expected = resample({ height, width, data }, 16, 16, 'bicubic');
    for (let i = 0; i < out.length; i++)
      expect(out[i]).toBe(Math.fround(expected.data[3 * (i % 256) + Math.floor(i / 256)] / 255));
  });

  it('of the whole picture is a squash, and mirrors as often as it is told', () => {
    const whole = { scale: [1, 1] as [number, number], ratio: [4 / 3, 4 / 3] as [number, number] };
    const squash = frame(picture, { ...framing, resize: { height: 16, width: 16 } });
    const column = (i: number) => i - (i % 16) + 15 - (i % 16);
    const mirror = squash.map((_, i) => squash[column(i)]).join();
    let mirrored = 0;
    for (let i = 0; i < 400; i++) {
      const out = augmented(picture, framing, { crop: whole, flip: 0.25 }, philox(4, 'flips', 0, i), 'a');
      const isMirrored = out.join() === mirror;
      expect(isMirrored || out.join() === squash.join()).toBe(true);
      mirrored += Number(isMirrored);
    }
    // Four standard errors of 400 draws.
    expect(Math.abs(mirrored / 400 - 0.25)).toBeLessThan(0.087);
  });
});

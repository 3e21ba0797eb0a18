// The corruptions against `imagecorruptions` 1.1.2 (fixture and its generator: test-fixtures/corruptions), and what must
// hold of them by themselves: shape, strength, and the same bytes wherever they run.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { FoveaError, sha256Hex } from '@fovea/artifacts';
import type { Rgb8 } from '@fovea/data';
import { describe, expect, it } from 'vitest';
import { BENCHMARK_15, CORRUPTIONS, type CorruptionName, HOLD_OUT_4, SEEDLESS } from './constants.ts';
import { centreSquare } from './frame.ts';
import { corrupt } from './index.ts';
import { digestOfAll, drawn, SEVERITIES, SMALL, VARIANTS } from './testing.ts';

interface Published {
  width: number;
  height: number;
  step: number;
  picture: string;
  fixed: Record<string, { sha256: string; samples: number[] }>;
  random: Record<string, { mean: number[]; spread: number[]; histogram: number[]; histogramSpread: number }>;
}

const FIXTURE = new URL('../../test-fixtures/corruptions/imagecorruptions.json', import.meta.url);
const published: Published = JSON.parse(readFileSync(FIXTURE, 'utf8'));
const picture = drawn(published.width, published.height);
const splitCell = (cell: string) => ({ name: cell.split('/')[0], severity: Number(cell.split('/')[1]) });

/** Mean, standard deviation, and root mean square differences of pixels 1, 2, 4, 8 and 16 apart. */
function statistics({ width, height, data }: Rgb8): number[] {
  const mean = data.reduce((a, b) => a + b, 0) / data.length;
  const std = Math.sqrt(data.reduce((a, b) => a + (b - mean) ** 2, 0) / data.length);
  const lags = [1, 2, 4, 8, 16].map((lag) => {
    let sum = 0;
    for (let y = 0; y < height; y++) {
      for (let k = 3 * y * width; k < 3 * ((y + 1) * width - lag); k++) sum += (data[k] - data[k + 3 * lag]) ** 2;
    }
    return Math.sqrt(sum / (3 * height * (width - lag)));
  });
  return [mean, std, ...lags];
}

function histogram({ data }: Rgb8): number[] {
  const counts = new Array<number>(16).fill(0);
  for (const value of data) counts[value >> 4] += 1 / data.length;
  return counts;
}

const meanChange = (a: Rgb8, b: Rgb8) =>
  a.data.reduce((sum, value, i) => sum + Math.abs(value - b.data[i]), 0) / a.data.length;
const columnMeans = (rows: number[][]) =>
  rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length);

describe('imagecorruptions', () => {
  it('was given the same picture', () => {
    expect(sha256Hex(picture.data)).toBe(published.picture);
  });

  it.each(Object.entries(published.fixed))('%s has the published pixels, one level off at most', (cell, expected) => {
    const { data } = corrupt(picture, { ...splitCell(cell), seed: 0 });
    const off = expected.samples.map((value, i) => Math.abs(data[i * published.step] - value));
    // At this width SciPy's rounding puts the last column of one zoom outside the picture, black; ours stays inside.
    const isBlackened = cell === 'zoom_blur/5';
    const known = off.filter((_, i) => !isBlackened || Math.floor((i * published.step) / 3) % published.width < 159);
    expect(Math.max(...known)).toBeLessThanOrEqual(1);
    expect(known.filter((each) => each > 0).length / known.length).toBeLessThan(0.01);
    // The published defocus goes through a Fourier transform, whose rounding may tip a pixel.
    if (!cell.startsWith('defocus_blur') && !isBlackened) expect(sha256Hex(data)).toBe(expected.sha256);
  });

  it.each(Object.entries(published.random))('%s has the published statistics', (cell, expected) => {
    const seeds = Array.from({ length: 8 }, (_, seed) => corrupt(picture, { ...splitCell(cell), seed }));
    columnMeans(seeds.map(statistics)).forEach((value, i) => {
      // Two means of eight seeds: 4 standard errors of their difference, and 1 % for what is rounded differently.
      const tolerance = 4 * expected.spread[i] * Math.sqrt(2 / 8) + 0.01 * expected.mean[i];
      expect(Math.abs(value - expected.mean[i]), `statistic ${i}`).toBeLessThanOrEqual(tolerance);
    });
    const distance = columnMeans(seeds.map(histogram)).reduce(
      (sum, p, i) => sum + Math.abs(p - expected.histogram[i]) / 2,
      0,
    );
    expect(distance).toBeLessThanOrEqual(0.01 + expected.histogramSpread);
  });

  it('has the 15 of the benchmark and 4 held out', () => {
    expect(new Set(CORRUPTIONS).size).toBe(19);
    expect([...BENCHMARK_15, ...HOLD_OUT_4]).toEqual([...CORRUPTIONS]);
    const compared = [...Object.keys(published.fixed), ...Object.keys(published.random)].map(
      (cell) => splitCell(cell).name,
    );
    // Frost is our own drawing.
    expect([...new Set(compared)].sort()).toEqual(CORRUPTIONS.filter((name) => name !== 'frost').sort());
  });
});

describe('frost', () => {
  it("is as bright, blue, rough and fine as the published photographs' crops, which make.py's package holds", () => {
    const side = 224;
    const black = { width: side, height: side, data: new Uint8Array(3 * side * side) };
    const windows = Array.from({ length: 24 }, (_, seed) => corrupt(black, { name: 'frost', severity: 5, seed }));
    const facts = columnMeans(
      windows.map(({ data }) => {
        const ice = Float64Array.from(data, (value) => value / 0.75);
        const grey = { width: side, height: side, data: new Uint8Array(ice.length) };
        for (let i = 0; i < ice.length; i++)
          grey.data[i] = (ice[i - (i % 3)] + ice[i - (i % 3) + 1] + ice[i - (i % 3) + 2]) / 3;
        const tones = [0, 1, 2].map((c) => ice.filter((_, i) => i % 3 === c).reduce((a, b) => a + b, 0) / side ** 2);
        return [...tones, ...statistics(grey).slice(1)];
      }),
    );
    // Red, green, blue, standard deviation, differences 1 to 16 apart, of 60 published crops.
    const measured = [150.1, 168.1, 179.8, 22.9, 13.4, 20.3, 23.6, 25.9, 27.3];
    facts.forEach((fact, i) => expect(Math.abs(fact / measured[i] - 1), `fact ${i}`).toBeLessThan(0.15));
  });
});

describe('corrupt', () => {
  it('leaves a picture alone where nothing is asked', () => {
    expect(corrupt(SMALL)).toBe(SMALL);
  });

  it.each([drawn(32, 32), drawn(33, 57), drawn(300, 32)])(
    'keeps the size and its argument, whatever the sides',
    (small) => {
      const before = sha256Hex(small.data);
      for (const variant of VARIANTS) {
        const { width, height, data } = corrupt(small, { ...variant, seed: 3 });
        expect([width, height, data.length]).toEqual([small.width, small.height, small.data.length]);
        expect(data).toBeInstanceOf(Uint8Array);
      }
      expect(sha256Hex(small.data)).toBe(before);
    },
  );

  it('takes flat, black and white pictures', () => {
    for (const value of [0, 128, 255]) {
      const flat = { width: 40, height: 40, data: new Uint8Array(4800).fill(value) };
      for (const variant of VARIANTS) expect(corrupt(flat, { ...variant, seed: 1 }).data).toHaveLength(4800);
      for (const name of ['gaussian_blur', 'glass_blur', 'zoom_blur', 'pixelate', 'contrast', 'jpeg_compression']) {
        const { data } = corrupt(flat, { name, severity: 3, seed: 1 });
        expect(Math.max(...data.map((each) => Math.abs(each - value)))).toBeLessThanOrEqual(2);
      }
    }
  });

  it.each([
    'gaussian_noise',
    'shot_noise',
    'impulse_noise',
    'speckle_noise',
    'gaussian_blur',
    'defocus_blur',
    'zoom_blur',
    'motion_blur',
    'contrast',
  ])('%s changes more at every severity', (name) => {
    const changes = SEVERITIES.map((severity) => {
      const seeds = SEEDLESS.has(name as CorruptionName) ? [0] : [0, 1, 2, 3, 4, 5, 6, 7];
      return (
        seeds.reduce((sum, seed) => sum + meanChange(SMALL, corrupt(SMALL, { name, severity, seed })), 0) / seeds.length
      );
    });
    expect(changes[0]).toBeGreaterThan(0);
    expect(changes).toEqual([...changes].sort((a, b) => a - b));
    expect(new Set(changes).size).toBe(5);
  });

  it('changes more behind the thick glass of severity 3 to 5 than behind that of 1 and 2', () => {
    // Published parameters do not rise one by one: 3 goes three rounds, 4 and 5 two.
    const changes = SEVERITIES.map((severity) =>
      meanChange(SMALL, corrupt(SMALL, { name: 'glass_blur', severity, seed: 0 })),
    );
    expect(Math.min(...changes.slice(2))).toBeGreaterThan(Math.max(...changes.slice(0, 2)));
  });

  it('draws by the seed, and only where something is drawn', () => {
    for (const { name, severity } of VARIANTS) {
      const [a, b, again] = [1, 2, 1].map((seed) => sha256Hex(corrupt(SMALL, { name, severity, seed }).data));
      expect(again).toBe(a);
      expect(a === b, `${name}/${severity}`).toBe(SEEDLESS.has(name));
    }
  });

  it('refuses what it cannot do in one sentence', () => {
    const refused = [
      [SMALL, { name: 'rain', severity: 1, seed: 0 }],
      [SMALL, { name: 'constructor', severity: 1, seed: 0 }],
      [SMALL, { name: 'fog', severity: 0, seed: 0 }],
      [SMALL, { name: 'fog', severity: 1.5, seed: 0 }],
      [SMALL, { name: 'fog', severity: 1, seed: -1 }],
      [SMALL, { name: 'fog', severity: 1, seed: 2 ** 32 }],
      [drawn(31, 40), { name: 'fog', severity: 1, seed: 0 }],
    ] as const;
    for (const [small, options] of refused) expect(() => corrupt(small, options)).toThrow(FoveaError);
  });
});

describe('centreSquare', () => {
  it('cuts the middle after the shorter edge was brought to size', () => {
    const wide = centreSquare(drawn(320, 160), 64);
    expect([wide.width, wide.height, wide.data.length]).toEqual([64, 64, 3 * 64 * 64]);
    const grey = {
      width: 73 * 2,
      height: 73,
      data: new Uint8Array(3 * 73 * 146).map((_, i) => (i % (3 * 146) < 219 ? 0 : 200)),
    };
    const { data } = centreSquare(grey, 64);
    expect([data[0], data[3 * 63]]).toEqual([0, 200]);
  });

  it('refuses a picture that would grow beyond measure', () => {
    const thread = { width: 1_000_000, height: 1, data: new Uint8Array(3_000_000) };
    expect(() => centreSquare(thread, 224)).toThrow(FoveaError);
  });
});

const TYPESCRIPT = ['--import', pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href];
const CHILD = fileURLToPath(new URL('../../test-fixtures/corruptions/child.ts', import.meta.url));

/** Rises with CORRUPTIONS_VERSION: scores of pictures with other bytes must not be compared. */
const DIGEST = '62a1cd54ee7eb6053e4fc069afb6e67eefdb269a7edece74b343085d4826bfbe';

describe('in other processes', () => {
  it('gives the same bytes, with whatever number of threads', async () => {
    const digests = await Promise.all([1, 8].map(digestOfChild));
    expect([digestOfAll(SMALL), ...digests]).toEqual([DIGEST, DIGEST, DIGEST]);
  });
});

async function digestOfChild(threads: number): Promise<string> {
  const child = spawn(process.execPath, [...TYPESCRIPT, CHILD, `${threads}`], {
    env: { ...process.env, UV_THREADPOOL_SIZE: `${threads}` },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.on('data', (chunk) => {
    said += chunk;
  });
  await new Promise((resolve) => child.on('close', resolve));
  return said.trim();
}

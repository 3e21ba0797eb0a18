// What the tests of the corruptions share: a picture drawn by whole numbers, so that Python draws the same one, and a digest
// of all that is made of it. Nothing of it is exported from the package.

import { sha256Hex } from '@fovea/artifacts';
import type { Rgb8 } from '@fovea/data';
import { CORRUPTIONS } from './constants.ts';
import { corrupt } from './index.ts';

/** Slopes, a disk, stripes, flat black and white: the same as picture() in test-fixtures/corruptions/make.py. */
export function drawn(width: number, height: number): Rgb8 {
  const data = new Uint8Array(3 * width * height);
  for (let i = 0; i < data.length; i++) {
    const [c, x, y] = [i % 3, Math.floor(i / 3) % width, Math.floor(i / 3 / width)];
    const slope = Math.floor((x * (3 + c) * 5 + y * (7 - 2 * c) * 3) / 4) % 512;
    let value = slope < 256 ? slope : 511 - slope;
    if ((x - 50) ** 2 + (y - 45) ** 2 < 900) value = 230 - 60 * c;
    if (x >= 110 && y < 90) value = ((x >> 2) + (y >> 3)) & 1 ? 40 + 50 * c : 200 - 40 * c;
    if (y >= 100 && x < 60) value = 255;
    if (y >= 100 && x >= 110) value = 0;
    data[i] = value;
  }
  return { width, height, data };
}

/** Not square, with odd sides. */
export const SMALL = drawn(121, 103);

export const SEVERITIES = [1, 2, 3, 4, 5];

/** Every corruption with its severities. */
export const VARIANTS = CORRUPTIONS.flatMap((name) => SEVERITIES.map((severity) => ({ name, severity })));

/** SHA-256 over all 95 variants of a picture. */
export function digestOfAll(picture: Rgb8): string {
  const all = VARIANTS.map((variant) => corrupt(picture, { ...variant, seed: 7 }).data);
  return sha256Hex(all.map((data) => sha256Hex(data)).join('\n'));
}

// The 19 corruptions of ImageNet-C at five severities, in plain TypeScript with our own seeded draws: the same picture,
// corruption and seed give the same bytes in every process and on every machine. They follow `imagecorruptions` 1.1.2;
// frost is drawn and not photographed (ice.ts), so a score that holds it is not comparable with a leaderboard's.

import { FoveaError } from '@fovea/artifacts';
import type { Rgb8 } from '@fovea/data';
import * as blur from './blur.ts';
import { CORRUPTIONS, type CorruptionName } from './constants.ts';
import * as digital from './digital.ts';
import * as noise from './noise.ts';
import { spatter } from './spatter.ts';
import * as weather from './weather.ts';

export {
  ALEXNET_ERROR,
  BENCHMARK_15,
  CORRUPTIONS,
  type CorruptionName,
  FAMILIES,
  HOLD_OUT_4,
  SEEDLESS,
} from './constants.ts';

/** Rises when any pixel of any corruption changes; part of what a suite is made from. */
export const CORRUPTIONS_VERSION = 1;

/** Smaller pictures are refused, as in `imagecorruptions`. */
export const MIN_SIDE = 32;

/** `level` is the severity less one. */
type Corrupt = (picture: Rgb8, level: number, draws: noise.Draws) => Rgb8;

const HOW: Record<CorruptionName, Corrupt> = {
  gaussian_noise: noise.gaussianNoise,
  shot_noise: noise.shotNoise,
  impulse_noise: noise.impulseNoise,
  defocus_blur: blur.defocusBlur,
  glass_blur: blur.glassBlur,
  motion_blur: blur.motionBlur,
  zoom_blur: blur.zoomBlur,
  snow: weather.snow,
  frost: weather.frost,
  fog: weather.fog,
  brightness: digital.brightness,
  contrast: digital.contrast,
  elastic_transform: digital.elasticTransform,
  pixelate: digital.pixelate,
  jpeg_compression: digital.jpegCompression,
  speckle_noise: noise.speckleNoise,
  gaussian_blur: blur.gaussianBlur,
  spatter,
  saturate: digital.saturate,
};

/** Which corruption, how strong (1 to 5), and whose draws (below 2³²); `name` is one of {@link CORRUPTIONS}. */
export interface CorruptionOptions {
  name: string;
  severity: number;
  seed: number;
}

const isName = (name: string): name is CorruptionName => (CORRUPTIONS as readonly string[]).includes(name);

/**
 * `picture` corrupted: a new picture of the same size, or `picture` itself where nothing is asked. Severities are in
 * pixels, so pictures of one suite should have one size; 224 × 224 is the published one. A picture of one grey is
 * treated as RGB. Throws a {@link FoveaError} for an unknown name, severity or seed, and for a side below 32 pixels.
 */
export function corrupt(picture: Rgb8, options?: CorruptionOptions): Rgb8 {
  if (options === undefined) return picture;
  const { name, severity, seed } = options;
  if (!isName(name)) {
    throw new FoveaError(`There is no corruption "${name}"; choose one of ${CORRUPTIONS.join(', ')}.`);
  }
  if (!Number.isInteger(severity) || severity < 1 || severity > 5) {
    throw new FoveaError(`The severity of "${name}" is ${severity}; make it 1, 2, 3, 4 or 5.`);
  }
  if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32) {
    throw new FoveaError(`The seed of "${name}" is ${seed}; make it a whole number from 0 to ${2 ** 32 - 1}.`);
  }
  const { width, height } = picture;
  if (Math.min(width, height) < MIN_SIDE) {
    throw new FoveaError(
      `A picture of ${width} × ${height} pixels is too small for "${name}"; make its sides at least ${MIN_SIDE}.`,
    );
  }
  return HOW[name](picture, severity - 1, noise.drawsOf(seed, name, severity));
}

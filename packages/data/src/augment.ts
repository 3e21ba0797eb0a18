// Random crops and flips of training pictures, drawn from a sample's own numbers: torchvision's RandomResizedCrop and
// RandomHorizontalFlip. What is read to be judged never comes here.

import type { ImageFolderConfig } from '@fovea/recipe';
import type { Rng } from '@fovea/tensor/random';
import { type Framing, frame, framedSize } from './preprocess.ts';
import type { Rgb8 } from './resample.ts';

export type Augment = NonNullable<ImageFolderConfig['augment']>;

/** Part of a picture, in pixels. */
export interface Box {
  top: number;
  left: number;
  height: number;
  width: number;
}

const TRIES = 10;

/**
 * A box of a share of the picture's area in `scale` and a width to height ratio in `ratio`, uniform in area, in the
 * ratio's logarithm and in place. Where ten draws do not fit the picture: the largest centred box, its ratio brought into
 * `ratio`.
 */
export function drawBox(
  rng: Rng,
  { height, width }: { height: number; width: number },
  { scale, ratio }: NonNullable<Augment['crop']>,
): Box {
  for (let i = 0; i < TRIES; i++) {
    const area = height * width * rng.between(...scale);
    const aspect = Math.exp(rng.between(Math.log(ratio[0]), Math.log(ratio[1])));
    const box = { height: halfToEven(Math.sqrt(area / aspect)), width: halfToEven(Math.sqrt(area * aspect)) };
    if (box.height < 1 || box.height > height || box.width < 1 || box.width > width) continue;
    const top = rng.int(height - box.height + 1);
    return { ...box, top, left: rng.int(width - box.width + 1) };
  }
  const within = Math.min(Math.max(width / height, ratio[0]), ratio[1]);
  const isNarrow = width / height < within;
  const box = {
    height: isNarrow ? Math.max(1, halfToEven(width / within)) : height,
    width: isNarrow ? width : Math.max(1, Math.min(width, halfToEven(height * within))),
  };
  return { ...box, top: Math.floor((height - box.height) / 2), left: Math.floor((width - box.width) / 2) };
}

/** As Python rounds. */
function halfToEven(x: number): number {
  return x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x);
}

/** The picture as `framing` frames it, but of a random part of it, or mirrored: [3, H, W], RGB in [0, 1]. */
export function augmented(
  picture: Rgb8,
  framing: Framing,
  { crop, flip }: Augment,
  rng: Rng,
  where: string,
): Float32Array<ArrayBuffer> {
  const isMirrored = rng.uniform() < flip;
  const size = framedSize(framing, picture);
  const pixels =
    crop === null
      ? frame(picture, framing, where)
      : frame(cut(picture, drawBox(rng, picture, crop)), { ...framing, resize: size, crop: null });
  if (isMirrored) for (let at = 0; at < pixels.length; at += size.width) pixels.subarray(at, at + size.width).reverse();
  return pixels;
}

function cut({ data, width: from }: Rgb8, { top, left, height, width }: Box): Rgb8 {
  const out = new Uint8Array(3 * height * width);
  for (let y = 0; y < height; y++) {
    const start = 3 * ((y + top) * from + left);
    out.set(data.subarray(start, start + 3 * width), 3 * y * width);
  }
  return { height, width, data: out };
}

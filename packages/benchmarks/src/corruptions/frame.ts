// The square that ImageNet-C corrupts: severities are in pixels, so pictures of one suite must have one size.

import { FoveaError } from '@fovea/artifacts';
import { type Rgb8, resample } from '@fovea/data';

/** A picture may not grow beyond this while its shorter edge is brought to size. */
const MAX_PIXELS = 50_000_000;

/**
 * The middle `side` × `side` pixels after the shorter edge was brought to side · 8 ⁄ 7, bilinear: 256 and 224, as the
 * published pictures were made. Throws a {@link FoveaError} for a picture too long for that.
 */
export function centreSquare(picture: Rgb8, side: number): Rgb8 {
  const edge = Math.round((side * 8) / 7);
  const shorter = Math.min(picture.width, picture.height);
  const [height, width] = [picture.height, picture.width].map((from) => Math.trunc((from * edge) / shorter));
  if (height * width > MAX_PIXELS) {
    throw new FoveaError(
      `A picture of ${picture.width} × ${picture.height} pixels is too long to bring its shorter edge to ${edge}; crop or remove it.`,
    );
  }
  const { data } = resample(picture, height, width, 'bilinear');
  const [top, left] = [Math.round((height - side) / 2), Math.round((width - side) / 2)];
  const out = new Uint8Array(3 * side * side);
  for (let y = 0; y < side; y++) {
    const from = 3 * ((top + y) * width + left);
    out.set(data.subarray(from, from + 3 * side), 3 * side * y);
  }
  return { width: side, height: side, data: out };
}

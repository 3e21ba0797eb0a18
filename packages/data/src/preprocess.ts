// A picture's bytes as an encoder wants them: decoded by sharp, then resized, cropped and normalised by the encoder's own
// rule, as transformers' processors do it with Pillow. `frame` stops before mean and std: its pixels serve an encoder and
// an autoencoder alike, each normalising for itself. Bytes are untrusted, as in image-folder.ts.

import { FoveaError, type Framing, type Preprocessing } from '@fovea/artifacts';
import sharp from 'sharp';
import { type Rgb8, resample } from './resample.ts';

export { type Framing, type Preprocessing, readPreprocessing } from '@fovea/artifacts';

export interface PictureOptions {
  /** Names the picture in errors. */
  where: string;
  /** Turn the picture as its EXIF orientation says. transformers' load_image does, PIL.Image.open does not. @default true */
  upright?: boolean;
  /** Larger pictures are refused before they are decoded. @default 50 million */
  maxPixels?: number;
}

/** Of a picture after its resize. */
const MAX_RESIZED = 50_000_000;
const FORMATS = new Set(['jpeg', 'png', 'webp']);

/**
 * A JPEG, PNG or WebP file as 8-bit RGB. Transparent pixels are laid on white, grey is repeated, CMYK is converted by
 * Pillow's formula, colour profiles are ignored as Pillow ignores them, 16 bits become 8. Throws a {@link FoveaError} that
 * names the picture where it is of another format, too large, cut short or damaged.
 */
export async function decodePicture(bytes: Uint8Array, options: PictureOptions): Promise<Rgb8> {
  const { where, upright = true, maxPixels = 50_000_000 } = options;
  const fail = (why: string): never => {
    throw new FoveaError(`The picture "${where}" cannot be read: ${why}; mend or remove it.`);
  };
  try {
    const source = sharp(bytes, { limitInputPixels: maxPixels, failOn: 'error', ignoreIcc: true, autoOrient: upright });
    const { format, width, height, space } = await source.metadata();
    if (!FORMATS.has(format)) fail(`it is ${format}, not JPEG, PNG or WebP`);
    if (width * height > maxPixels) fail(`it has ${width} × ${height} pixels, more than maxPixels ${maxPixels}`);
    const isCmyk = space === 'cmyk';
    const { data, info } = await (isCmyk
      ? source.pipelineColourspace('cmyk').toColourspace('cmyk')
      : source.toColourspace('srgb')
    )
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    const convert = isCmyk ? fromCmyk : CONVERSIONS[info.channels - 1];
    return { width: info.width, height: info.height, data: convert(data) };
  } catch (error) {
    if (error instanceof FoveaError) throw error;
    return fail((error as Error).message.trim().split('\n')[0]);
  }
}

/** Of pictures with 1 to 4 channels. */
const CONVERSIONS = [
  (grey: Uint8Array) => mapPixels(grey, 1, (_, from, at) => from[at]),
  (grey: Uint8Array) => mapPixels(grey, 2, (_, from, at) => onWhite(from[at], from[at + 1])),
  (rgb: Uint8Array) => rgb,
  (rgba: Uint8Array) => mapPixels(rgba, 4, (c, from, at) => onWhite(from[at + c], from[at + 3])),
];

const fromCmyk = (cmyk: Uint8Array): Uint8Array =>
  mapPixels(cmyk, 4, (c, from, at) => {
    const light = 255 - from[at + 3];
    return light - Math.round((from[at + c] * light) / 255);
  });

const onWhite = (value: number, alpha: number): number => Math.round((value * alpha + 255 * (255 - alpha)) / 255);

function mapPixels(from: Uint8Array, channels: number, to: (c: number, from: Uint8Array, at: number) => number) {
  const out = new Uint8Array((from.length / channels) * 3);
  for (let i = 0; i < out.length; i++) out[i] = to(i % 3, from, Math.floor(i / 3) * channels);
  return out;
}

interface Size {
  height: number;
  width: number;
}

/**
 * A framing to squares of `side`: an encoder's own with the proportion of its resize to its crop kept, so that at the
 * encoder's size nothing changes; for null the shorter edge to `side`, bicubic, and a centre crop. Throws a
 * {@link FoveaError} where the encoder's own gives no such square.
 */
export function squareFraming(side: number, own: Framing | null): Framing {
  const square = { height: side, width: side };
  if (own === null) return { resize: { shortestEdge: side }, resample: 'bicubic', crop: square, cropRounding: 'down' };
  const { resize, resample, crop, cropRounding = 'down' } = own;
  const scaled = (from: number, to: number) => Math.max(1, Math.round((from * side) / to));
  const refuse = (why: string): never => {
    throw new FoveaError(
      `Pictures cannot be framed to ${side} × ${side} as the encoder's preprocessing says: it ${why}.`,
    );
  };
  const to = (size: Framing['resize'], cut: Framing['crop'] = square): Framing => ({
    resize: size,
    resample,
    crop: cut,
    cropRounding,
  });
  if (resize === null) {
    const fits = crop?.height === side && crop.width === side;
    return fits ? to(null) : refuse('resizes nothing; let it, or make data.imageSize the side of its crop');
  }
  if (!('shortestEdge' in resize)) {
    if (crop === null) return to(square, null);
    return to({ height: scaled(resize.height, crop.height), width: scaled(resize.width, crop.width) });
  }
  if (crop !== null && crop.height !== crop.width) refuse('crops to no square; mend its crop_size');
  return to({ shortestEdge: crop === null ? side : scaled(resize.shortestEdge, crop.height) });
}

/** Sides of what {@link frame} gives for a picture of these sides. */
export function framedSize(p: Framing, picture: Size) {
  return p.crop ?? resizedSize(p, picture);
}

function resizedSize({ resize }: Framing, { height, width }: Size, where?: string) {
  if (resize === null) return { height, width };
  if (!('shortestEdge' in resize)) return resize;
  const { shortestEdge } = resize;
  const longest = Math.trunc((shortestEdge * Math.max(height, width)) / Math.min(height, width));
  if (longest * shortestEdge > MAX_RESIZED)
    throw new FoveaError(
      `${where === undefined ? 'A picture' : `The picture "${where}"`} of ${width} × ${height} pixels is too long to bring its shorter side to ${shortestEdge}; crop or remove it.`,
    );
  return width <= height ? { height: longest, width: shortestEdge } : { height: shortestEdge, width: longest };
}

/**
 * Resized and cropped, not normalised: RGB in [0, 1], [3, H, W]. Where the picture is smaller than the crop, black
 * surrounds it. `where` names the picture in errors.
 */
export function frame(picture: Rgb8, p: Framing, where?: string): Float32Array<ArrayBuffer> {
  const size = resizedSize(p, picture, where);
  const isSame = size.height === picture.height && size.width === picture.width;
  const resized = isSame ? picture : resample(picture, size.height, size.width, p.resample);
  const { height, width } = p.crop ?? size;
  const top = cropStart(size.height, height, p.cropRounding);
  const left = cropStart(size.width, width, p.cropRounding);
  const out = new Float32Array(3 * height * width);
  const [lastRow, lastColumn] = [Math.min(height, size.height - top), Math.min(width, size.width - left)];
  for (let y = Math.max(0, -top); y < lastRow; y++) {
    for (let x = Math.max(0, -left); x < lastColumn; x++) {
      const at = 3 * ((y + top) * size.width + x + left);
      for (let c = 0; c < 3; c++) out[(c * height + y) * width + x] = resized.data[at + c] / 255;
    }
  }
  return out;
}

/** Where a crop begins; a negative number is that much padding in front, the smaller half of an odd one. */
function cropStart(from: number, to: number, rounding: Framing['cropRounding'] = 'down'): number {
  const half = (from - to) / 2;
  if (half < 0) return -Math.floor(-half);
  if (rounding === 'down' || Number.isInteger(half)) return Math.floor(half);
  return 2 * Math.round(half / 2);
}

/** (pixels − mean) / std per channel of [3, H, W] or of several such, [B, 3, H, W] with `plane` = H · W. */
export function normalise(pixels: Float32Array, { mean, std }: Preprocessing, plane = pixels.length / 3): Float32Array {
  const out = new Float32Array(pixels.length);
  for (let start = 0, c = 0; start < out.length; start += plane, c = (c + 1) % 3) {
    const [m, s] = [mean[c], std[c]];
    for (let i = start; i < start + plane; i++) out[i] = (pixels[i] - m) / s;
  }
  return out;
}

/** A file's bytes, or an already decoded picture, as the encoder's input [3, H, W], with H and W as {@link framedSize} says. */
export async function preprocess(
  picture: Uint8Array | Rgb8,
  p: Preprocessing,
  options: PictureOptions,
): Promise<Float32Array> {
  const decoded = picture instanceof Uint8Array ? await decodePicture(picture, options) : picture;
  return normalise(frame(decoded, p, options.where), p);
}

// The icons as pixels: rasterised once by sharp, kept in one cache file per need, read back whole. A cache file that is
// short or damaged is made anew.

import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import sharp from 'sharp';
import { GLYPH_VARIANTS, glyphVariants } from './glyphs.ts';
import { iconSvg, iconsKey } from './icons.ts';

/** Icons are drawn this many times finer and averaged down. */
const OVERSAMPLE = 4;
/** Sprites are at most this large; bigger pictures scale them up. */
const MAX_SPRITE = 64;
/** Icons in flight in sharp's threads. */
const PARALLEL = 4;

export interface SpriteSheet {
  /** Side of a sprite in pixels. */
  size: number;
  styles: readonly string[];
  concepts: readonly string[];
  /** Premultiplied RGBA, [styles, concepts, size, size, 4]. */
  colour: Uint8Array;
  /** Ink coverage, [glyphStyles, concepts, GLYPH_VARIANTS, size, size]; empty if no style asked for it. */
  glyphs: Uint8Array;
  glyphStyles: readonly string[];
}

export interface SpriteQuery {
  imageSize: number;
  styles: readonly string[];
  concepts: readonly string[];
  /** Styles whose pseudo-monochrome variants are wanted. */
  glyphStyles: readonly string[];
  cacheDir: string;
}

/** Loads the sprites from the cache, or draws them and fills it. */
export async function loadSprites(query: SpriteQuery): Promise<SpriteSheet> {
  const { styles, concepts, glyphStyles, cacheDir } = query;
  const size = Math.min(query.imageSize, MAX_SPRITE);
  const colourBytes = styles.length * concepts.length * size * size * 4;
  const glyphBytes = glyphStyles.length * concepts.length * GLYPH_VARIANTS * size * size;
  const key = hash(JSON.stringify([iconsKey(styles), size, concepts, glyphStyles, GLYPH_VARIANTS]));
  const file = path.join(cacheDir, `emoji-${key.slice(0, 16)}.bin`);
  let bytes = await readCache(file, colourBytes + glyphBytes);
  if (!bytes) {
    bytes = await draw(query, size, colourBytes, glyphBytes);
    await writeCache(file, bytes);
  }
  return {
    size,
    styles,
    concepts,
    glyphStyles,
    colour: bytes.subarray(0, colourBytes),
    glyphs: bytes.subarray(colourBytes),
  };
}

const hash = (data: string | Uint8Array) => createHash('sha256').update(data).digest('hex');

/** The file's content without its trailing hash; null when it is absent, of another length, or damaged. */
async function readCache(file: string, length: number): Promise<Uint8Array | null> {
  const bytes = await readFile(file).catch(() => null);
  if (bytes?.length !== length + 32) return null;
  const body = bytes.subarray(0, length);
  return hash(body) === bytes.subarray(length).toString('hex') ? new Uint8Array(body) : null;
}

/** Best effort: a full or read-only disk costs time at the next start, not this run. */
async function writeCache(file: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${file}.${randomUUID()}`;
  try {
    await mkdir(path.dirname(file), { recursive: true });
    const handle = await open(temporary, 'wx');
    await handle.writeFile(Buffer.concat([bytes, Buffer.from(hash(bytes), 'hex')]));
    await handle.sync();
    await handle.close();
    await rename(temporary, file);
  } catch {
    await rm(temporary, { force: true }).catch(() => {});
  }
}

async function draw(query: SpriteQuery, size: number, colourBytes: number, glyphBytes: number): Promise<Uint8Array> {
  const { styles, concepts, glyphStyles } = query;
  const out = new Uint8Array(colourBytes + glyphBytes);
  const glyphSize = GLYPH_VARIANTS * size * size;
  const jobs = styles.flatMap((style, s) => concepts.map((label, c) => ({ style, label, s, c })));
  let next = 0;
  const work = async () => {
    for (let job = jobs[next++]; job; job = jobs[next++]) {
      const fine = await rasterise(job.style, job.label, size * OVERSAMPLE);
      out.set(average(fine, size * OVERSAMPLE, OVERSAMPLE), (job.s * concepts.length + job.c) * size * size * 4);
      const g = glyphStyles.indexOf(job.style);
      if (g < 0) continue;
      const at = g * concepts.length + job.c;
      const half = average(fine, size * OVERSAMPLE, 2);
      out.set(glyphVariants(half, (size * OVERSAMPLE) / 2, OVERSAMPLE / 2, at), colourBytes + at * glyphSize);
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, work));
  return out;
}

/** Premultiplied RGBA of an icon, [side, side, 4]. */
async function rasterise(style: string, label: string, side: number): Promise<Uint8Array> {
  const svg = iconSvg(style, label, side);
  if (!svg)
    throw new FoveaError(
      `The emoji set "${style}" does not draw "${label}"; leave the style or the concept out of the recipe's data.`,
    );
  const { data, info } = await sharp(Buffer.from(svg))
    .resize(side, side, { fit: 'fill' })
    .ensureAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  if (info.channels !== 4) throw new Error(`${style}/${label} rasterised to ${info.channels} channels`);
  const out = new Uint8Array(data.length);
  for (let i = 0; i < data.length; i += 4) {
    const alpha = data[i + 3];
    for (let c = 0; c < 3; c++) out[i + c] = Math.round((data[i + c] * alpha) / 255);
    out[i + 3] = alpha;
  }
  return out;
}

/** Mean over factor × factor blocks of an RGBA raster. */
function average(rgba: Uint8Array, side: number, factor: number): Uint8Array {
  const small = side / factor;
  const out = new Uint8Array(small * small * 4);
  const sum = new Float64Array(4);
  for (let y = 0; y < small; y++) {
    for (let x = 0; x < small; x++) {
      sum.fill(0);
      for (let dy = 0; dy < factor; dy++) {
        for (let dx = 0; dx < factor; dx++) {
          const at = ((y * factor + dy) * side + x * factor + dx) * 4;
          for (let c = 0; c < 4; c++) sum[c] += rgba[at + c];
        }
      }
      for (let c = 0; c < 4; c++) out[(y * small + x) * 4 + c] = Math.round(sum[c] / (factor * factor));
    }
  }
  return out;
}

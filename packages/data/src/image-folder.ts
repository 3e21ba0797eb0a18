// A user's own pictures: `root/class/…/file.jpg|jpeg|png|webp`. File names and bytes are untrusted: nothing outside the
// folder is followed, only three decoders are let near them, and a picture's size is bounded before it is decoded.

import { readdir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { FoveaError, sha256Hex } from '@fovea/artifacts';
import type { ImageFolderConfig } from '@fovea/recipe';
import { permutation } from '@fovea/tensor/random';
import sharp from 'sharp';
import type { Batch, BatchQuery, Dataset, Pictures } from './dataset.ts';

const ENDINGS = /\.(jpe?g|png|webp)$/i;
const FORMATS = new Set(['jpeg', 'png', 'webp']);

interface Picture {
  /** Path relative to the folder, with forward slashes. */
  name: string;
  label: number;
}

export class ImageFolder implements Dataset {
  readonly kind = 'image-folder';
  readonly classes: string[];
  readonly imageSize: number;
  readonly train: readonly Picture[];
  readonly heldOut: readonly Picture[];
  readonly #root: string;
  #lastOrder: { key: string; order: Int32Array } | null = null;
  readonly #maxPixels: number;

  constructor(root: string, config: ImageFolderConfig, classes: string[], train: Picture[], heldOut: Picture[]) {
    this.#root = root;
    this.#maxPixels = config.maxPixels;
    this.imageSize = config.imageSize;
    this.classes = classes;
    this.train = train;
    this.pictures.count = train.length;
    this.heldOut = heldOut;
  }

  get trainSize(): number {
    return this.train.length;
  }

  async trainBatch({ seed, stream, first, size }: BatchQuery): Promise<Batch> {
    const place = (_: unknown, i: number) => this.train[this.pictures.placeOf({ seed, stream }, first + i)];
    return this.read(Array.from({ length: size }, place));
  }

  readonly pictures: Pictures = {
    count: 0,
    key: async () => {
      const stamps = await Promise.all(
        this.train.map(async ({ name }) => {
          const { size, mtimeMs } = await stat(path.join(this.#root, name));
          return [name, size, mtimeMs];
        }),
      );
      const described = JSON.stringify([this.imageSize, stamps]);
      return sha256Hex(new TextEncoder().encode(described));
    },
    read: async (first, n) => (await this.read(this.train.slice(first, first + n))).pixels,
    placeOf: ({ seed, stream }, sample) => this.#order(seed, stream, sample)[sample % this.train.length],
  };

  /** The order of the epoch that a sample is in: sample i is picture i mod n of epoch ⌊i / n⌋. */
  #order(seed: number, stream: string, sample: number): Int32Array {
    const epoch = Math.floor(sample / this.train.length);
    const key = JSON.stringify([seed, stream, epoch]);
    if (this.#lastOrder?.key !== key)
      this.#lastOrder = { key, order: permutation(this.train.length, seed, `order/${stream}`, epoch) };
    return this.#lastOrder.order;
  }

  /** Decodes pictures, in the given order. */
  async read(pictures: readonly Picture[]): Promise<Batch> {
    const size = 3 * this.imageSize ** 2;
    const pixels = new Float32Array(pictures.length * size);
    await Promise.all(pictures.map(async (picture, i) => pixels.set(await this.#decode(picture), i * size)));
    return {
      pixels,
      labels: Int32Array.from(pictures, (picture) => picture.label),
      samples: pictures.map(({ label, name }) => ({ label, style: name, factors: null })),
    };
  }

  /** Upright, filled and cropped to the square, RGB in [0, 1], channels first. */
  async #decode({ name }: Picture): Promise<Float32Array> {
    const file = path.join(this.#root, name);
    const fail = (why: string): never => {
      throw new FoveaError(`The picture "${name}" cannot be read: ${why}; mend or remove it.`);
    };
    if (!(await realpath(file).catch(() => '')).startsWith(this.#root + path.sep))
      fail('it is gone or leads out of its folder');
    try {
      const source = sharp(file, { limitInputPixels: this.#maxPixels, failOn: 'error', sequentialRead: true });
      const { format, width, height } = await source.metadata();
      if (!FORMATS.has(format)) fail(`it is ${format}, not JPEG, PNG or WebP`);
      if (width * height > this.#maxPixels)
        fail(`it has ${width} × ${height} pixels, more than maxPixels ${this.#maxPixels}`);
      const { data } = await source
        .autoOrient()
        .resize(this.imageSize, this.imageSize, { fit: 'cover', kernel: 'cubic' })
        .flatten({ background: '#ffffff' })
        .toColourspace('srgb')
        .removeAlpha()
        .raw()
        .toBuffer({ resolveWithObject: true });
      return channelsFirst(data, this.imageSize);
    } catch (error) {
      if (error instanceof FoveaError) throw error;
      return fail((error as Error).message.split('\n')[0]);
    }
  }
}

function channelsFirst(data: Uint8Array, size: number): Float32Array {
  const plane = size * size;
  const channels = data.length / plane;
  const out = new Float32Array(3 * plane);
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) out[c * plane + i] = data[i * channels + (channels >= 3 ? c : 0)] / 255;
  }
  return out;
}

/** Lists the folder, splits every class by the seed, and refuses what cannot be trained on. */
export async function openImageFolder(
  config: ImageFolderConfig,
  recipeDir: string,
  seed: number,
): Promise<ImageFolder> {
  const given = path.resolve(recipeDir, config.path);
  const root = await realpath(given).catch(() => null);
  if (!root || !(await stat(root)).isDirectory()) {
    throw new FoveaError(
      `The picture folder "${config.path}" of the recipe's data cannot be read: no such folder; check the path.`,
    );
  }
  const folders = (await list(root, config.path)).filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'));
  const train: Picture[] = [];
  const heldOut: Picture[] = [];
  const classes: string[] = [];
  for (const { name } of folders.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const files = await listPictures(root, name, config.path);
    if (files.length === 0) continue;
    const label = classes.push(promptOf(name, config.path)) - 1;
    const order = permutation(files.length, seed, `split/${name}`);
    const kept = Math.min(files.length - 1, Math.round(files.length * config.holdOut));
    order.forEach((at, i) => {
      (i < kept ? heldOut : train).push({ name: files[at], label });
    });
  }
  if (classes.length < 2) {
    throw new FoveaError(
      `The picture folder "${config.path}" holds ${classes.length} class folders with pictures; at least 2 are needed, as class/picture.jpg (or .png, .webp).`,
    );
  }
  const twice = classes.find((name, i) => classes.indexOf(name) !== i);
  if (twice)
    throw new FoveaError(
      `The picture folder "${config.path}" has two class folders that both read "${twice}"; rename one.`,
    );
  return new ImageFolder(root, config, classes, train, heldOut);
}

/** A class folder's name as a prompt: lower-case words. Case alone does not tell two classes apart. */
function promptOf(name: string, folder: string): string {
  const prompt = name.toLowerCase().replace(/[_-]+/g, ' ').trim();
  if (!/[\p{L}\p{N}]/u.test(prompt)) {
    throw new FoveaError(
      `The class folder "${name}" in "${folder}" has a name without a letter or digit; rename it to what it shows.`,
    );
  }
  return prompt;
}

/** Picture files below a class folder, sorted; hidden files are left out, links are not followed. */
async function listPictures(root: string, name: string, shown: string): Promise<string[]> {
  return (await list(path.join(root, name), `${shown}/${name}`, true))
    .filter((entry) => entry.isFile() && ENDINGS.test(entry.name) && !entry.name.startsWith('.'))
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)).split(path.sep).join('/'))
    .sort();
}

function list(folder: string, shown: string, recursive = false) {
  return readdir(folder, { withFileTypes: true, recursive }).catch((error: NodeJS.ErrnoException) => {
    throw new FoveaError(
      `The folder "${shown}" of the recipe's data cannot be listed: ${error.code}; check its permissions.`,
    );
  });
}

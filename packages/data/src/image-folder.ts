// A user's own pictures: `root/class/…/file.jpg|jpeg|png|webp`. File names and bytes are untrusted: nothing outside the
// folder is followed, and their size is bounded before they are read and decoded (preprocess.ts). Every picture is framed by
// the rule of the encoder that looks at it; training may cut and mirror it at random (augment.ts).

import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { FoveaError, type Framing, sha256Hex } from '@fovea/artifacts';
import type { ImageFolderConfig } from '@fovea/recipe';
import { permutation, philox, type Rng } from '@fovea/tensor/random';
import { type Augment, augmented } from './augment.ts';
import type { Batch, BatchQuery, Dataset, Pictures } from './dataset.ts';
import { decodePicture, frame, squareFraming } from './preprocess.ts';

const ENDINGS = /\.(jpe?g|png|webp)$/i;
/** Streams of training pictures; probes, reports and evaluation see pictures whole. */
const AUGMENTED = /^(pretrain|projector|align)$/;
/** Pictures decoded at once: a photograph takes a hundred times the memory of what is kept of it. */
const LANES = 4;
/** Of a file beside its pixels, such as colour profiles and thumbnails. */
const MOST_METADATA = 2 ** 26;

interface Picture {
  /** Path relative to the folder, with forward slashes. */
  name: string;
  label: number;
}

interface Found {
  classes: string[];
  train: Picture[];
  heldOut: Picture[];
}

export class ImageFolder implements Dataset {
  readonly kind = 'image-folder';
  readonly classes: string[];
  readonly imageSize: number;
  /** How pictures are brought to squares of imageSize. */
  readonly framing: Framing;
  readonly train: readonly Picture[];
  readonly heldOut: readonly Picture[];
  readonly #root: string;
  #lastOrder: { key: string; order: Int32Array } | null = null;
  readonly #maxPixels: number;
  readonly #augment: Augment | null;

  constructor(root: string, config: ImageFolderConfig, framing: Framing, found: Found) {
    this.#root = root;
    this.#maxPixels = config.maxPixels;
    this.#augment = config.augment;
    this.imageSize = config.imageSize;
    this.framing = framing;
    this.classes = found.classes;
    this.train = found.train;
    this.heldOut = found.heldOut;
    this.pictures.count = found.train.length;
  }

  get trainSize(): number {
    return this.train.length;
  }

  async trainBatch({ seed, stream, first, size }: BatchQuery): Promise<Batch> {
    const place = (_: unknown, i: number) => this.train[this.pictures.placeOf({ seed, stream }, first + i)];
    const draw = (i: number) => philox(seed, `augment/${stream}`, 0, first + i);
    return this.#read(Array.from({ length: size }, place), AUGMENTED.test(stream) ? draw : null);
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
      const described = JSON.stringify([this.imageSize, this.framing, stamps]);
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

  /** Decodes and frames pictures, in the given order. */
  read(pictures: readonly Picture[]): Promise<Batch> {
    return this.#read(pictures, null);
  }

  async #read(pictures: readonly Picture[], draw: ((i: number) => Rng) | null): Promise<Batch> {
    const size = 3 * this.imageSize ** 2;
    const pixels = new Float32Array(pictures.length * size);
    const left = pictures.entries();
    const lane = async () => {
      for (const [i, picture] of left) pixels.set(await this.#pixels(picture, draw?.(i)), i * size);
    };
    await Promise.all(Array.from({ length: LANES }, lane));
    return {
      pixels,
      labels: Int32Array.from(pictures, (picture) => picture.label),
      samples: pictures.map(({ label, name }) => ({ label, style: name, factors: null })),
    };
  }

  /** RGB in [0, 1], [3, S, S]. */
  async #pixels({ name }: Picture, rng?: Rng): Promise<Float32Array> {
    const picture = await decodePicture(await this.#bytes(name), { where: name, maxPixels: this.#maxPixels });
    if (this.#augment && rng) return augmented(picture, this.framing, this.#augment, rng, name);
    return frame(picture, this.framing, name);
  }

  async #bytes(name: string): Promise<Uint8Array> {
    const fail = (why: string): never => {
      throw new FoveaError(`The picture "${name}" cannot be read: ${why}; mend or remove it.`);
    };
    const file = await realpath(path.join(this.#root, name)).catch(() => '');
    if (!file.startsWith(this.#root + path.sep)) fail('it is gone or leads out of its folder');
    const info = await stat(file).catch(() => null);
    if (!info?.isFile()) return fail('it is gone or is no file');
    // 16 bits of four channels.
    const most = 8 * this.#maxPixels + MOST_METADATA;
    if (info.size > most) fail(`it has ${info.size} bytes, more than ${this.#maxPixels} pixels (maxPixels) can take`);
    return readFile(file).catch((error: NodeJS.ErrnoException) => fail(`${error.code}`));
  }
}

/**
 * Lists the folder, splits every class by the seed, and refuses what cannot be trained on. `framing` is the encoder's own,
 * which is scaled to the recipe's imageSize; null for the shorter edge and a centre crop.
 */
export async function openImageFolder(
  config: ImageFolderConfig,
  recipeDir: string,
  seed: number,
  framing: Framing | null = null,
): Promise<ImageFolder> {
  const square = squareFraming(config.imageSize, framing);
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
  return new ImageFolder(root, config, square, { classes, train, heldOut });
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

// Pictures to features for subjects that look before they answer: framed to the encoder's input, encoded in chunks of
// one size, kept by key. A picture's feature depends on its pixels alone, whatever is asked beside it.

import { sha256Hex } from '@fovea/artifacts';
import { type Framing, frame, type Rgb8, squareFraming } from '@fovea/data';
import type { ImageTextEncoder } from '../image-text-encoder.ts';
import type { Request, Shown, SubjectRun } from './subject.ts';

/** An encoder as benchmarks ask it. */
export interface JudgedEncoder {
  encoder: ImageTextEncoder & {
    /** Pictures that it is given at once, always as many: fewer are padded. @default 64 */
    batch?: number;
    /** Those of the texts, or words of them, that it cannot read; without it, it reads all. */
    unreadable?(texts: readonly string[]): string[];
  };
  /** Hashes of weights and adapters, architecture, tokenizer, dtype, engine: see `Subject.identity`. */
  identity: Record<string, unknown>;
  /** Side of the square pictures that it takes. */
  imageSize: number;
  /** How its own preprocessing resizes and crops; null for the shorter edge, bicubic, and a centre crop. @default null */
  framing?: Framing | null;
  /** What cosines are multiplied by before probabilities are made of them: exp(logit_scale) of CLIP. @default 100 */
  logitScale?: number;
}

/** Pictures that are encoded together: as many as an evaluation has in memory at once, so that little is padded. */
export const CHUNK = 64;
/** Features that are kept, the oldest dropped first. */
const KEPT = 32_768;

export class Features {
  readonly dim: number;
  readonly framing: Framing;
  /** Pictures that are encoded together; fewer are padded, so that the arithmetic is always the same. */
  readonly batch: number;
  readonly #encoder: ImageTextEncoder;
  readonly #side: number;
  readonly #kept = new Map<string, Float32Array>();

  constructor({ encoder, imageSize, framing = null }: JudgedEncoder) {
    this.dim = encoder.dim;
    this.framing = squareFraming(imageSize, framing);
    this.batch = encoder.batch ?? CHUNK;
    this.#encoder = encoder;
    this.#side = imageSize;
  }

  /** Unit features [dim] of each picture, in order. */
  async of(pictures: readonly Shown[], run: SubjectRun = {}): Promise<Float32Array[]> {
    const found = new Map<string, Float32Array>();
    const wanted: Shown[] = [];
    for (const picture of pictures) {
      if (found.has(picture.key)) continue;
      const known = this.#kept.get(picture.key);
      found.set(picture.key, known ?? NOTHING);
      if (!known) wanted.push(picture);
    }
    for (let first = 0; first < wanted.length; first += this.batch) {
      run.signal?.throwIfAborted();
      const chunk = wanted.slice(first, first + this.batch);
      const features = await this.#encode(chunk.map(({ pixels }) => pixels));
      chunk.forEach(({ key }, i) => {
        const feature = features.slice(i * this.dim, (i + 1) * this.dim);
        found.set(key, feature);
        this.#keep(key, feature);
      });
    }
    return pictures.map(({ key }) => found.get(key) as Float32Array);
  }

  /** The features of each request's pictures. */
  async ofRequests(requests: readonly Request[], run: SubjectRun): Promise<Float32Array[][]> {
    const pictures = requests.flatMap((request) => request.pictures);
    const found = (await this.of(pictures, run)).values();
    return requests.map((request) => request.pictures.map(() => found.next().value as Float32Array));
  }

  async #encode(pictures: readonly Rgb8[]): Promise<Float32Array> {
    const size = 3 * this.#side ** 2;
    const pixels = new Float32Array(this.batch * size);
    pictures.forEach((picture, i) => {
      pixels.set(frame(picture, this.framing), i * size);
    });
    const features = await this.#encoder.imageFeatures(pixels, this.batch);
    if (features.length !== this.batch * this.dim)
      throw new Error(
        `imageFeatures gave ${features.length} numbers for ${this.batch} pictures of dimension ${this.dim}.`,
      );
    return features;
  }

  #keep(key: string, feature: Float32Array): void {
    if (this.#kept.size >= KEPT) this.#kept.delete(this.#kept.keys().next().value as string);
    this.#kept.set(key, feature);
  }
}

/** Equal keys are equal pixels, whatever suite, file or drawing they came from. */
export const pixelKey = ({ width, height, data }: Rgb8): string => `${width}x${height}:${sha256Hex(data)}`;

const NOTHING = new Float32Array(0);

/** Σ a·b in fp64. */
export function dot(a: Float32Array, b: Float32Array, bt = 0): number {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum += a[k] * b[bt + k];
  return sum;
}

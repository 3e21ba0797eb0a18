// Features of pictures for builders, which have no questions yet: read, framed and encoded in bounded portions. Subjects,
// which answer, look through subjects/features.ts themselves.

import { inParallel } from '@fovea/artifacts';
import type { Rgb8 } from '@fovea/data';
import type { Progress } from '../image-text-encoder.ts';
import { CHUNK, Features, type JudgedEncoder } from '../subjects/features.ts';
import type { Shown } from '../subjects/subject.ts';
import type { PictureFacts } from './user-files.ts';

export interface RunOptions {
  progress?: (event: Progress) => void;
  signal?: AbortSignal;
}

/** An independent model that has a say in what is asked. */
export interface FilterModel {
  judged: JudgedEncoder;
  /** Hash of its weights; goes into the manifest as `foil`. */
  id: string;
}

export type ReadPicture = (picture: PictureFacts) => Promise<Rgb8>;

/** Pictures decoded at once. */
const LANES = 4;
/** Of decoded pictures that wait for their turn together. */
const MOST_BYTES = 2 ** 29;

/** Gives `use` the unit feature [dim] of every picture, in their order; `text` says in progress what it is for. */
export async function eachFeature(
  judged: JudgedEncoder,
  pictures: readonly PictureFacts[],
  read: ReadPicture,
  { progress, signal, text }: RunOptions & { text: string },
  use: (feature: Float32Array, i: number) => void,
): Promise<void> {
  const features = new Features(judged);
  for (let first = 0; first < pictures.length; ) {
    signal?.throwIfAborted();
    const chunk = pictures.slice(first, first + portion(pictures, first));
    const shown = await inParallel(chunk, LANES, async (picture): Promise<Shown> => {
      return { key: picture.sha256, pixels: await read(picture) };
    });
    for (const [i, feature] of (await features.of(shown, { signal })).entries()) use(feature, first + i);
    first += chunk.length;
    progress?.({ step: first, steps: pictures.length, text });
  }
}

/** How many pictures from `first` on are encoded together: at least one, and no more than memory bears. */
function portion(pictures: readonly PictureFacts[], first: number): number {
  let bytes = 0;
  let count = 0;
  for (const { width, height } of pictures.slice(first, first + CHUNK)) {
    bytes += 3 * width * height;
    if (count > 0 && bytes > MOST_BYTES) break;
    count++;
  }
  return count;
}

// Features of many pictures of a suite outside its questions: galleries and probe rows. Read block by block, so that
// memory holds one block of pictures.

import type { PictureRef } from '../suite/item.ts';
import type { Suite } from '../suite/suite.ts';
import { type Features, pixelKey } from './features.ts';
import type { Shown, SubjectRun } from './subject.ts';

/** A feature per picture, in order; null where the picture cannot be read. */
export async function readFeatures(
  suite: Suite,
  pictures: readonly PictureRef[],
  features: Features,
  run: SubjectRun,
  text: string,
): Promise<(Float32Array | null)[]> {
  const out: (Float32Array | null)[] = [];
  for (let first = 0; first < pictures.length; first += features.batch) {
    run.signal?.throwIfAborted();
    const block = pictures.slice(first, first + features.batch);
    const shown = await Promise.all(
      block.map(async (picture): Promise<Shown | null> => {
        const pixels = await suite.read(picture).catch(() => null);
        return pixels === null ? null : { key: pixelKey(pixels), pixels };
      }),
    );
    const found = await features.of(
      shown.filter((picture) => picture !== null),
      run,
    );
    let at = 0;
    for (const picture of shown) out.push(picture === null ? null : found[at++]);
    run.progress?.({ step: out.length, steps: pictures.length, text });
  }
  return out;
}

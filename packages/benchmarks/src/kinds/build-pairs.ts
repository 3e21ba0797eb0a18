// Mines CLIP-blind pairs from an annotated set with two encoders, and asks about them by class name (mine-pairs.ts has the
// mining and the questions). The second encoder needs no text tower: only pictures are put to it.

import { FoveaError } from '@fovea/artifacts';
import { annotatedSchema, decodePicture, openAnnotated } from '@fovea/data';
import { z } from 'zod';
import type { Draft } from '../suite/draft.ts';
import { type FeatureMatrix, minedDraft, minePairs, minePairsSchema } from './mine-pairs.ts';
import { eachFeature, type FilterModel, type ReadPicture, type RunOptions } from './picture-features.ts';
import type { PictureFacts } from './user-files.ts';

export const pairsBuildSchema = z.strictObject({
  /** A set that gives every picture one class. */
  from: annotatedSchema,
  name: z.string().default('clip-blind-pairs'),
  ...minePairsSchema.shape,
});

/**
 * A suite of pairs that `confused` takes for nearly the same and `apart` does not; see {@link minePairs} for the rule and
 * {@link minedDraft} for the questions. Throws a {@link FoveaError} where the set gives no classes or no pair is found.
 */
export async function buildPairs(
  given: z.input<typeof pairsBuildSchema>,
  encoders: { confused: FilterModel; apart: FilterModel },
  run: RunOptions = {},
): Promise<Draft> {
  const { from, name, ...options } = pairsBuildSchema.parse(given);
  const { classes, rows, omitted, pictures: files } = await openAnnotated(from);
  const pictures = rows.map(({ image }) => image);
  const labels = rows.map(({ image, label }) => {
    const at = label === undefined ? -1 : classes.indexOf(label);
    if (at < 0)
      throw new FoveaError(`Pairs are asked about by class, and "${image.path}" has none; give a set that has.`);
    return at;
  });
  const read: ReadPicture = async ({ path }) => decodePicture(await files.read(path), { where: path });
  const confused = await featuresOf(encoders.confused, pictures, read, run);
  const apart = await featuresOf(encoders.apart, pictures, read, run);
  const pairs = await minePairs(confused, apart, options, run);
  const ids = { confused: encoders.confused.id, apart: encoders.apart.id };
  const draft = minedDraft(pairs, { pictures, labels, classes, encoders: ids, options, name });
  return { ...draft, omitted: [...omitted, ...draft.omitted] };
}

async function featuresOf(
  { judged }: FilterModel,
  pictures: readonly PictureFacts[],
  read: ReadPicture,
  run: RunOptions,
): Promise<FeatureMatrix> {
  const { dim } = judged.encoder;
  const values = new Float32Array(pictures.length * dim);
  await eachFeature(judged, pictures, read, { ...run, text: 'looking at pictures' }, (feature, i) => {
    values.set(feature, i * dim);
  });
  return { values, dim };
}

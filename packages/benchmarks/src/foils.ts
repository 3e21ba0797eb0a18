// Wrong names for right answers. They come from one independent encoder, or from the seed when there is none; the model
// under test never chooses its own, because it would then look better after any change.

import { philox } from '@fovea/tensor/random';
import type { ImageTextEncoder } from './image-text-encoder.ts';
import type { EvalPlan, Item, PlanOptions } from './plan.ts';
import { featuresOf, hardestWrong, namesOf } from './scoring.ts';

export interface Foils {
  /** Wrong class of each item. */
  foils: Int32Array;
  /** Positions of the items that the foil encoder gets wrong; empty without one. */
  wrong: number[];
}

/** The foil encoder with the features of all class names; null where there is none. */
export interface FoilSource {
  subject: ImageTextEncoder;
  /** [classes, dim] */
  names: Float32Array;
}

export async function openFoils({ foil }: PlanOptions, classes: string[]): Promise<FoilSource | null> {
  return foil === null ? null : { subject: foil, names: await namesOf(foil, classes) };
}

/**
 * Wrong names of `items`, whose pictures are first … first + items.length − 1. The hardest wrong name of the foil
 * encoder is its top-1 where that is wrong and its top-2 where it is right.
 */
export async function assignFoils(
  source: FoilSource | null,
  pictures: Pick<EvalPlan, 'classes' | 'imageSize' | 'render'>,
  items: readonly Item[],
  first: number,
  { eval: { seed }, progress, signal }: PlanOptions,
): Promise<Foils> {
  if (source === null) return { foils: randomFoils(items, pictures.classes.length, seed), wrong: [] };
  const { subject, names } = source;
  const features = await featuresOf(subject, pictures, first, items.length, {
    signal,
    progress: (event) => progress?.({ ...event, text: 'choosing wrong names' }),
  });
  const gold = items.map((item) => item.gold);
  const hardest = hardestWrong(features, names, subject.dim, gold);
  if (hardest.margin.some(Number.isNaN)) throw new Error('The foil encoder gives features that are not finite.');
  return { foils: hardest.wrong, wrong: gold.flatMap((_, i) => (hardest.margin[i] > 0 ? [] : [i])) };
}

/** A wrong class per item, uniform over the others, by the seed and the item's own id. */
function randomFoils(items: readonly Item[], classes: number, seed: number): Int32Array {
  return Int32Array.from(items, ({ id, gold }) => {
    const draw = philox(seed, `foil/${id}`).int(classes - 1);
    return draw < gold ? draw : draw + 1;
  });
}

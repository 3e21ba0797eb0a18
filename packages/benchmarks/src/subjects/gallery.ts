// Retrieval: every caption and every picture of a split, searched from either side. The gallery is computed once; the
// picture that is asked about stands in for its own entry, so a control that blurs it is not helped by the original.

import type { Answer } from '../judging/answer.ts';
import type { Item, ItemOf } from '../suite/item.ts';
import type { Suite } from '../suite/suite.ts';
import { errorAnswer, rankAmong } from './choosing.ts';
import type { Features } from './features.ts';
import { readFeatures } from './read-features.ts';
import type { SubjectRun } from './subject.ts';

export interface Gallery {
  /** Position of an item's picture. */
  place: Map<string, number>;
  /** Null where a picture cannot be read: it is nobody's rival. */
  images: (Float32Array | null)[];
  captions: string[];
  /** Positions of an item's captions. */
  own: Map<string, number[]>;
}

/** Whether an item asks to be found among others. */
export const isRetrieval = (item: Item): item is ItemOf<'retrieve'> => item.ask.kind === 'retrieve';

/** The galleries of a suite by split; none where it asks for no retrieval. */
export async function galleriesOf(suite: Suite, features: Features, run: SubjectRun): Promise<Map<string, Gallery>> {
  const out = new Map<string, Gallery>();
  const items = suite.items.filter(isRetrieval);
  const pictures = items.map((item) => item.pictures[0]);
  const found = await readFeatures(suite, pictures, features, run, 'gallery');
  items.forEach(({ id, split, ask }, i) => {
    let gallery = out.get(split);
    if (!gallery) out.set(split, (gallery = { place: new Map(), images: [], captions: [], own: new Map() }));
    gallery.place.set(id, gallery.images.length);
    gallery.images.push(found[i]);
    gallery.own.set(
      id,
      ask.captions.map((caption) => (gallery as Gallery).captions.push(caption) - 1),
    );
  });
  return out;
}

/** Ranks from both sides, by `score` of a picture's feature and a caption's position. */
export function ranksAnswer(
  id: string,
  seen: Float32Array,
  gallery: Gallery,
  score: (feature: Float32Array, caption: number) => number,
): Answer {
  const own = gallery.own.get(id) as number[];
  const place = gallery.place.get(id) as number;
  const toTexts = gallery.captions.map((_, caption) => score(seen, caption));
  if (!toTexts.every(Number.isFinite)) return errorAnswer('The encoder gives features that are not finite.');
  const toImage = own.map((caption) => {
    const scores = gallery.images.map((image, i) =>
      i === place ? toTexts[caption] : image === null ? Number.NaN : score(image, caption),
    );
    return rankAmong(scores, [place]);
  });
  return { kind: 'ranks', toText: rankAmong(toTexts, own), toImage };
}

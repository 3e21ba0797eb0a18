// POPE over pictures of several things: its published builder on what was painted, so that random, popular and
// adversarial negatives mean what they mean there and every answer is exact.

import type { EmojiWorld } from '@fovea/data';
import { askPope, type PopeSplit } from '../kinds/build-pope.ts';
import type { PopeQuestion } from '../kinds/pope-questions.ts';
import type { Draft } from '../suite/draft.ts';
import { drawObjects, type ObjectScene, objectRows, thingsOf } from './objects.ts';
import { sceneRef } from './scene.ts';
import { BARE, count, lots, needsClasses, sourceOf, type TwinItem, type TwinOptions } from './twin.ts';

const RANGE = [3, 5] as const;
const PICTURES = 300;
/** Positives, and as many negatives, per picture. */
const K = 3;

export async function emojiPope(world: EmojiWorld, options: TwinOptions = {}): Promise<Draft> {
  needsClasses(world, RANGE[1] + K, 'POPE');
  const things = thingsOf(world);
  const wanted = count(PICTURES, options);
  const drawn = new Map(
    Array.from({ length: wanted }, (_, i): [string, ObjectScene] => [
      `picture-${i}`,
      drawObjects(world, things, lots(options, 'pope', 'item', i), RANGE),
    ]),
  );
  const rows = [...drawn].map(([image, { objects }]) => ({ image, objects }));
  const { splits, notes } = askPope(rows, { count: wanted, k: K, seed: options.seed ?? 0 });
  return {
    name: 'emoji-pope',
    kind: 'pope',
    title: 'POPE on drawn pictures of 3 to 5 things',
    source: sourceOf(world, 'pope', options),
    prompt: { ...BARE, id: 'official' },
    omitted: [],
    notes,
    items: [...splits].flatMap(([split, questions]) => itemsOf(split, questions, drawn)),
    probes: objectRows(world, options),
  };
}

function itemsOf(split: PopeSplit, questions: readonly PopeQuestion[], drawn: ReadonlyMap<string, ObjectScene>) {
  const partners = new Map(questions.map(({ pair, gold, object }) => [`${pair}/${gold}`, object as string]));
  return questions.map(({ number, image, object, text, gold, pair }): TwinItem => {
    const asked = object as string;
    const other = partners.get(`${pair}/${gold === 'yes' ? 'no' : 'yes'}`) as string;
    return {
      id: `${split}/${number}`,
      split,
      cluster: image,
      pair: `${split}/${pair}`,
      pictures: [sceneRef((drawn.get(image) as ObjectScene).scene)],
      ask: {
        kind: 'yesno',
        question: text,
        gold,
        texts: [asked, other],
        claims: [
          { target: `has/${asked}`, value: 1 },
          { target: `has/${asked}`, value: 0 },
        ],
      },
      meta: { object: asked },
    };
  });
}

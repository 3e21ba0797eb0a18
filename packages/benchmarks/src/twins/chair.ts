// CHAIR over pictures of several things: what is there is known, so what a caption makes up can be counted.

import type { EmojiWorld } from '@fovea/data';
import type { Draft } from '../suite/draft.ts';
import { drawObjects, objectRows, thingsOf } from './objects.ts';
import { sceneRef } from './scene.ts';
import { count, lots, needsClasses, sourceOf, type TwinItem, type TwinOptions } from './twin.ts';

const RANGE = [2, 5] as const;
const PICTURES = 300;

export async function emojiChair(world: EmojiWorld, options: TwinOptions = {}): Promise<Draft> {
  needsClasses(world, RANGE[1], 'CHAIR');
  const things = thingsOf(world);
  const names = things.map(({ name }) => name);
  const items = Array.from({ length: count(PICTURES, options) }, (_, i): TwinItem => {
    const { scene, objects } = drawObjects(world, things, lots(options, 'chair', 'item', i), RANGE);
    return {
      id: `chair/${i}`,
      split: 'all',
      cluster: `chair/${i}`,
      pictures: [sceneRef(scene)],
      ask: { kind: 'caption', gold: objects, references: [] },
      meta: { objects: objects.length },
    };
  });
  const several = names.filter((name) => name.includes(' '));
  return {
    name: 'emoji-chair',
    kind: 'chair',
    title: 'CHAIR on drawn pictures of 2 to 5 things',
    source: sourceOf(world, 'chair', options),
    prompt: { id: 'chair', template: 'Please describe this image in detail.' },
    lexicon: {
      nodes: Object.fromEntries(names.map((name) => [name, [name]])),
      doubleWords: Object.fromEntries(several.map((name) => [name, name])),
    },
    omitted: [],
    notes: ['The gold objects are those painted; a thing in another’s drawing (a flag on a castle) is not counted.'],
    items,
    probes: objectRows(world, options),
  };
}

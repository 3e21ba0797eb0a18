// Image–text retrieval over pictures of several things: a caption names what is there, and no two pictures of the suite
// hold the same things.

import type { EmojiWorld } from '@fovea/data';
import type { Draft } from '../suite/draft.ts';
import { drawObjects, namesText, objectRows, thingsOf } from './objects.ts';
import { sceneRef } from './scene.ts';
import { count, lots, needsClasses, sourceOf, type TwinItem, type TwinOptions } from './twin.ts';

const RANGE = [1, 3] as const;
const PICTURES = 300;

export async function emojiRetrieval(world: EmojiWorld, options: TwinOptions = {}): Promise<Draft> {
  needsClasses(world, 10, 'retrieval');
  const things = thingsOf(world);
  const wanted = count(PICTURES, options);
  const items: TwinItem[] = [];
  const seen = new Set<string>();
  for (let i = 0; items.length < wanted && i < 20 * wanted; i++) {
    const { scene, objects } = drawObjects(world, things, lots(options, 'retrieval', 'item', i), RANGE);
    const text = namesText(objects);
    if (seen.has(text)) continue;
    seen.add(text);
    items.push({
      id: `retrieval/${items.length}`,
      split: 'all',
      cluster: `retrieval/${items.length}`,
      pictures: [sceneRef(scene)],
      ask: { kind: 'retrieve', captions: [text] },
      meta: { objects: objects.length },
    });
  }
  return {
    name: 'emoji-retrieval',
    kind: 'retrieval',
    title: 'Image–text retrieval on drawn pictures of 1 to 3 things',
    source: sourceOf(world, 'retrieval', options),
    prompt: { id: 'retrieval', template: '{question}' },
    omitted:
      items.length < wanted ? [{ what: `${wanted - items.length} pictures`, reason: 'too few different sets' }] : [],
    notes: ['Captions are the names of the things in alphabetic order; no two pictures hold the same set.'],
    items,
    probes: objectRows(world, options),
  };
}

// Numbers that a probe reads off a picture: the ground's colour, how many icons there are, where the only one is and how
// it is turned.

import { drawComposition, type EmojiWorld } from '@fovea/data';
import type { Rng } from '@fovea/tensor/random';
import type { Draft } from '../suite/draft.ts';
import { sceneRef } from './scene.ts';
import { BARE, count, lots, sourceOf, type TwinItem, type TwinOptions, type TwinRow } from './twin.ts';

const PICTURES = 250;
const ROWS = 1000;
const MOST = 4;
/** Degrees either way; beyond half a turn the angle would have two values for one picture. */
const TURN = 45;

/** `one`: a single icon anywhere, turned. `several`: 1 to 4 icons of one concept. */
type Sort = 'one' | 'several';

function draw(world: EmojiWorld, rng: Rng, sort: Sort) {
  const { styles } = world.sceneOptions(world.config.trainStyles);
  const look = { style: styles[rng.int(styles.length)], concept: rng.int(world.classes.length) };
  const number = sort === 'one' ? 1 : 1 + rng.int(MOST);
  const scene = drawComposition(rng, Array(number).fill(look), {
    scale: sort === 'one' ? [0.5, 0.7] : [0.3, 0.4],
    rotation: sort === 'one' ? TURN : 0,
  });
  const mean = (of: 'x' | 'y' | 'rotation') => scene.icons.reduce((sum, icon) => sum + icon[of] / number, 0);
  const { from, to } = scene.background;
  return {
    picture: sceneRef(scene),
    cluster: world.classes[look.concept],
    values: {
      colour: from.map((v, c) => (v + to[c]) / 2),
      count: [number],
      position: [mean('x'), mean('y')],
      orientation: [mean('rotation')],
    },
  };
}

const ASKED: readonly [keyof ReturnType<typeof draw>['values'], Sort][] = [
  ['colour', 'one'],
  ['position', 'one'],
  ['orientation', 'one'],
  ['count', 'several'],
];

export async function emojiProbes(world: EmojiWorld, options: TwinOptions = {}): Promise<Draft> {
  const items = Array.from({ length: count(PICTURES, options) }).flatMap((_, i) => {
    const drawn = {
      one: draw(world, lots(options, 'probes-one', 'item', i), 'one'),
      several: draw(world, lots(options, 'probes-several', 'item', i), 'several'),
    };
    return ASKED.map(([target, sort]): TwinItem => {
      const { picture, cluster, values } = drawn[sort];
      return {
        id: `${target}/${i}`,
        split: target,
        cluster,
        pictures: [picture],
        ask: { kind: 'estimate', target, gold: values[target] },
        meta: { target, class: cluster },
      };
    });
  });
  const probes = Array.from({ length: ROWS }, (_, i): TwinRow => {
    const sort = i % 2 === 0 ? 'one' : 'several';
    const { picture, cluster, values } = draw(world, lots(options, `probes-${sort}`, 'probe', i), sort);
    return { id: `p${i}`, cluster, picture, targets: values };
  });
  return {
    name: 'emoji-probes',
    kind: 'probes',
    title: 'Colour, count, position and orientation read off the features',
    source: sourceOf(world, 'probes', options),
    prompt: BARE,
    omitted: [],
    notes: [
      'colour: the ground’s mean, channels 0..1; position: 0..1 from the left and top; orientation: clockwise degrees.',
    ],
    items,
    probes,
  };
}

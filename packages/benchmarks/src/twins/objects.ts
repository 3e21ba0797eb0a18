// Pictures of several different things, drawn as photographs are: some things are common, and things of one kind come
// together. Presence, co-occurrence and captions are exact.

import { type Composition, drawComposition, type EmojiWorld } from '@fovea/data';
import type { Rng } from '@fovea/tensor/random';
import { sceneRef } from './scene.ts';
import { lots, presence, type TwinOptions, type TwinRow } from './twin.ts';

/** Things that pictures are drawn from; more of them would leave each in too few pictures for a probe. */
const THINGS = 48;
/** A thing is of the picture's kind with this probability, of any kind otherwise. */
const TOGETHER = 0.6;
const OVERLAP = 0.15;

export interface Thing {
  name: string;
  concept: number;
  group: string;
  /** How common it is: 1 / (rank + 4), a long tail. */
  weight: number;
}

export interface ObjectScene {
  scene: Composition;
  /** Names, none twice, in painting order. */
  objects: string[];
}

/** The first concepts of a world whose names do not lie in one another, so that captions can be read. */
export function thingsOf(world: EmojiWorld): Thing[] {
  const concepts = world.concepts();
  const words = (name: string) => ` ${name} `;
  const chosen: Thing[] = [];
  for (const [concept, { name, group }] of concepts.entries()) {
    if (chosen.length === THINGS) break;
    const clashes = chosen.some(
      (other) => words(other.name).includes(words(name)) || words(name).includes(words(other.name)),
    );
    if (!clashes) chosen.push({ name, concept, group, weight: 1 / (chosen.length + 4) });
  }
  return chosen;
}

/** One picture of `least` to `most` different things. */
export function drawObjects(
  world: EmojiWorld,
  things: readonly Thing[],
  rng: Rng,
  [least, most]: readonly [number, number],
): ObjectScene {
  const number = least + rng.int(most - least + 1);
  const styles = world.sceneOptions(world.config.trainStyles).styles;
  const { group } = weighted(things, rng);
  const chosen: Thing[] = [];
  while (chosen.length < number) {
    const left = things.filter((thing) => !chosen.includes(thing));
    const kin = left.filter((thing) => thing.group === group);
    const isKin = rng.uniform() < TOGETHER && kin.length > 0;
    chosen.push(weighted(isKin ? kin : left, rng));
  }
  const looks = chosen.map(({ concept }) => ({ style: styles[rng.int(styles.length)], concept }));
  const { rotation } = world.config;
  return {
    scene: drawComposition(rng, looks, { rotation, overlap: OVERLAP }),
    objects: chosen.map(({ name }) => name),
  };
}

function weighted(things: readonly Thing[], rng: Rng): Thing {
  let lot = rng.uniform() * things.reduce((sum, { weight }) => sum + weight, 0);
  return things.find(({ weight }) => (lot -= weight) < 0) ?? things[things.length - 1];
}

/** Pictures of 1 to 5 things that probes of presence are fitted on, from lots of their own; shared by all suites of things. */
const ROWS = 1600;
const ROW_RANGE = [1, 5] as const;

export function objectRows(world: EmojiWorld, options: TwinOptions): TwinRow[] {
  const things = thingsOf(world);
  const names = things.map(({ name }) => name);
  return Array.from({ length: ROWS }, (_, i) => {
    const { scene, objects } = drawObjects(world, things, lots(options, 'objects', 'probe', i), ROW_RANGE);
    return {
      id: `p${i}`,
      cluster: `p${i}`,
      picture: sceneRef(scene),
      targets: presence(names, new Set(objects)),
    };
  });
}

/** Names and nothing else: the order says nothing about places. */
export const namesText = (objects: readonly string[]): string => [...objects].sort().join(' ');

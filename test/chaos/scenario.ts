// What a scenario is: a name, what it does to a world, and how much of it the short form does.

import type { Rng } from '@fovea/tensor/random';
import type { World, WorldOptions } from './world.ts';

export interface Scenario {
  name: string;
  /** Part of the short form. */
  short: boolean;
  /** A world of its own, with these differences; else it shares one with its neighbours. */
  own?: WorldOptions;
  /** Why it cannot be run on this machine; null if it can. */
  skip?: () => string | null;
  /** Disturbs runs of the world and throws where something does not hold; how often what was done, for the table. */
  run(world: World, about: { random: Rng; short: boolean }): Promise<Done>;
}

export interface Done {
  /** Processes that were killed or stopped. */
  kills: number;
  runs: number;
  text: string;
}

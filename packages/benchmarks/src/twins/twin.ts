// What every emoji twin is made of: options, names, prompts, and probe rows about classes. A twin asks what a published
// benchmark asks, of pictures whose truth is known because they were drawn from it.

import { FoveaError } from '@fovea/artifacts';
import { drawScene, type EmojiWorld } from '@fovea/data';
import { philox, type Rng } from '@fovea/tensor/random';
import type { ImageTextEncoder, Progress } from '../image-text-encoder.ts';
import type { Draft } from '../suite/draft.ts';
import { sceneRef } from './scene.ts';

export interface TwinOptions {
  /** All scenes and questions follow from it. @default 0 */
  seed?: number;
  /** Size of the suite against its default: 0.1 asks about a tenth of the pictures. @default 1 */
  share?: number;
  /** Chooses wrong names and hard scenes; null draws them from the seed. @default null */
  foil?: { encoder: ImageTextEncoder; id: string } | null;
  progress?: (event: Progress) => void;
  signal?: AbortSignal;
}

export type Twin = (world: EmojiWorld, options?: TwinOptions) => Promise<Draft>;

export type TwinItem = Draft['items'][number];
export type TwinRow = Draft['probes'][number];

export const BARE = { id: 'bare', template: '{question}' };

/** A number of pictures under the options' share; at least one. */
export const count = (full: number, { share = 1 }: TwinOptions): number => Math.max(1, Math.round(full * share));

/** The lots of one picture: `part` is `item` or `probe`, which never meet. */
export const lots = ({ seed = 0 }: TwinOptions, suite: string, part: 'item' | 'probe', index: number): Rng =>
  philox(seed, `twin/${suite}/${part}`, 0, index);

/** What all twins say of where they come from. */
export function sourceOf(world: EmojiWorld, builder: string, options: TwinOptions, more = {}): Draft['source'] {
  const { seed = 0, share = 1, foil = null } = options;
  const data = world.config as unknown as Draft['source'];
  return { builder: `emoji-${builder}`, version: 1, world: data, seed, share, foil: foil?.id ?? null, ...more };
}

/** Targets of one picture: 1 for what is there, 0 for what is not. */
export function presence(names: readonly string[], there: ReadonlySet<string>): Record<string, number[]> {
  return Object.fromEntries(names.map((name) => [`has/${name}`, there.has(name) ? YES : NO]));
}
const YES = [1];
const NO = [0];

/** Scenes of one icon each for probes of classes, as many of every concept: `has/<class>` is 1 for one of them. */
const CLASS_ROWS = 8;

/** Probe rows shared by all suites that ask for a class. */
export function classRows(world: EmojiWorld, options: TwinOptions): TwinRow[] {
  const { classes } = world;
  const drawing = world.sceneOptions(world.config.trainStyles);
  return Array.from({ length: CLASS_ROWS * classes.length }, (_, i) => {
    const concept = i % classes.length;
    const drawn = drawScene(lots(options, 'classes', 'probe', i), { ...drawing, concepts: { only: concept } });
    return {
      id: `p${i}`,
      cluster: `draw-${Math.floor(i / classes.length)}`,
      picture: sceneRef(drawn),
      targets: presence(classes, new Set([classes[concept]])),
    };
  });
}

/** Throws where a world is too small to ask in. */
export function needsClasses(world: EmojiWorld, least: number, what: string): void {
  if (world.classes.length >= least) return;
  throw new FoveaError(
    `The emoji twin of ${what} needs a world of at least ${least} concepts, and this one has ${world.classes.length}.`,
  );
}

// The world that twins are drawn in, and the encoder that chooses their wrong names, where it knows the world's.

import { BUILTIN, EncoderSubject, FOIL, readWeightFile } from '@fovea/alignment';
import { FoveaError, fileHash } from '@fovea/artifacts';
import { type EmojiWorld, isEmojiWorld, openDataset } from '@fovea/data';
import { loadRecipe, type Recipe } from '@fovea/recipe';
import { corrupt } from '../corruptions/index.ts';
import type { Suite } from '../suite/suite.ts';
import { suiteOf } from '../suite/suite-of.ts';
import { emojiTwins, twinReader } from './index.ts';

/** Stands for all twins. */
export const ALL_TWINS = 'emoji';
const DEFAULT_WORLD = 'emoji';
const FOIL_RECIPE = 'emoji-foil';

/** Names of twins, `emoji` spelled out. Throws a FoveaError for one that is none. */
export function twinsNamed(name: string): string[] {
  if (name === ALL_TWINS) return Object.keys(emojiTwins);
  if (Object.hasOwn(emojiTwins, name)) return [name];
  throw new FoveaError(
    `There is no built-in suite "${name}"; those are ${ALL_TWINS} (all of them), ${Object.keys(emojiTwins).join(', ')}.`,
  );
}

export class Twins {
  readonly #world: EmojiWorld;
  readonly #foil: { encoder: EncoderSubject; id: string } | null;

  private constructor(world: EmojiWorld, foil: { encoder: EncoderSubject; id: string } | null) {
    this.#world = world;
    this.#foil = foil;
  }

  /** `given`: the data of a recipe, whose world it is where it has one; the default world otherwise. */
  static async open(cacheDir: string, given: Recipe['data'] | null): Promise<Twins> {
    const { recipe, recipeDir } = await loadRecipe(DEFAULT_WORLD);
    const config = given?.kind === 'emoji-world' ? given : recipe.data;
    const world = await openDataset(config, { recipeDir, cacheDir, seed: 0 });
    if (!isEmojiWorld(world)) throw new Error(`The recipe ${DEFAULT_WORLD} has no emoji world.`);
    const foilRecipe = await loadRecipe(FOIL_RECIPE);
    const encoder = await EncoderSubject.open(await readWeightFile(FOIL, ''), foilRecipe.recipe, '');
    const fits = encoder.imageSize === world.imageSize && encoder.unreadable(world.classes).length === 0;
    if (fits) return new Twins(world, { encoder, id: await fileHash(BUILTIN[FOIL], cacheDir) });
    await encoder.dispose();
    return new Twins(world, null);
  }

  async build(name: string): Promise<Suite> {
    return suiteOf(await emojiTwins[name](this.#world, { foil: this.#foil }), twinReader(this.#world, corrupt));
  }

  async close(): Promise<void> {
    await this.#foil?.encoder.dispose();
  }
}

// Suites from what the command line names: folders of the user's, and the emoji twins that are drawn on the spot in the
// world of the checkpoint's recipe, or in the default one.

import { access } from 'node:fs/promises';
import path from 'node:path';
import { BUILTIN, EncoderSubject, FOIL, readWeightFile } from '@fovea/alignment';
import { FoveaError, fileHash } from '@fovea/artifacts';
import { corrupt, emojiTwins, limited, readSuite, type Suite, suiteOf, twinReader } from '@fovea/benchmarks/judging';
import { isEmojiWorld, openDataset } from '@fovea/data';
import { loadRecipe, type Recipe } from '@fovea/recipe';
import type { Home } from '../home.ts';
import type { EvalRequest } from './request.ts';

/** Stands for all twins. */
export const ALL_TWINS = 'emoji';
const DEFAULT_WORLD = 'emoji';

export const twinNames = (): string[] => Object.keys(emojiTwins);

/** `data`: of the checkpoint's recipe; null for the default world. */
export async function openSuites(
  home: Home,
  { suites, images, limit, seed }: Pick<EvalRequest, 'suites' | 'images' | 'limit' | 'seed'>,
  data: Recipe['data'] | null,
): Promise<Suite[]> {
  const opened: Suite[] = [];
  let twins: Twins | null = null;
  try {
    for (const name of suites) {
      if (name in emojiTwins) twins ??= await Twins.open(home, data);
      const suite =
        name in emojiTwins ? await twins!.build(name) : await readSuite(name, { images: images ?? undefined });
      opened.push(limit === null ? suite : limited(suite, limit, seed));
    }
  } finally {
    await twins?.close();
  }
  return opened;
}

/** Names of twins as they are, folders as absolute paths. Throws a FoveaError for what is neither. */
export async function nameSuites(text: string, fromUser: (given: string) => string): Promise<string[]> {
  const given = text.split(',').map((name) => name.trim());
  const named: string[] = [];
  for (const name of given.flatMap((each) => (each === ALL_TWINS ? twinNames() : [each]))) {
    const folder = fromUser(name);
    const isFolder = await access(path.join(folder, 'suite.json')).then(
      () => true,
      () => false,
    );
    if (!isFolder && !Object.hasOwn(emojiTwins, name))
      throw new FoveaError(
        `There is no suite "${name}": no folder with a suite.json, and no built-in one; those are ${twinNames().join(', ')}.`,
      );
    named.push(isFolder ? folder : name);
  }
  return named;
}

/** The world that twins are drawn in, and the encoder that chooses wrong names, where it knows the world's. */
class Twins {
  readonly #world: Parameters<typeof twinReader>[0];
  readonly #foil: { encoder: EncoderSubject; id: string } | null;

  private constructor(world: Parameters<typeof twinReader>[0], foil: { encoder: EncoderSubject; id: string } | null) {
    this.#world = world;
    this.#foil = foil;
  }

  static async open(home: Home, given: Recipe['data'] | null): Promise<Twins> {
    const { recipe, recipeDir } = await loadRecipe(DEFAULT_WORLD);
    const config = given?.kind === 'emoji-world' ? given : recipe.data;
    const world = await openDataset(config, { recipeDir, cacheDir: home.cacheDir, seed: 0 });
    if (!isEmojiWorld(world)) throw new Error(`The recipe ${DEFAULT_WORLD} has no emoji world.`);
    const foilRecipe = await loadRecipe('emoji-foil');
    const encoder = await EncoderSubject.open(await readWeightFile(FOIL, ''), foilRecipe.recipe, '');
    const fits = encoder.imageSize === world.imageSize && encoder.unreadable(world.classes).length === 0;
    if (fits) return new Twins(world, { encoder, id: await fileHash(BUILTIN[FOIL], home.cacheDir) });
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

// A recipe's data set as its encoder wants it. The rule by which a folder's pictures are framed stands beside the encoder's
// weights; it is read here and handed down, since data knows no encoder.

import path from 'node:path';
import { type EmojiWorld, type ImageFolder, openDataset } from '@fovea/data';
import type { Recipe } from '@fovea/recipe';
import { preprocessingOf } from './pictures.ts';

export type RecipeData = EmojiWorld | ImageFolder;

/** Opens a recipe's data set. Throws a FoveaError where its folder, or what the encoder says of pictures, cannot be used. */
export async function openData(recipe: Recipe, where: { recipeDir: string; cacheDir: string }): Promise<RecipeData> {
  const { data, encoder, seed } = recipe;
  const isFramed = data.kind === 'image-folder' && encoder.kind === 'pretrained';
  const framing = isFramed ? await preprocessingOf(path.resolve(where.recipeDir, encoder.from)) : null;
  return openDataset(data, { ...where, seed, framing });
}

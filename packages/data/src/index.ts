import type { Framing } from '@fovea/artifacts';
import type { DataConfig } from '@fovea/recipe';
import type { Dataset } from './dataset.ts';
import { type EmojiWorld, openEmojiWorld } from './emoji-world.ts';
import { type ImageFolder, openImageFolder } from './image-folder.ts';

export * from './annotated/index.ts';
export * from './augment.ts';
export * from './composition.ts';
export { CONCEPTS } from './concepts.ts';
export * from './dataset.ts';
export { type EmojiConcept, EmojiWorld, openEmojiWorld } from './emoji-world.ts';
export { type EmojiLicence, emojiLicences, STYLES } from './icons.ts';
export { ImageFolder, openImageFolder } from './image-folder.ts';
export type { Ground, IconLook, IconPose } from './painting.ts';
export * from './preprocess.ts';
export { type ResampleFilter, type Rgb8, resample } from './resample.ts';
export * from './scene.ts';
export type { SpriteSheet } from './sprites.ts';

/** Opens a recipe's data set; `framing` is how the encoder wants a folder's pictures, see openImageFolder. */
export function openDataset(
  config: DataConfig,
  where: { recipeDir: string; cacheDir: string; seed: number; framing?: Framing | null },
): Promise<EmojiWorld | ImageFolder> {
  if (config.kind === 'emoji-world') return openEmojiWorld(config, where.cacheDir);
  return openImageFolder(config, where.recipeDir, where.seed, where.framing);
}

export const isEmojiWorld = (dataset: Dataset): dataset is EmojiWorld => dataset.kind === 'emoji-world';

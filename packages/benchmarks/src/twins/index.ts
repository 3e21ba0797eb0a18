// The emoji twins by name: every kind of benchmark on pictures that are drawn, with exact ground truth, so that all of
// them run on a fresh machine. A twin is a draft; with `twinReader` it becomes a suite.

import { FoveaError } from '@fovea/artifacts';
import type { EmojiWorld, Rgb8 } from '@fovea/data';
import type { Corruption, PictureRef } from '../suite/item.ts';
import { emojiChair } from './chair.ts';
import { emojiClassify, emojiCorruptions, emojiCueConflict } from './classes.ts';
import { emojiProbes } from './factors.ts';
import { emojiMmvp, emojiMmvpVlm } from './mmvp.ts';
import { emojiPairs } from './pairs.ts';
import { emojiPope } from './pope.ts';
import { emojiRetrieval } from './retrieval.ts';
import { emojiRobustvqa } from './robustvqa.ts';
import { paintScene } from './scene.ts';
import type { Twin } from './twin.ts';

export type { Twin, TwinOptions } from './twin.ts';

/** What builds each twin. */
export const emojiTwins: Readonly<Record<string, Twin>> = {
  'emoji-pope': emojiPope,
  'emoji-robustvqa': emojiRobustvqa,
  'emoji-mmvp': emojiMmvp,
  'emoji-mmvp-vlm': emojiMmvpVlm,
  'emoji-pairs': emojiPairs,
  'emoji-chair': emojiChair,
  'emoji-classify': emojiClassify,
  'emoji-retrieval': emojiRetrieval,
  'emoji-corruptions': emojiCorruptions,
  'emoji-cue-conflict': emojiCueConflict,
  'emoji-probes': emojiProbes,
};

/** Paints and corrupts the pictures of a twin: the `read` of its suite. */
export function twinReader(
  world: EmojiWorld,
  corrupt: (picture: Rgb8, corruption: Corruption) => Rgb8 | Promise<Rgb8>,
): (picture: PictureRef) => Promise<Rgb8> {
  return async (picture) => {
    if (picture.kind !== 'scene')
      throw new FoveaError(`The picture "${picture.path}" is a file, and an emoji twin has none; mend its items.`);
    const painted = paintScene(world, picture.scene);
    return picture.corruption ? corrupt(painted, picture.corruption) : painted;
  };
}

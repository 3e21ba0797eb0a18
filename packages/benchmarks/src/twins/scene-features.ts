// What an encoder sees of drawn scenes, for twins whose questions it chooses.

import type { EmojiWorld, Scene } from '@fovea/data';
import type { ImageTextEncoder } from '../image-text-encoder.ts';
import { Features } from '../subjects/features.ts';
import { paintScene } from './scene.ts';
import type { TwinOptions } from './twin.ts';

/** Unit features as rows [scenes.length, dim]. */
export async function sceneFeatures(
  world: EmojiWorld,
  encoder: ImageTextEncoder,
  scenes: readonly Scene[],
  text: string,
  run: TwinOptions,
): Promise<Float32Array> {
  const reader = new Features({ encoder, imageSize: world.imageSize, identity: {} });
  const features = new Float32Array(scenes.length * encoder.dim);
  for (let first = 0; first < scenes.length; first += reader.batch) {
    const block = scenes.slice(first, first + reader.batch);
    const shown = block.map((scene, i) => ({ key: String(first + i), pixels: paintScene(world, scene) }));
    (await reader.of(shown, run)).forEach((feature, i) => {
      features.set(feature, (first + i) * encoder.dim);
    });
    run.progress?.({ step: first + block.length, steps: scenes.length, text });
  }
  return features;
}

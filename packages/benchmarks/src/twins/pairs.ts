// CLIP-blind pairs of the emoji world: scenes of two concepts that the independent encoder takes for nearly the same. What
// tells them apart for certain is the concept that they were drawn from, in the place of a self-supervised encoder.

import { drawScene, type EmojiWorld, type Scene } from '@fovea/data';
import { type MinedPair, minePairs } from '../kinds/mine-pairs.ts';
import type { Draft } from '../suite/draft.ts';
import { paintScene, sceneRef } from './scene.ts';
import { sceneFeatures } from './scene-features.ts';
import { BARE, classRows, count, lots, needsClasses, sourceOf, type TwinItem, type TwinOptions } from './twin.ts';

/** Scenes among which pairs are looked for, of every concept as many. */
const SCENES = 1440;
const PAIRS = 150;
/** Least cosine of a pair: lower than CLIP's 0.95, since an encoder of few concepts spreads them wide. */
const ABOVE = 0.5;

/** Which picture shows which concept, asked of the pairs that the independent encoder confuses most. */
export async function emojiPairs(world: EmojiWorld, options: TwinOptions = {}): Promise<Draft> {
  needsClasses(world, 2, 'CLIP-blind pairs');
  const { classes } = world;
  const styles = [...world.config.trainStyles, ...world.config.redrawStyles];
  const scenes = Array.from({ length: count(SCENES, options) }, (_, i) =>
    drawScene(lots(options, 'pairs', 'item', i), {
      ...world.sceneOptions(styles),
      concepts: { only: i % classes.length },
    }),
  );
  const confused = await confusedBy(world, scenes, options);
  const apart = { values: oneHot(scenes, classes.length), dim: classes.length };
  const limit = count(PAIRS, options);
  const pairs = await minePairs(confused, apart, { above: ABOVE, below: 0.5, limit }, options);
  return {
    name: 'emoji-pairs',
    kind: 'mmvp-vlm',
    title: 'Scenes of two concepts that another encoder confuses',
    source: sourceOf(world, 'pairs', options, { above: ABOVE, limit }),
    prompt: BARE,
    omitted: pairs.length < limit ? [{ what: 'pairs', reason: `only ${pairs.length} of ${limit} are that alike` }] : [],
    notes: [
      options.foil
        ? 'pairs are chosen by an independent encoder'
        : 'pairs are chosen by their pixels: no encoder was given',
      'the concept that a scene was drawn from stands for an encoder that tells the pictures apart',
    ],
    items: pairs.flatMap((pair, i) => questions(world, scenes, pair, i)),
    probes: classRows(world, options),
  };
}

/** Features of the encoder, or the pixels about their mean where there is none. */
async function confusedBy(world: EmojiWorld, scenes: readonly Scene[], options: TwinOptions) {
  if (options.foil) {
    const { encoder } = options.foil;
    return { values: await sceneFeatures(world, encoder, scenes, 'looking for pairs', options), dim: encoder.dim };
  }
  const dim = 3 * world.imageSize ** 2;
  const values = new Float32Array(scenes.length * dim);
  for (const [i, scene] of scenes.entries()) {
    const { data } = paintScene(world, scene);
    const mean = data.reduce((sum, x) => sum + x, 0) / dim;
    values.set(
      Float32Array.from(data, (x) => x - mean),
      i * dim,
    );
  }
  return { values, dim };
}

function oneHot(scenes: readonly Scene[], dim: number): Float32Array {
  const values = new Float32Array(scenes.length * dim);
  scenes.forEach(({ concept }, i) => {
    values[i * dim + concept] = 1;
  });
  return values;
}

/** Both statements over both pictures, in MMVP-VLM's form. */
function questions(
  { classes }: EmojiWorld,
  scenes: readonly Scene[],
  { a, b, similar }: MinedPair,
  i: number,
): TwinItem[] {
  const shown = [scenes[a], scenes[b]];
  return shown.map(
    ({ concept }, gold): TwinItem => ({
      id: `pair-${i}/${gold}`,
      split: 'all',
      cluster: `pair-${i}`,
      pair: `pair-${i}`,
      pictures: shown.map(sceneRef),
      ask: { kind: 'pick', text: classes[concept], gold, claim: { target: `has/${classes[concept]}`, value: 1 } },
      meta: { pattern: 'concept', similar: Number(similar.toPrecision(7)) },
    }),
  );
}

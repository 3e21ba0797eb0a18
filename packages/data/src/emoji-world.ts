// The emoji world as a data set: unlimited scenes of the training styles, each drawn from its own numbers.

import { FoveaError } from '@fovea/artifacts';
import type { EmojiWorldConfig } from '@fovea/recipe';
import { philox } from '@fovea/tensor/random';
import { CONCEPTS } from './concepts.ts';
import type { Batch, BatchQuery, Dataset } from './dataset.ts';
import { emojibaseEntry, STYLES } from './icons.ts';
import { drawScene, factorsOf, renderScene, type Scene, type SceneOptions } from './scene.ts';
import { loadSprites, type SpriteSheet } from './sprites.ts';

export interface EmojiConcept {
  name: string;
  group: string;
  hexcode: string;
}

/** Streams whose pictures are augmented: the stages that make weights, and their probes. Align and evaluation see plain scenes. */
const AUGMENTED = /^(pretrain|projector)\b/;

export class EmojiWorld implements Dataset {
  readonly kind = 'emoji-world';
  readonly trainSize = Number.POSITIVE_INFINITY;
  readonly classes: string[];
  readonly imageSize: number;
  readonly config: EmojiWorldConfig;
  readonly sheet: SpriteSheet;
  readonly #trainStyles: number[];
  readonly #openGlyphs: () => Promise<SpriteSheet>;
  #glyphs: Promise<SpriteSheet> | null = null;

  constructor(config: EmojiWorldConfig, sheet: SpriteSheet, openGlyphs: () => Promise<SpriteSheet>) {
    this.config = config;
    this.#openGlyphs = openGlyphs;
    this.sheet = sheet;
    this.imageSize = config.imageSize;
    this.classes = [...sheet.concepts];
    this.#trainStyles = config.trainStyles.map((style) => sheet.styles.indexOf(style));
  }

  /** Concepts with their emojibase group and code points. */
  concepts(): EmojiConcept[] {
    return this.classes.map((name) => ({ name, ...(emojibaseEntry(name) ?? { group: 'unknown', hexcode: '' }) }));
  }

  /** Index of a style in the sheet. */
  styleIndex(style: string): number {
    return this.sheet.styles.indexOf(style);
  }

  /** Ways of drawing a plain scene of given styles. */
  sceneOptions(styles: readonly string[]): SceneOptions {
    const { scale, rotation } = this.config;
    return { styles: styles.map((style) => this.styleIndex(style)), concepts: this.classes.length, scale, rotation };
  }

  /** The same sprites with the pseudo-monochrome drawings of the training styles; drawn when first asked for. */
  inkedSheet(): Promise<SpriteSheet> {
    this.#glyphs ??= this.#openGlyphs();
    return this.#glyphs;
  }

  /** Paints scenes: [scenes.length, 3, S, S]. Inked scenes need a sheet that has the pseudo-monochrome drawings. */
  render(scenes: readonly Scene[], sheet = this.sheet): Float32Array {
    const size = 3 * this.imageSize ** 2;
    const pixels = new Float32Array(scenes.length * size);
    scenes.forEach((scene, i) => {
      renderScene(sheet, scene, this.imageSize, pixels, i * size);
    });
    return pixels;
  }

  async trainBatch({ seed, stream, first, size }: BatchQuery): Promise<Batch> {
    const { monochrome, monochromeRamp, hue, scale, rotation } = this.config;
    const augmented = AUGMENTED.test(stream);
    const inked = augmented && monochrome > 0;
    const sheet = inked ? await this.inkedSheet() : this.sheet;
    const scenes = Array.from({ length: size }, (_, i) => {
      const ramp = stream === 'pretrain' && monochromeRamp > 0 ? Math.min(1, (first + i) / monochromeRamp) : 1;
      const options = {
        styles: this.#trainStyles,
        concepts: this.classes.length,
        scale,
        rotation,
        monochrome: inked ? monochrome * ramp : 0,
        hue: augmented ? hue * ramp : 0,
      };
      return drawScene(philox(seed, `scene/${stream}`, 0, first + i), options);
    });
    return {
      pixels: this.render(scenes, sheet),
      labels: Int32Array.from(scenes, (scene) => scene.concept),
      samples: scenes.map((scene) => ({
        label: scene.concept,
        style: this.sheet.styles[scene.style],
        factors: factorsOf(scene),
      })),
    };
  }
}

/** Opens the emoji world; draws the icons at the first time and reads them from `cacheDir` afterwards. */
export async function openEmojiWorld(config: EmojiWorldConfig, cacheDir: string): Promise<EmojiWorld> {
  const styles = [...config.trainStyles, ...config.redrawStyles, ...config.heldOutStyles];
  const unknown = styles.filter((style) => !(STYLES as readonly string[]).includes(style));
  if (unknown.length > 0) {
    throw new FoveaError(
      `The recipe's data names the emoji style "${unknown[0]}", which does not exist; the styles are ${STYLES.join(', ')}.`,
    );
  }
  const twice = styles.find((style, i) => styles.indexOf(style) !== i);
  if (twice)
    throw new FoveaError(
      `The recipe's data names the emoji style "${twice}" twice; a style is either trained on, re-drawn or held out.`,
    );
  if (config.concepts !== 'all' && config.concepts > CONCEPTS.length) {
    throw new FoveaError(
      `The recipe's data asks for ${config.concepts} concepts, but the emoji world has ${CONCEPTS.length}; ask for fewer.`,
    );
  }
  const concepts = config.concepts === 'all' ? CONCEPTS : CONCEPTS.slice(0, config.concepts);
  const open = (glyphStyles: readonly string[]) =>
    loadSprites({ imageSize: config.imageSize, styles, concepts, glyphStyles, cacheDir });
  return new EmojiWorld(config, await open([]), () => open(config.trainStyles));
}

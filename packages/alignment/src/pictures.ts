// The half of a run that sees: its encoder, and the text tower that names are scored by. Either the project's own small
// CLIP, or a folder's.

import path from 'node:path';
import { FoveaError, type Preprocessing, readPreprocessing } from '@fovea/artifacts';
import {
  bagsOf,
  encodeImage,
  encodeText,
  linear,
  openEncoder,
  type PretrainedEncoder,
  readJson,
  readTokenizer,
  textSpecs,
  type VisionConfig,
  visionSpecs,
} from '@fovea/models';
import type { BuiltinEncoder, Recipe } from '@fovea/recipe';
import { type Frozen, interpolate, type Tensor, tf } from '@fovea/tensor';
import type { Encoder, Networks, TextTower } from './networks.ts';

type Pictures = Pick<Networks, 'encoder' | 'text' | 'start'>;

/** What zero-shot prompts are made of (Radford et al. 2021). */
const PROMPT = (name: string) => `a photo of a ${name}.`;

export async function openPictures(
  recipe: Recipe,
  recipeDir: string,
  vocabulary: readonly string[],
): Promise<Pictures> {
  const { encoder, data } = recipe;
  if (encoder.kind === 'builtin') return builtinPictures(encoder, data.imageSize, vocabulary);
  const folder = path.resolve(recipeDir, encoder.from);
  const pictures = await openPretrained(folder, encoder.imageSize);
  if (pictures.text === null && recipe.stages.some((stage) => stage.stage === 'align' && stage.contrastive > 0))
    throw new FoveaError(
      `The encoder "${encoder.from}" has no text tower, so there is no image–text loss; set "contrastive: 0" in the align stage.`,
    );
  return pictures;
}

/** The encoder of a folder by itself; `imageSize` is its own where none is given. */
export async function openPretrained(
  folder: string,
  imageSize?: number,
): Promise<Pictures & { start: NonNullable<Pictures['start']> }> {
  const opened = await openEncoder(folder);
  const text = opened.text === null ? null : textOf(opened, folder);
  return { encoder: await encoderOf(opened, folder, imageSize), text, start: () => opened.weights() };
}

function builtinPictures(c: BuiltinEncoder, imageSize: number, vocabulary: readonly string[]): Pictures {
  const vision: VisionConfig = { imageSize, ...c };
  const patches = (imageSize / c.patchSize) ** 2;
  const encoder: Encoder = {
    specs: visionSpecs(vision),
    shape: {
      imageSize: { height: imageSize, width: imageSize },
      patches,
      prefix: 1,
      width: c.width,
      projection: c.projection,
    },
    widest: (patches + 1) * Math.max(3, c.mlpRatio) * c.width,
    encode: (p, pixels) => encodeImage(p, pixels, vision),
    maps: null,
    project: (p, tokens) => linear(p, 'visual_projection', tokens),
  };
  const text: TextTower = {
    specs: textSpecs({ vocabulary: vocabulary.length, width: c.width, projection: c.projection }),
    describe: (names, prompt = (name) => name) => ({
      shape: [names.length, vocabulary.length],
      dtype: 'float32',
      data: bagsOf(names.map(prompt), [...vocabulary]),
    }),
    encode: encodeText,
  };
  return { encoder, text, start: null };
}

async function encoderOf(opened: PretrainedEncoder, folder: string, imageSize?: number): Promise<Encoder> {
  const { specs, shape: own, encode, project } = opened.picture;
  const shape = imageSize === undefined ? own : resized(own, imageSize);
  const { mean, std } = await preprocessingOf(folder);
  const perChannel = (values: readonly number[]) => tf.tensor(values as number[], [1, 3, 1, 1]);
  const { height, width } = shape.imageSize;
  return {
    specs,
    shape,
    widest: (shape.prefix + shape.patches) * 4 * shape.width,
    encode(p, pixels) {
      const isSame = pixels.shape[2] === height && pixels.shape[3] === width;
      const sized = isSame ? pixels : interpolate(pixels, { size: [height, width], mode: 'bicubic', antialias: true });
      return encode(p, tf.div(tf.sub(sized, perChannel(mean)), perChannel(std)) as Tensor);
    },
    maps: opened.picture.maps,
    project,
  };
}

/** The same encoder for squares of another size: its patches keep theirs. */
function resized(shape: Encoder['shape'], imageSize: number): Encoder['shape'] {
  const patch = Math.round(Math.sqrt((shape.imageSize.height * shape.imageSize.width) / shape.patches));
  const patches = Math.floor(imageSize / patch) ** 2;
  if (patches === 0)
    throw new FoveaError(`The encoder's imageSize ${imageSize} is less than its patch of ${patch}; raise it.`);
  return { ...shape, imageSize: { height: imageSize, width: imageSize }, patches };
}

/** What an encoder's folder says of its pictures. */
export async function preprocessingOf(folder: string): Promise<Preprocessing> {
  for (const name of ['open_clip_config.json', 'preprocessor_config.json']) {
    const json = await readJson(folder, name);
    if (json !== null) return readPreprocessing(json, `"${path.basename(folder)}/${name}"`);
  }
  await openEncoder(folder); // A folder that is no encoder has its own sentence.
  throw new FoveaError(
    `The encoder "${folder}" has no preprocessor_config.json, so nobody knows how its pictures are framed and normalised; put it beside the weights.`,
  );
}

function textOf(opened: PretrainedEncoder, folder: string): TextTower {
  const { specs, length, encode } = opened.text as NonNullable<PretrainedEncoder['text']>;
  const describe: TextTower['describe'] = (names, prompt = PROMPT): Frozen => ({
    shape: [names.length, length],
    dtype: 'int32',
    data: readTokenizer(folder).encode(names.map(prompt), length),
  });
  return { specs, describe, encode: (p, ids) => encode(p, ids).embeds };
}

// An encoder as it comes from a folder, the way `from_pretrained` takes one: config.json says which network it is, the
// safetensors beside it hold the weights, preprocessor_config.json says how pictures are made ready. Every tensor of the
// files has its place and every parameter its tensor, or there is an error that names them.

import { stat } from 'node:fs/promises';
import path from 'node:path';
import { FoveaError, type MappedTensor, OPEN_CLIP, ParamStore, weightsIn } from '@fovea/artifacts';
import { mapValues, type NamedTensors, type Tensor } from '@fovea/tensor';
import { clipText, clipTextSpecs, readClipTextConfig } from './clip-text.ts';
import { clipVit, clipVitShape, clipVitSpecs, readClipVitConfig } from './clip-vit.ts';
import { convNext, convNextShape, convNextSpecs, readConvNextConfig } from './convnext.ts';
import { dinov2, dinov2Shape, dinov2Specs, readDinov2Config } from './dinov2.ts';
import type { EncoderOutput, EncoderShape } from './encoder.ts';
import { readJsonFile } from './json-file.ts';
import { fromOpenClip, readOpenClipConfig } from './open-clip.ts';
import { checkTensors, constant, linear, type ParamSpecs, type Shapes, type Weights } from './params.ts';
import { readSiglipConfig, siglip, siglipShape, siglipSpecs } from './siglip.ts';
import { readSiglipTextConfig, siglipText, siglipTextSpecs } from './siglip-text.ts';
import type { TextOutput } from './text.ts';

/** A network's picture half: pure functions over its parameters, under the names of its files. */
export interface PictureTower {
  specs: ParamSpecs;
  shape: EncoderShape;
  /** pixels [B, 3, H, W], normalised. */
  encode(p: NamedTensors, pixels: Tensor): EncoderOutput;
  /** Channels of its feature maps from fine to coarse; null in a family without them. */
  maps: number[] | null;
  /** Normed tokens [..., D] into the image–text space [..., P]; null in a family that has no such layer. */
  project: ((p: NamedTensors, tokens: Tensor) => Tensor) | null;
}

export interface TextHalf {
  specs: ParamSpecs;
  /** Tokens that a text is padded or cut to. */
  length: number;
  /** ids [M, length] int32. */
  encode(p: NamedTensors, ids: Tensor): TextOutput;
}

export interface PretrainedEncoder {
  /** The folder's model_type, or `open_clip`. */
  family: string;
  picture: PictureTower;
  /** Null where the folder has no text half. */
  text: TextHalf | null;
  /** config.json as it was read. */
  config: unknown;
  /** All parameters, as float32 in memory. */
  weights(): Promise<Weights>;
}

const MAX_CONFIG = 10_000_000;
/** Buffers that older files hold beside the parameters. */
const BUFFER = /(^|\.)position_ids$/;

/** Opens a folder; reads configurations and headers, no weights. Throws a {@link FoveaError} that says what is wrong with it. */
export async function openEncoder(folder: string): Promise<PretrainedEncoder> {
  const info = await stat(folder).catch(() => null);
  if (!info?.isDirectory())
    throw new FoveaError(
      `The encoder "${folder}" cannot be read: no such folder; give one as from_pretrained takes it, with config.json and model.safetensors.`,
    );
  const openClip = await readJson(folder, OPEN_CLIP);
  if (openClip !== null) return openOpenClip(folder, openClip);
  const config = await readJson(folder, 'config.json');
  if (config === null)
    throw new FoveaError(
      `The encoder "${folder}" has no config.json (nor ${OPEN_CLIP}), so nobody knows which network it is; put its config.json beside the weights.`,
    );
  const type = (config as { model_type?: unknown }).model_type;
  const where = `"${path.basename(folder)}/config.json"`;
  const { picture, text } = towersOf(type, config, where);
  const store = await ParamStore.open(folder);
  const specs = { ...picture.specs, ...text?.specs };
  const names = placesOf(store, specs);
  const shapes = mapValues(names, (name) => store.tensors.get(name) as { shape: number[] });
  checkFolder(withoutBuffers(shapes, specs), specs, folder);
  const weights = async () => {
    const read = await store.copy(Object.keys(specs).map((name) => names[name]));
    return mapValues(specs, (_, name) => read[names[name]]);
  };
  return { family: String(type), picture, text, config, weights };
}

function towersOf(type: unknown, config: unknown, where: string): Pick<PretrainedEncoder, 'picture' | 'text'> {
  switch (type) {
    case 'clip':
      return { picture: clipPicture(config, where), text: clipTexts(config, where) };
    case 'clip_vision_model':
      return { picture: clipPicture(config, where), text: null };
    case 'siglip':
      return { picture: siglipPicture(config, where), text: siglipTexts(config, where) };
    case 'siglip_vision_model':
      return { picture: siglipPicture(config, where), text: null };
    case 'dinov2':
    case 'dinov2_with_registers': {
      const c = readDinov2Config(config, where);
      const encode: PictureTower['encode'] = (p, pixels) => dinov2(p, pixels, c);
      return {
        picture: { specs: dinov2Specs(c), shape: dinov2Shape(c), encode, maps: null, project: null },
        text: null,
      };
    }
    default:
      throw new FoveaError(
        `The encoder ${where} is of model_type "${type}", which Fovea does not know; it knows clip, clip_vision_model, siglip, siglip_vision_model, dinov2, dinov2_with_registers, and open_clip folders.`,
      );
  }
}

function clipPicture(config: unknown, where: string): PictureTower {
  const c = readClipVitConfig(config, where);
  return {
    specs: clipVitSpecs(c),
    shape: clipVitShape(c),
    encode: (p, pixels) => clipVit(p, pixels, c),
    maps: null,
    project: c.projection === null ? null : (p, tokens) => linear(p, 'visual_projection', tokens),
  };
}

function clipTexts(config: unknown, where: string): TextHalf {
  const c = readClipTextConfig(config, where);
  const specs = { ...clipTextSpecs(c), logit_scale: constant([], Math.log(1 / 0.07)) };
  return { specs, length: c.positions, encode: (p, ids) => clipText(p, ids, c) };
}

function siglipPicture(config: unknown, where: string): PictureTower {
  const c = readSiglipConfig(config, where);
  return {
    specs: siglipSpecs(c),
    shape: siglipShape(c),
    encode: (p, pixels) => siglip(p, pixels, c),
    maps: null,
    project: null,
  };
}

function siglipTexts(config: unknown, where: string): TextHalf {
  const c = readSiglipTextConfig(config, where);
  const specs = { ...siglipTextSpecs(c), logit_scale: constant([1], Math.log(10)), logit_bias: constant([1], -10) };
  return { specs, length: c.positions, encode: (p, ids) => siglipText(p, ids, c) };
}

/** The config.json of a folder's picture half alone, as transformers writes that model. */
export function pictureConfig(family: string, config: Record<string, unknown>): Record<string, unknown> {
  if (family !== 'clip' && family !== 'siglip') return config;
  const own = (config.vision_config ?? {}) as Record<string, unknown>;
  const shared = family === 'clip' ? { projection_dim: config.projection_dim } : {};
  const architecture = family === 'clip' ? 'CLIPVisionModelWithProjection' : 'SiglipVisionModel';
  return { ...own, ...shared, architectures: [architecture], model_type: `${family}_vision_model` };
}

/** A folder of open_clip's: its ViTs under Hugging Face's names, a timm ConvNeXt under its own. */
async function openOpenClip(folder: string, json: unknown): Promise<PretrainedEncoder> {
  const where = `"${path.basename(folder)}/${OPEN_CLIP}"`;
  const { layers, config } = readOpenClipConfig(json, where);
  const text = clipTexts(config, where);
  const picture = layers.vision === null ? convNextPicture(json, where) : clipPicture(config, where);
  const store = await ParamStore.open(await weightsIn(folder));
  const specs = { ...picture.specs, ...text.specs };
  return {
    family: 'open_clip',
    picture,
    text,
    config: json,
    async weights() {
      const all = await store.copy([...store.tensors.keys()].filter((name) => !/(^|\.)attn_mask$/.test(name)));
      const weights = fromOpenClip(all, layers, where);
      checkFolder(weights, specs, folder);
      return weights;
    },
  };
}

function convNextPicture(json: unknown, where: string): PictureTower {
  const c = readConvNextConfig(json, where);
  return {
    specs: convNextSpecs(c),
    shape: convNextShape(c),
    encode: (p, pixels) => convNext(p, pixels, c),
    maps: c.dims,
    project: null,
  };
}

/** By a parameter's name, its tensor's; transformers 5 leaves the tower's own prefix out of a tower saved alone. */
function placesOf({ tensors }: ParamStore, specs: ParamSpecs): Record<string, string> {
  const place = (name: string) => (!(name in specs) && `vision_model.${name}` in specs ? `vision_model.${name}` : name);
  return Object.fromEntries([...tensors.keys()].map((name) => [place(name), name]));
}

const withoutBuffers = <T>(tensors: Record<string, T>, specs: ParamSpecs): Record<string, T> =>
  Object.fromEntries(Object.entries(tensors).filter(([name]) => !BUFFER.test(name) || name in specs));

/**
 * The weights of a folder that stay frozen, as ranges of its files, by the names of `needed`. `all` is everything that the
 * folder must hold, and nothing else; `rename` gives today's names to the files'.
 */
export async function mapFolder(
  folder: string,
  all: ParamSpecs,
  needed: ParamSpecs = all,
  rename: <T>(tensors: Record<string, T>) => Record<string, T> = (tensors) => tensors,
): Promise<Record<string, MappedTensor>> {
  const store = await ParamStore.open(folder);
  const names = rename(Object.fromEntries([...store.tensors.keys()].map((name) => [name, name])));
  const shapes = Object.fromEntries(
    Object.entries(names).map(([today, name]) => [today, store.tensors.get(name) as { shape: number[] }]),
  );
  checkFolder(withoutBuffers(shapes, all), all, folder);
  const mapped = store.map(Object.keys(needed).map((name) => names[name]));
  return Object.fromEntries(Object.keys(needed).map((name) => [name, mapped[names[name]]]));
}

/** A folder's tensors against its configuration. */
const checkFolder = (tensors: Shapes, specs: ParamSpecs, folder: string): void =>
  checkTensors(tensors, specs, `of "${folder}"`, {
    missing: 'which its configuration asks for; get a complete copy, or mend config.json',
    extra: 'for which its configuration has no place; mend config.json, or remove them',
    wrong: 'its configuration asks for',
    mend: 'mend config.json',
  });

/** A JSON file of a folder; null where there is none. */
export async function readJson(folder: string, name: string): Promise<unknown> {
  const fail = (why: string): never => {
    throw new FoveaError(`The file "${path.basename(folder)}/${name}" ${why}; get a good copy of it.`);
  };
  const json = readJsonFile(path.join(folder, name), { most: MAX_CONFIG, kind: 'configuration', fail });
  if (json === undefined) return null;
  return typeof json === 'object' && json !== null && !Array.isArray(json) ? json : fail('is no JSON object');
}

// What a run over folders of the user's is known by: real folders in miniature, and a change of each file in them.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { canonicalJson, encodeSafetensors, sha256Hex } from '@fovea/artifacts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkSources, type Recipe, recipeHash, recipeSchema, recipeSources } from './index.ts';

let dir: string;
const put = async (name: string, content: string | Uint8Array = '{}') => {
  const file = path.join(dir, name);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, content);
};
const weights = (value: number) =>
  encodeSafetensors(new Map([['w', { shape: [1], data: Float32Array.of(value) }]]), { metadata: {} });

beforeEach(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'fovea-sources-'));
  for (const name of ['config.json', 'preprocessor_config.json', 'tokenizer.json']) await put(`clip/${name}`);
  await put('clip/model.safetensors', weights(1));
  for (const part of ['unet', 'vae']) {
    await put(`sd/${part}/config.json`);
    await put(`sd/${part}/diffusion_pytorch_model.safetensors`, weights(2));
  }
  await put('sd/text_encoder/config.json');
  await put('sd/text_encoder/model.safetensors', weights(3));
  await put('sd/tokenizer/vocab.json');
  await put('sd/tokenizer/merges.txt', '');
  await put('start.safetensors', weights(4));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const recipeOf = (over: object = {}): Recipe =>
  recipeSchema.parse({
    name: 'own',
    data: { kind: 'emoji-world' },
    encoder: { from: 'clip' },
    denoiser: { kind: 'unet', from: 'sd/unet' },
    autoencoder: { kind: 'kl', from: 'sd/vae' },
    condition: { text: { from: 'sd' } },
    weights: 'start.safetensors',
    stages: [{ stage: 'align', steps: 1, lr: 1e-5 }],
    ...over,
  });

const sources = (over?: object) => recipeSources(recipeOf(over), dir, path.join(dir, 'cache'));

/** Fields whose hash a change has changed. */
async function changedBy(name: string, content: string | Uint8Array): Promise<string[]> {
  const before = await sources();
  await put(name, content);
  const after = await sources();
  return Object.keys(after).filter((field) => after[field] !== before[field]);
}

describe('the files that a recipe names', () => {
  it.each([
    ['clip/config.json', 'encoder.from'],
    ['clip/preprocessor_config.json', 'encoder.from'],
    ['clip/tokenizer.json', 'encoder.from'],
    ['clip/vocab.json', 'encoder.from'],
    ['clip/model.safetensors', 'encoder.from'],
    ['sd/unet/diffusion_pytorch_model.safetensors', 'denoiser.from'],
    ['sd/vae/config.json', 'autoencoder.from'],
    ['sd/text_encoder/model.safetensors', 'condition.text.from'],
    ['sd/tokenizer/merges.txt', 'condition.text.from'],
    ['start.safetensors', 'weights'],
  ])('%s belongs to %s', async (name, field) => {
    const content = name.endsWith('.safetensors') ? weights(9) : '{ "changed": 1 }';
    expect(await changedBy(name, content)).toEqual([field]);
  });

  it.each(['clip/README.md', 'clip/pytorch_model.bin', 'sd/model_index.json', 'sd/unet/other.safetensors'])(
    '%s, which nobody reads, changes nothing',
    async (name) => expect(await changedBy(name, 'x')).toEqual([]),
  );

  it('are found in shards and in open_clip folders', async () => {
    await rm(path.join(dir, 'clip/model.safetensors'));
    await put('clip/model.safetensors.index.json', JSON.stringify({ weight_map: { w: 'part.safetensors' } }));
    await put('clip/part.safetensors', weights(1));
    expect(await changedBy('clip/part.safetensors', weights(5))).toEqual(['encoder.from']);
    await put('clip/open_clip_config.json');
    expect(await changedBy('clip/open_clip_model.safetensors', weights(6))).toEqual(['encoder.from']);
    expect(await changedBy('clip/part.safetensors', weights(7)), 'open_clip reads its own file').toEqual([]);
  });

  it('are the same in a copy elsewhere', async () => {
    const [{ 'encoder.from': here }] = [await sources()];
    for (const name of ['config.json', 'preprocessor_config.json', 'tokenizer.json']) await put(`copy/${name}`);
    await put('copy/model.safetensors', weights(1));
    expect((await sources({ encoder: { from: './copy' } }))['encoder.from']).toBe(here);
  });

  it('enter the identity of a run, and a recipe that names none keeps the hash that it had', async () => {
    const [recipe, before] = [recipeOf(), await sources()];
    await put('clip/model.safetensors', weights(9));
    const hashes = [recipeHash(recipe), recipeHash(recipe, before), recipeHash(recipe, await sources())];
    expect(new Set(hashes).size).toBe(3);
    const builtin = { encoder: {}, denoiser: {}, autoencoder: null, condition: undefined, weights: 'builtin:emoji' };
    expect(await sources(builtin)).toEqual({});
    const { name: _name, eval: _eval, keep: _keep, shards: _shards, ...rest } = recipeOf(builtin);
    const { memory: _memory, ...engine } = rest.engine;
    expect(recipeHash(recipeOf(builtin), await sources(builtin))).toBe(sha256Hex(canonicalJson({ ...rest, engine })));
  });

  it.each([
    [{ encoder: { from: 'nowhere' } }, 'The recipe\'s encoder.from "nowhere" cannot be read: nothing is there'],
    [{ weights: 'gone.safetensors' }, 'The recipe\'s weights "gone.safetensors" cannot be read: nothing is there'],
    [{ condition: { text: { from: 'clip' } } }, 'text_encoder" cannot be read'],
  ])('that are missing are refused: %j', async (over, sentence) => {
    await expect(sources(over)).rejects.toThrow(sentence);
  });
});

describe('a run over files that changed', () => {
  const check = async (noted: Record<string, string> | undefined, hasBegun: boolean) =>
    checkSources({ recipe: recipeOf(), recipeDir: dir, sources: noted }, { hasBegun });

  it('is refused in a sentence with the field, both hashes and the mend', async () => {
    const noted = await sources();
    await expect(check(noted, true)).resolves.toBeUndefined();
    await put('clip/model.safetensors', weights(9));
    const now = await sources();
    const [was, is] = [noted, now].map((each) => each['encoder.from'].slice(0, 12));
    await expect(check(noted, true)).rejects.toThrow(
      `The files of the recipe's encoder.from "clip" are not those that the run began with (${was} then, ${is} now); put the old ones back, or start a new run.`,
    );
    await expect(check(undefined, true), 'a run that noted none goes on').resolves.toBeUndefined();
  });

  it('needs its starting weights until the first checkpoint holds them', async () => {
    const noted = await sources();
    await put('start.safetensors', weights(9));
    await expect(check(noted, false)).rejects.toThrow(/the recipe's weights "start\.safetensors"/);
    await rm(path.join(dir, 'start.safetensors'));
    await expect(check(noted, true)).resolves.toBeUndefined();
  });
});

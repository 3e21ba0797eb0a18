// A run over folders as a researcher brings them: encoders of four families, a frozen U-Net and autoencoder, trained for a
// step; and the folders that are refused, each in one sentence.

import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { encodeSafetensors, openStore, readPreprocessing } from '@fovea/artifacts';
import { decodePicture, frame, type ImageFolder } from '@fovea/data';
import {
  autoencoderKlSpecs,
  clipVitSpecs,
  convNextSpecs,
  dinov2Specs,
  initialise,
  openEncoder,
  type ParamSpecs,
  readAutoencoderKlConfig,
  readClipVitConfig,
  readConvNextConfig,
  readDinov2Config,
  readSiglipConfig,
  readUnetConfig,
  siglipSpecs,
  unetSpecs,
} from '@fovea/models';
import { planOf, type Recipe, type RecipeInput, recipeSchema } from '@fovea/recipe';
import { compile, type NumericArray, runOnnx } from '@fovea/tensor';
import { philox } from '@fovea/tensor/random';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { drawsFor } from './batch.ts';
import { openData } from './data.ts';
import { exportedFiles, writeExport } from './export.ts';
import { withLatents } from './latents.ts';
import { trainableSpecs } from './model.ts';
import { type Networks, openNetworks } from './networks.ts';
import { stepScalars } from './optim.ts';
import type { RoundMetrics } from './round.ts';
import { type StepContext, stepSignature, trainStep } from './step.ts';
import { EncoderSubject } from './subject.ts';
import { trainChain } from './testing.ts';
import { Trainer } from './train-round.ts';

const SIDE = 32;
const tower = { hidden_size: 16, intermediate_size: 32, num_hidden_layers: 2, num_attention_heads: 2 };
const CLIP = {
  model_type: 'clip_vision_model',
  architectures: ['CLIPVisionModelWithProjection'],
  ...tower,
  image_size: 16,
  patch_size: 8,
  projection_dim: 12,
};
const SIGLIP = { model_type: 'siglip_vision_model', ...tower, image_size: 16, patch_size: 8 };
const DINO = { model_type: 'dinov2', ...tower, image_size: 16, patch_size: 8, mlp_ratio: 2 };
const CONVNEXT = {
  model_cfg: {
    embed_dim: 12,
    vision_cfg: { timm_model_name: 'convnext_tiny', timm_pool: '', image_size: 64 },
    text_cfg: { context_length: 8, vocab_size: 32, width: 16, heads: 2, layers: 1 },
  },
  preprocess_cfg: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], interpolation: 'bicubic', resize_mode: 'shortest' },
};
const UNET = {
  in_channels: 4,
  out_channels: 4,
  block_out_channels: [16, 32],
  layers_per_block: 1,
  down_block_types: ['DownBlock2D', 'CrossAttnDownBlock2D'],
  up_block_types: ['CrossAttnUpBlock2D', 'UpBlock2D'],
  attention_head_dim: 2,
  cross_attention_dim: 24,
  norm_num_groups: 4,
  use_linear_projection: true,
};
const VAE = {
  in_channels: 3,
  out_channels: 3,
  latent_channels: 4,
  block_out_channels: [8, 8],
  layers_per_block: 1,
  norm_num_groups: 4,
  down_block_types: ['DownEncoderBlock2D', 'DownEncoderBlock2D'],
  up_block_types: ['UpDecoderBlock2D', 'UpDecoderBlock2D'],
};
const PIXELS = {
  image_processor_type: 'CLIPImageProcessor',
  size: { shortest_edge: 16 },
  crop_size: { height: 16, width: 16 },
};

let root: string;
const write = async (
  name: string,
  files: Record<string, unknown>,
  specs: ParamSpecs,
  weights = 'model.safetensors',
): Promise<string> => {
  const folder = path.join(root, name);
  await mkdir(folder, { recursive: true });
  for (const [file, json] of Object.entries(files)) await writeFile(path.join(folder, file), JSON.stringify(json));
  await writeFile(path.join(folder, weights), encodeSafetensors(new Map(Object.entries(initialise(specs, 1)))));
  return folder;
};

beforeAll(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'fovea-networks-'));
  const both = (config: object) => ({ 'config.json': config, 'preprocessor_config.json': PIXELS });
  await write('clip', both(CLIP), clipVitSpecs(readClipVitConfig(CLIP, 'clip')));
  await write('siglip', both(SIGLIP), siglipSpecs(readSiglipConfig(SIGLIP, 'siglip')));
  await write('dinov2', both(DINO), dinov2Specs(readDinov2Config(DINO, 'dinov2')));
  const diffusion = 'diffusion_pytorch_model.safetensors';
  await write('unet', { 'config.json': UNET }, unetSpecs(readUnetConfig(UNET, 'unet')), diffusion);
  await write('vae', { 'config.json': VAE }, autoencoderKlSpecs(readAutoencoderKlConfig(VAE, 'vae')), diffusion);
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** A PNG of noise, 40 × 36. */
function photo(seed: number, stream: string): Promise<Buffer> {
  const rng = philox(seed, stream);
  const raw = Uint8Array.from({ length: 3 * 40 * 36 }, () => rng.int(256));
  return sharp(raw, { raw: { width: 40, height: 36, channels: 3 } })
    .png()
    .toBuffer();
}

const recipeOf = (over: Partial<RecipeInput> & { stage?: object }): Recipe => {
  const { stage, ...rest } = over;
  return recipeSchema.parse({
    name: 'folders',
    data: { kind: 'image-folder', path: '.', imageSize: SIDE },
    encoder: { from: 'clip' },
    denoiser: { kind: 'unet', from: 'unet' },
    autoencoder: { kind: 'kl', from: 'vae', latent: 'sample' },
    diffusion: { target: 'epsilon', timesteps: { kind: 'discrete' } },
    engine: { threads: 1 },
    stages: [{ stage: 'align', steps: 4, batch: 2, lr: 1e-2, warmup: 0, alsoTrains: ['projector'], ...stage }],
    ...rest,
  } as RecipeInput);
};

/** One optimiser step from the folders' weights; the moved parameters and the loss. */
async function step(recipe: Recipe, networks?: Networks) {
  const opened = networks ?? (await openNetworks(recipe, root, []));
  const [stage] = recipe.stages;
  const specs = trainableSpecs(stage, opened);
  const trainable = Object.fromEntries(
    Object.entries(specs).map(([name, { shape }]) => [name, { shape, dtype: 'float32' as const }]),
  );
  const folder = (await opened.start?.()) ?? {};
  const start = { ...initialise(specs, 2), ...folder };
  const frozen = Object.fromEntries(
    Object.entries(folder)
      .filter(([name]) => !(name in specs))
      .map(([name, tensor]) => [name, { ...tensor, dtype: 'float32' as const }]),
  );
  const context: StepContext = { stage, role: 'aligned', recipe, networks: opened };
  const program = await compile(
    trainStep(context),
    { ...stepSignature(stage, recipe, trainable, opened), constants: { ...frozen, ...opened.frozen } },
    { threads: 1 },
  );
  program.setState(Object.fromEntries(Object.keys(specs).map((name) => [`p/${name}`, start[name].data])));
  const { batch } = stage;
  const query = { seed: 0, stream: 'align', first: 0, pictures: batch, draws: recipe.diffusion.draws };
  const inputs: Record<string, NumericArray> = {
    pixels: Float32Array.from({ length: batch * 3 * SIDE ** 2 }, (_, i) => 0.5 + 0.4 * Math.sin(i / 7)),
    labels: new Int32Array(batch),
    ...drawsFor(query, recipe, opened),
    scalars: stepScalars(0, 4, stage),
  };
  const { loss, health } = await program.run(inputs);
  const moved = Object.keys(specs).filter((name) =>
    (program.getState(`p/${name}`) as Float32Array).some((x, i) => x !== start[name].data[i]),
  );
  await program.dispose();
  return { loss: loss[0], health: health[0], moved, specs, inputs };
}

describe('an encoder from a folder', () => {
  it.each([
    ['clip', { tokens: { mode: 'randomK', k: 3, replacement: true }, space: 'projected' }],
    ['siglip', { tokens: { mode: 'pool', window: 2 }, space: 'normed' }],
    ['dinov2', { tokens: { mode: 'all' }, space: 'hidden' }],
  ])('%s learns through a frozen U-Net and autoencoder', async (from, condition) => {
    const recipe = recipeOf({ encoder: { from }, condition } as never);
    const { loss, health, moved, specs } = await step(recipe);
    expect(Number.isFinite(loss) && Number.isFinite(health)).toBe(true);
    expect(Object.keys(specs).some((name) => /^(denoiser|autoencoder)\./.test(name))).toBe(false);
    const still = Object.keys(specs).filter((name) => !moved.includes(name));
    // What the condition does not read has no gradient, and does not decay either.
    const unread: Record<string, RegExp> = {
      clip: /^$/,
      siglip: /^$/,
      dinov2: /^(layernorm\.|embeddings\.mask_token)/,
    };
    expect(still.filter((name) => !unread[from].test(name) && !/k_proj\.bias|key\.bias/.test(name))).toEqual([]);
  });

  it.each(['clip', 'siglip', 'dinov2'])('%s is written back as it came, and opens again', async (from) => {
    const recipe = recipeOf({ encoder: { from } } as never);
    const networks = await openNetworks(recipe, root, []);
    const weights = await (networks.start as NonNullable<Networks['start']>)();
    const files = await exportedFiles({ weights, vocabulary: [] }, { recipe, recipeDir: root }, 'a'.repeat(64), 1);
    const folder = path.join(root, `out-${from}`);
    await writeExport(files, folder);
    const again = await openEncoder(folder);
    expect(again.config).toEqual((await openEncoder(path.join(root, from))).config);
    expect(await again.weights()).toEqual(weights);
    const subject = await EncoderSubject.open({ weights, vocabulary: [] }, recipe, root);
    const pixels = Float32Array.from({ length: 3 * 16 ** 2 }, (_, i) => 0.5 + 0.4 * Math.sin(i / 7));
    const onnx = files.find(({ name }) => name === 'encoder.onnx')?.bytes as Uint8Array;
    const { features } = await runOnnx(onnx, { pixels: { data: pixels, shape: [1, 3, 16, 16] } });
    const own = await subject.imageFeatures(pixels, 1);
    features.forEach((x, i) => expect(x).toBeCloseTo(own[i], 4));
    expect(subject.unreadable(['dog'])).toEqual(['dog']);
    await subject.dispose();
  });

  it('takes pictures of another size than its own', async () => {
    const networks = await openNetworks(recipeOf({ encoder: { from: 'clip', imageSize: 24 } as never }), root, []);
    expect(networks.encoder.shape).toMatchObject({ patches: 9, imageSize: { height: 24, width: 24 } });
    const { loss } = await step(recipeOf({ encoder: { from: 'clip', imageSize: 24 } as never }), networks);
    expect(Number.isFinite(loss)).toBe(true);
  });

  it('of DEEM’s kind reaches the U-Net by its maps too, and at the start by the condition alone (B3)', async () => {
    const specs = convNextSpecs(readConvNextConfig(CONVNEXT, 'convnext'));
    await write('convnext', { 'open_clip_config.json': CONVNEXT }, specs, 'open_clip_model.safetensors').catch(
      () => {},
    );
    const connector = { kind: 'perceiver', queries: 4, width: 16, layers: 2, heads: 2, hidden: 32 };
    const open = (denseSkip: boolean) =>
      openNetworks(
        recipeOf({ encoder: { from: 'convnext' }, condition: { space: 'maps', connector, denseSkip } } as never),
        root,
        [],
      );
    const [closed, dense] = [await open(false), await open(true)];
    expect(closed.connector.residuals).toBeUndefined();
    expect(dense.connector.residuals).toBeDefined();
    expect(Object.keys(closed.connector.specs).some((name) => name.startsWith('projector.skips'))).toBe(false);
    const gates = Object.entries(dense.connector.specs).filter(([name]) => /^projector\.skips\..*\.conv\./.test(name));
    expect(gates.length).toBeGreaterThan(0);
    expect(gates.every(([, { init }]) => 'constant' in init && init.constant === 0)).toBe(true);
  });
});

describe('a folder of pictures', () => {
  it.each(['clip', 'siglip', 'dinov2'])('is framed for %s as its own processor frames', async (from) => {
    const rules: Record<string, object> = {
      clip: PIXELS,
      siglip: { image_processor_type: 'SiglipImageProcessor', size: { height: 16, width: 16 } },
      dinov2: { image_processor_type: 'BitImageProcessor', size: { shortest_edge: 20 }, crop_size: 16 },
    };
    const data = path.join(root, `framed-${from}`);
    const encoder = await write(
      `${from}-framed`,
      { 'config.json': { clip: CLIP, siglip: SIGLIP, dinov2: DINO }[from], 'preprocessor_config.json': rules[from] },
      {
        clip: clipVitSpecs(readClipVitConfig(CLIP, 'c')),
        siglip: siglipSpecs(readSiglipConfig(SIGLIP, 's')),
        dinov2: dinov2Specs(readDinov2Config(DINO, 'd')),
      }[from] as ParamSpecs,
    );
    for (const name of ['a', 'b']) {
      await mkdir(path.join(data, name), { recursive: true });
      await writeFile(path.join(data, name, '1.png'), await photo(3, name));
    }
    const recipe = recipeOf({
      data: { kind: 'image-folder', path: data, imageSize: 16 },
      encoder: { from: encoder },
    } as never);
    const where = { recipeDir: root, cacheDir: root };
    const folder = (await openData(recipe, where)) as ImageFolder;
    const { pixels } = await folder.read(folder.train);
    const rule = readPreprocessing(rules[from], 'p.json');
    for (const [i, { name }] of folder.train.entries()) {
      const framed = frame(await decodePicture(await readFile(path.join(data, name)), { where: name }), rule);
      expect(pixels.subarray(i * 768, (i + 1) * 768)).toEqual(framed);
    }
    const builtin = recipeSchema.parse({ ...recipe, encoder: { kind: 'builtin' } });
    expect(((await openData(builtin, where)) as ImageFolder).framing.resize).toEqual({ shortestEdge: 16 });
    await rm(path.join(encoder, 'preprocessor_config.json'));
    await expect(openData(recipe, where)).rejects.toThrow(/has no preprocessor_config\.json, so nobody knows how its/);
    await rm(encoder, { recursive: true });
    await expect(openData(recipe, where)).rejects.toThrow(/cannot be read: no such folder/);
  });
});

describe('latents of a folder of pictures', () => {
  it('are encoded once by a round of their own, and train to the same weights as encoding anew', async () => {
    const pictures = path.join(root, 'pictures');
    for (const name of ['cat', 'dog']) {
      await mkdir(path.join(pictures, name), { recursive: true });
      for (let i = 0; i < 6; i++) {
        await writeFile(path.join(pictures, name, `${i}.png`), await photo(i, name));
      }
    }
    const run = async (cache: boolean) => {
      const store = await openStore(path.join(root, `store-${cache}`));
      const recipe = recipeOf({
        data: { kind: 'image-folder', path: 'pictures', imageSize: SIDE },
        autoencoder: { kind: 'kl', from: 'vae', latent: 'sample', cache },
        stage: { roles: ['aligned'] },
      } as never);
      const dataset = openData(recipe, { recipeDir: root, cacheDir: root });
      const plan = planOf(recipe);
      const rounds = [...(plan.get('trunk') ?? []), ...(plan.get('aligned') ?? [])];
      const open = () => new Trainer({ store, openDataset: () => dataset });
      const trained = await trainChain(open, store, rounds, { recipe, recipeDir: root, fresh: true });
      return { trained, refs: await store.listRefs('latents'), store, recipe, dataset };
    };
    const [cached, anew] = [await run(true), await run(false)];
    expect(cached.trained.map(({ stage }) => stage)).toEqual(['init', 'latents', 'align']);
    expect(anew.trained.map(({ stage }) => stage)).toEqual(['init', 'align']);
    expect(cached.refs).toHaveLength(1);
    expect(anew.refs).toHaveLength(0);
    const [a, b] = [cached, anew].map(({ trained }) => trained.at(-1)?.metrics as RoundMetrics);
    a.loss.forEach((loss, i) => expect(loss).toBeCloseTo(b.loss[i], 4));
    expect(a.probe.gap).toBeCloseTo(b.probe.gap as number, 4);
    const networks = await openNetworks(cached.recipe, root, []);
    const fed = await withLatents(cached.store, await cached.dataset, cached.recipe, networks);
    expect(fed.cached).toBeDefined();
    const red = await sharp({ create: { width: 9, height: 9, channels: 3, background: 'red' } })
      .png()
      .toBuffer();
    for (let at = 0; at < 6; at++) await writeFile(path.join(pictures, 'cat', `${at}.png`), red);
    const changed = await withLatents(cached.store, await cached.dataset, cached.recipe, networks);
    expect(changed.cached, 'a picture that changed is not fed its old latent').toBeUndefined();
  });
});

describe('folders that are refused', () => {
  const refusal = (over: object) =>
    openNetworks(recipeOf(over as never), root, []).then(
      () => 'opened',
      (e) => e.message,
    );

  it('say so in one sentence', async () => {
    const clip = clipVitSpecs(readClipVitConfig(CLIP, 'clip'));
    const { 'visual_projection.weight': projection, ...without } = clip;
    const files = { 'config.json': CLIP, 'preprocessor_config.json': PIXELS };
    await write('lacks', files, without);
    await write('more', files, { ...clip, 'extra.weight': projection });
    await write('wrong', { ...files, 'config.json': { ...CLIP, projection_dim: 13 } }, clip);
    await write('unknown', { ...files, 'config.json': { model_type: 'vit_mae' } }, clip);
    await write('torn', files, clip);
    await writeFile(path.join(root, 'torn/config.json'), '{"model_type": ');
    await write('pickle', files, clip);
    await rm(path.join(root, 'pickle/model.safetensors'));
    await writeFile(path.join(root, 'pickle/pytorch_model.bin'), 'x');
    await write(
      'narrow',
      { 'config.json': { ...UNET, cross_attention_dim: 25 } },
      unetSpecs(readUnetConfig(UNET, 'u')),
      'diffusion_pytorch_model.safetensors',
    );
    const expected: [object, RegExp][] = [
      [{ encoder: { from: 'nowhere' } }, /"\S*nowhere" cannot be read: no such folder/],
      [{ encoder: { from: 'lacks' } }, /lack visual_projection\.weight/],
      [{ encoder: { from: 'more' } }, /hold extra\.weight, for which its configuration has no place/],
      [
        { encoder: { from: 'wrong' } },
        /visual_projection\.weight as \[12,16\], but its configuration asks for \[13,16\]/,
      ],
      [{ encoder: { from: 'unknown' } }, /model_type "vit_mae", which Fovea does not know/],
      [{ encoder: { from: 'torn' } }, /"torn\/config\.json" is not JSON/],
      [{ encoder: { from: 'pickle' } }, /pickle|safetensors/],
      [
        { denoiser: { kind: 'unet', from: 'narrow' } },
        /to_k\.weight as \[32,24\], but its configuration asks for \[32,25\]/,
      ],
      [{ denoiser: { kind: 'unet', from: 'nowhere' } }, /has no config\.json/],
      [{ autoencoder: null }, /takes 4 channels, but what it is to denoise has 3/],
      [{ encoder: { from: 'dinov2' }, stage: { contrastive: 1 } }, /has no text tower/],
      [{ condition: { space: 'maps' } }, /need an encoder with feature maps/],
      [{ condition: { connector: { kind: 'unclip' } } }, /needs the U-Net of a Stable unCLIP/],
      [{ condition: { tokens: { mode: 'randomK', k: 9 } } }, /9 different patches are more than the 4/],
    ];
    for (const [over, sentence] of expected) {
      const message = await refusal(over);
      expect(message).toMatch(sentence);
      expect(message.split('\n')).toHaveLength(1);
      expect(message.length).toBeLessThan(420);
    }
  });
});

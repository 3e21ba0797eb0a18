// Adapters against peft: what they add and its gradients, its files read, ours read by it.

import { spawnSync } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { encodeSafetensors } from '@fovea/artifacts';
import {
  type Adapter,
  adapterFiles,
  applyLora,
  type ClipVitConfig,
  clipVit,
  clipVitSpecs,
  loraSpecs,
  mergeLora,
  readAdapter,
  readClipVitConfig,
  type Weights,
} from '@fovea/models';
import { compile, mapValues, type NamedTensors, prefixed, type Tensor } from '@fovea/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkParity, expectClose, readFixture, under } from './parity.ts';

const PYTHON = process.env.FOVEA_PYTHON;
const PREFIX = 'base_model.model.';
const fixtureFile = (name: string) => fileURLToPath(new URL(`../fixtures/models/${name}`, import.meta.url));

let root: string;
beforeAll(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'fovea-peft-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

function tower(p: NamedTensors, pixels: Tensor, c: ClipVitConfig): NamedTensors {
  const { hidden, embeds } = clipVit(p, pixels, c);
  return { hidden, embeds };
}

async function opened(name: string) {
  const fixture = readFixture(name);
  const c = readClipVitConfig(fixture.about.config, name);
  const base = clipVitSpecs(c);
  return { fixture, c, base, ...(await readAdapter(fixtureFile(name), base)) };
}

const TARGETS = { 'peft-list': ['q_proj', 'v_proj', 'mlp.fc1'], 'peft-all': 'all-linear' };

describe.each(Object.entries(TARGETS))('%s', (name, targets) => {
  it('adds what peft adds, with its gradients', async () => {
    const { fixture, c, base, config } = await opened(name);
    const specs = loraSpecs(base, { ...config, dropout: 0 });
    expect(loraSpecs(base, { ...config, dropout: 0, targets })).toEqual(specs);
    await checkParity(fixture, { ...base, ...prefixed(PREFIX, specs) }, (p, { pixels }) =>
      tower(applyLora(p, under(p, PREFIX), config), pixels, c),
    );
  });

  it('is read from peft’s files and merged', async () => {
    const { fixture, c, base, config, weights } = await opened(name);
    const params = mapValues(under(fixture.tensors, 'param/'), ({ shape, data }) => ({ shape, data })) as Weights;
    expect(
      prefixed(
        PREFIX,
        mapValues(weights, ({ data }) => data),
      ),
    ).toEqual(
      mapValues(
        Object.fromEntries(Object.entries(params).filter(([key]) => key.startsWith(PREFIX))),
        ({ data }) => data,
      ),
    );
    const merged = mergeLora(
      { ...Object.fromEntries(Object.keys(base).map((key) => [key, params[key]])), ...weights },
      config,
    );
    expect(Object.keys(merged)).toEqual(Object.keys(base));
    const program = await compile((given, _, p) => ({ outputs: tower(p, given.pixels, c) }), {
      inputs: { pixels: { shape: fixture.tensors['in/pixels'].shape, dtype: 'float32' } },
      constants: mapValues(merged, (tensor) => ({ ...tensor, dtype: 'float32' as const })),
    });
    const got = await program.run({ pixels: fixture.tensors['in/pixels'].data });
    for (const key of ['hidden', 'embeds']) expectClose(got[key], fixture.tensors[`out/${key}`].data, key);
    await program.dispose();
  });

  it('comes back from our own files', async () => {
    const { base, config, weights } = await opened(name);
    const folder = await saved({ config, weights });
    expect(await readAdapter(folder, base)).toEqual({ config, weights });
  });

  if (!PYTHON) console.info('peft: our files are not loaded in peft, because FOVEA_PYTHON names no Python that has it');
  it.skipIf(!PYTHON)(
    'written by us loads in peft',
    async () => {
      const { config, weights } = await opened(name);
      const script = fileURLToPath(new URL('check_peft.py', import.meta.url));
      const args = [script, fixtureFile(`${name}.safetensors`), await saved({ config, weights })];
      const { status, stdout, stderr } = spawnSync(PYTHON as string, args, { encoding: 'utf8' });
      expect(status, stdout + stderr).toBe(0);
      expect(stdout).toContain(`${Object.keys(weights).length} adapter tensors in peft give the fixture's outputs`);
    },
    120_000,
  );
});

async function saved(adapter: Adapter): Promise<string> {
  const folder = await mkdtemp(path.join(root, 'adapter-'));
  for (const { name, bytes } of adapterFiles(adapter)) await writeFile(path.join(folder, name), bytes);
  return folder;
}

describe('an adapter folder', () => {
  /** A copy of peft's own folder with a change to its configuration or tensors. */
  async function changed(config: object, tensors: (weights: Weights) => Weights = (weights) => weights) {
    const folder = await mkdtemp(path.join(root, 'changed-'));
    await cp(fixtureFile('peft-list'), folder, { recursive: true });
    const file = path.join(folder, 'adapter_config.json');
    await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, 'utf8')), ...config }));
    const { weights } = await opened('peft-list');
    const bytes = encodeSafetensors(new Map(Object.entries(tensors(prefixed(PREFIX, weights)))));
    await writeFile(path.join(folder, 'adapter_model.safetensors'), bytes);
    return readAdapter(folder, (await opened('peft-list')).base);
  }

  it('with settings that we do not follow is refused by their names', async () => {
    expect((await changed({})).config).toMatchObject({ rank: 4, alpha: 8, dropout: 0.1, rslora: false });
    for (const [field, value] of Object.entries({
      peft_type: 'LOHA',
      bias: 'lora_only',
      use_dora: true,
      init_lora_weights: 'pissa',
      modules_to_save: ['visual_projection'],
      rank_pattern: { q_proj: 8 },
      fan_in_fan_out: true,
      something_new: { on: true },
      r: 0,
    })) {
      await expect(changed({ [field]: value }), field).rejects.toThrow(
        new RegExp(`adapter_config\\.json" cannot be used: ${field} — [^\\n]*\\.$`),
      );
    }
  });

  it('whose tensors do not fit is refused', async () => {
    const layer = `${PREFIX}vision_model.encoder.layers.0.self_attn.q_proj`;
    const a = `${layer}.lora_A.weight`;
    await expect(changed({ r: 2 })).rejects.toThrow(/as \[4,8\], and the model and rank 2 need \[2,8\]/);
    await expect(changed({}, ({ [a]: _, ...rest }) => rest)).rejects.toThrow(/lacks lora_A of "vision_model/);
    await expect(
      changed({}, ({ [a]: moved, ...rest }) => ({ ...rest, [`${PREFIX}other.lora_A.weight`]: moved })),
    ).rejects.toThrow(/adapts "other", which the model does not have/);
    await expect(changed({}, (weights) => ({ ...weights, [`${layer}.base_layer.bias`]: weights[a] }))).rejects.toThrow(
      /base_layer\.bias", which is no LoRA weight/,
    );
  });

  it('that is incomplete is refused', async () => {
    const base = (await opened('peft-list')).base;
    const folder = await mkdtemp(path.join(root, 'partial-'));
    await expect(readAdapter(folder, base)).rejects.toThrow(/adapter_config\.json" cannot be read: ENOENT/);
    await writeFile(path.join(folder, 'adapter_config.json'), '{"r": ');
    await expect(readAdapter(folder, base)).rejects.toThrow(/cannot be read: [^\n]*JSON[^\n]*; give a folder/);
    await cp(path.join(fixtureFile('peft-list'), 'adapter_config.json'), path.join(folder, 'adapter_config.json'));
    await writeFile(path.join(folder, 'adapter_model.bin'), 'x');
    await expect(readAdapter(folder, base)).rejects.toThrow(/are a pickle/);
  });
});

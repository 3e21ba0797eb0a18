// TensorFlow as the eager engine (infra/tensorflow): it takes the same training step as ours, in the same process and
// with the threads it is given; and what the provisioning says where something is missing. Nothing is fetched here.

import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { crc32 } from 'node:zlib';
import {
  inputSpecs,
  modelSpecs,
  noiseFor,
  openNetworks,
  stepScalars,
  stepSignature,
  trainableSpecs,
  trainStep,
} from '@fovea/alignment';
import { initialise } from '@fovea/models';
import { type AlignStage, recipeSchema } from '@fovea/recipe';
import { compiledEngine, mapValues, type NumericArray, nativeEngines, sizeOf, tf } from '@fovea/tensor';
import { philox } from '@fovea/tensor/random';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const native = nativeEngines(1);
const engines = native.flatMap(({ engine }) => (engine ? [engine] : []));
for (const { name, reason } of native) if (reason) console.info(`tensorflow.test: ${name} is not tested: ${reason}`);

const CLASSES = 3;
const recipe = recipeSchema.parse({
  name: 'test',
  data: { kind: 'emoji-world', imageSize: 16 },
  encoder: { patchSize: 4, projection: 16, width: 32, layers: 2, heads: 2 },
  denoiser: { patchSize: 4, width: 32, layers: 2, heads: 2 },
  stages: [{ stage: 'align', steps: 8, batch: 4, lr: 1e-3, warmup: 2, roundSteps: 4, contrastive: 1 }],
});

/** One align step on made-up weights and pictures: encode, denoise, backward, AdamW. */
async function alignStep() {
  const stage = recipe.stages[0] as AlignStage;
  const networks = await openNetworks(recipe, '', ['a', 'b', 'c']);
  const weights = initialise(modelSpecs(networks), 1);
  const trainable = mapValues(trainableSpecs(stage, networks), ({ shape }) => ({ shape, dtype: 'float32' as const }));
  const names = { shape: [CLASSES, CLASSES], data: Float32Array.of(1, 0, 0, 0, 1, 0, 0, 0, 1) };
  const constants = mapValues({ ...weights, names }, ({ shape, data }) => ({ shape, data, dtype: 'float32' as const }));
  for (const name of Object.keys(trainable)) delete constants[name];
  const { draws } = recipe.diffusion;
  const { imageSize } = recipe.data;
  const rng = philox(0, 'tensorflow.test');
  const size = 3 * imageSize ** 2;
  const inputs: Record<string, NumericArray> = {
    pixels: Float32Array.from({ length: stage.batch * size }, () => rng.uniform()),
    labels: Int32Array.from({ length: inputSpecs(stage.batch, draws, networks).labels.shape[0] }, () =>
      rng.int(CLASSES),
    ),
    ...noiseFor({ seed: 0, stream: 'test', first: 0, pictures: stage.batch, draws, size }, recipe),
    scalars: stepScalars(0, stage.steps, stage),
  };
  const signature = { ...stepSignature(stage, recipe, trainable, networks), constants };
  const state = mapValues(signature.state ?? {}, ({ shape }, name) =>
    name.startsWith('p/') ? weights[name.slice(2)].data : new Float32Array(sizeOf(shape)),
  );
  return { fn: trainStep({ stage, role: 'aligned', recipe, networks }), signature, inputs, state };
}

/** The largest difference, relative to one more than the largest value wanted. */
function apart(wanted: NumericArray, got: NumericArray): number {
  const worst = Math.max(...Array.from(wanted, (x, i) => Math.abs(x - got[i])));
  return worst / (1 + Math.max(...Array.from(wanted, Math.abs)));
}

describe.each(engines)('$name', (engine) => {
  it('takes the same training steps as the compiled engine', async () => {
    const { fn, signature, inputs, state } = await alignStep();
    let ours: Record<string, NumericArray> = state;
    let theirs: Record<string, NumericArray> = state;
    const stateOf = (values: Record<string, NumericArray>) =>
      Object.fromEntries(Object.entries(values).flatMap(([n, v]) => (n.startsWith('state/') ? [[n.slice(6), v]] : [])));
    for (let step = 0; step < 2; step++) {
      const a = await compiledEngine.run(fn, signature, inputs, ours);
      const b = await engine.run(fn, signature, inputs, theirs);
      expect(tf.getBackend()).toBe('tensorflow');
      expect(Object.keys(b).sort()).toEqual(Object.keys(a).sort());
      for (const [name, wanted] of Object.entries(a)) {
        expect(apart(wanted, b[name]), `${name} in step ${step}`).toBeLessThan(1e-4);
      }
      [ours, theirs] = [stateOf(a), stateOf(b)];
    }
    const moved = Object.keys(state).filter((n) => n.startsWith('p/') && ours[n].some((x, i) => x !== state[n][i]));
    expect(moved.length).toBeGreaterThan(10);
  });

  it('frees what a step allocates', async () => {
    const { fn, signature, inputs, state } = await alignStep();
    await engine.run(fn, signature, inputs, state);
    const { numTensors } = tf.memory();
    for (let i = 0; i < 3; i++) await engine.run(fn, signature, inputs, state);
    expect(tf.memory().numTensors).toBe(numTensors);
  });

  it('names what tfjs-node lacks, and nothing else', async () => {
    const signature = { inputs: { x: { shape: [1, 4, 4, 1], dtype: 'float32' as const } } };
    const fail = (fn: (x: never) => ReturnType<typeof tf.neg>) =>
      engine
        .run(({ x }) => ({ outputs: { y: fn(x as never) } }), signature, { x: new Float32Array(16) })
        .then(
          () => expect.fail('it ran'),
          (error: Error) => error,
        );
    const padded = await fail((x) => tf.conv2d(x, tf.ones([3, 3, 1, 1]), 1, 1));
    expect(engine.limitOf?.(padded)).toMatch(/pads convolutions and pools only by/);
    const wrong = await fail((x) => tf.matMul(x, tf.ones([3, 3])));
    expect(engine.limitOf?.(wrong)).toBeNull();
  });

  it('computes on the threads it was given, and says so where they cannot change', async () => {
    await tf.setBackend('tensorflow');
    const x = tf.ones([768, 768]) as never;
    tf.tidy(() => tf.matMul(x, x).dataSync());
    const [cpu, wall] = [process.cpuUsage(), performance.now()];
    for (let i = 0; i < 20; i++) tf.tidy(() => tf.matMul(x, x).dataSync());
    const { user, system } = process.cpuUsage(cpu);
    tf.dispose(x);
    expect((user + system) / 1000 / (performance.now() - wall)).toBeLessThan(1.3);
    const name = engine.name.split(' ')[0];
    const again = nativeEngines(7).find((each) => each.name === name);
    expect(again).toMatchObject({ engine: null, reason: expect.stringMatching(/on 1 threads; start another for 7$/) });
  });
});

/** What the provisioning says, from arguments and a folder of programs as its whole PATH. */
async function provision(args: string[], PATH = process.env.PATH): Promise<{ code: number | null; said: string }> {
  const script = fileURLToPath(new URL('../infra/tensorflow/provision.mjs', import.meta.url));
  const child = spawn(process.execPath, [script, ...args], { env: { ...process.env, PATH } });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said += chunk));
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, said: said.trim() })));
}

/** A zip of one member, not compressed. */
function storedZip(name: string, text: string): Buffer {
  const entry = Buffer.alloc(26);
  entry.writeUInt16LE(20, 0);
  entry.writeUInt32LE(crc32(text), 10);
  entry.writeUInt32LE(text.length, 14);
  entry.writeUInt32LE(text.length, 18);
  entry.writeUInt16LE(name.length, 22);
  const local = Buffer.concat([Buffer.from('PK\x03\x04'), entry, Buffer.from(name + text)]);
  const central = Buffer.concat([
    Buffer.from('PK\x01\x02\x14\0'),
    entry,
    Buffer.alloc(14), // no comment, first disk, no attributes, offset 0
    Buffer.from(name),
  ]);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(1, 8);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(local.length, 16);
  return Buffer.concat([local, central, end]);
}

const linux = process.platform === 'linux' && process.arch === 'x64';
if (!linux) console.info('tensorflow.test: the provisioning is not tested: it is for Linux x64');

describe.runIf(linux)('provisioning says in a sentence', () => {
  let folder: string;
  const program = (name: string, text: string) =>
    writeFile(path.join(folder, 'bin', name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  beforeAll(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'fovea-tensorflow-'));
    await mkdir(path.join(folder, 'bin'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));
  const to = () => ['--to', path.join(folder, 'cache')];

  it('which options there are', async () => {
    expect(await provision(['--gpu'])).toEqual({
      code: 2,
      said: expect.stringMatching(/^Unknown option '--gpu'.*--cpu, --cuda, --python, --wheel and --to\.$/),
    });
    expect(await provision(['--cpu', '--cuda'])).toEqual({ code: 2, said: expect.stringMatching(/give one\.$/) });
  });

  it('which program is missing', async () => {
    const bin = path.join(folder, 'bin');
    expect(await provision(to(), bin)).toEqual({ code: 2, said: expect.stringMatching(/^There is no g\+\+ .*\.$/) });
    await program('g++', 'exit 0');
    expect(await provision(to(), bin)).toEqual({ code: 2, said: expect.stringMatching(/^There is no python3 .*\.$/) });
    await program('python3', 'echo "No module named pip" >&2; exit 1');
    expect(await provision(to(), bin)).toEqual({ code: 2, said: expect.stringMatching(/^python3 has no pip .*\.$/) });
    await program('python3', 'test "$3" = --version || { echo "ERROR: no route to the index" >&2; exit 1; }');
    expect(await provision(to(), bin)).toEqual({
      code: 2,
      said: expect.stringMatching(/pip could not fetch tensorflow-cpu==\S+: ERROR: no route to the index$/),
    });
  });

  it('which wheel does not do', async () => {
    expect(await provision([...to(), '--wheel', path.join(folder, 'none.whl')])).toEqual({
      code: 2,
      said: expect.stringMatching(/^There is no wheel .*none\.whl: .*\.$/),
    });
    const torn = path.join(folder, 'torn.whl');
    await writeFile(torn, 'PK not a zip');
    const other = path.join(folder, 'other-1.0-py3-none-any.whl');
    await writeFile(other, storedZip('other-1.0.dist-info/METADATA', 'Name: other\nVersion: 1.0\n'));
    for (const [wheel, words] of [
      [torn, /torn\.whl cannot be read as a wheel \(.*\): delete it .*\.$/],
      [other, /^other-1\.0-py3-none-any\.whl \(other 1\.0\) is no TensorFlow wheel .*\.$/],
    ] as const) {
      const { code, said } = await provision([...to(), '--wheel', wheel]);
      expect(code).toBe(2);
      if (!/^There is no (g\+\+|python3)/.test(said)) expect(said).toMatch(words);
    }
  });

  it('that a folder cannot be made', async () => {
    const file = path.join(folder, 'file');
    await writeFile(file, '');
    await symlink(file, path.join(folder, 'link'));
    const { code, said } = await provision(['--to', path.join(folder, 'link/cache')]);
    expect(said).toMatch(/cannot be made \(ENOTDIR\): give another with --to\.$|^There is no (g\+\+|python3)/);
    expect(code).toBe(2);
  });
});

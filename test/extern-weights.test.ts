// Weights that stay in their files, from the store's folder to a program's numbers: the same bits as copied weights,
// files that are left alone, memory that is the file's, and sentences where a file changes under a program.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, open, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { encodeSafetensors, type MappedTensor, ParamStore } from '@fovea/artifacts';
import { compile, mapValues, type NumericArray, type StepFunction, tf, valueAndGrads } from '@fovea/tensor';
import { philox } from '@fovea/tensor/random';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'fovea extern é-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

const D = 24;
const SHAPES: Record<string, number[]> = {
  'frozen.weight': [D, D],
  'frozen.bias': [D],
  'frozen.out': [D, 5],
  'frozen.conv': [3, 3, 3, 4],
  'adapter.weight': [D, D],
};

function draw(seed: number, shape: number[]) {
  const random = philox(seed, 'extern', 0, 0);
  const size = shape.reduce((a, b) => a * b, 1);
  return { shape, data: Float32Array.from({ length: size }, () => random.uint32() / 2 ** 32 - 0.5) };
}

const weights = () => new Map(Object.entries(SHAPES).map(([name, shape], i) => [name, draw(i + 1, shape)]));
const x = draw(9, [6, D]).data;
const inputs = { x: { shape: [6, D], dtype: 'float32' as const } };

/** One step of descent on an adapter whose gradient comes through frozen layers. */
const step: StepFunction = (given, state, frozen) => {
  const { value, grads } = valueAndGrads((p) => {
    const adapted = tf.matMul(given.x, p['adapter.weight']); // [6, D]
    const hidden = tf.tanh(tf.add(tf.matMul(adapted, frozen['frozen.weight'], false, true), frozen['frozen.bias']));
    const image = tf.reshape(adapted, [6, 2, 4, 3]) as never;
    const seen = tf.conv2d(image, frozen['frozen.conv'] as never, 1, 'same'); // [6, 2, 4, 4]
    return { value: tf.add(tf.sum(tf.square(tf.matMul(hidden, frozen['frozen.out']))), tf.sum(tf.square(seen))) };
  }, state);
  const next = tf.sub(state['adapter.weight'], tf.mul(grads['adapter.weight'], 0.01));
  return { outputs: { loss: value }, state: { 'adapter.weight': next } };
};

const FROZEN = Object.keys(SHAPES).filter((name) => name.startsWith('frozen'));

async function train(store: ParamStore, how: 'mapped' | 'copied', mappedWeights: 'pack' | 'keep' = 'pack') {
  const state = await store.copy(['adapter.weight']);
  const constants = how === 'mapped' ? store.map(FROZEN) : await store.copy(FROZEN);
  const program = await compile(step, { inputs, state, constants }, { mappedWeights });
  program.setState(mapValues(state, ({ data }) => data));
  const losses: number[] = [];
  for (let i = 0; i < 5; i++) losses.push((await program.run({ x })).loss[0]);
  const adapter = program.getState('adapter.weight') as Float32Array;
  await program.dispose();
  return { losses, adapter };
}

const hash = async (file: string) =>
  createHash('sha256')
    .update(await readFile(file))
    .digest('hex');

/** The same tensors in a file whose data begins `shift` bytes after a multiple of 8. */
function shifted(bytes: Uint8Array, shift: number): Uint8Array {
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const out = new Uint8Array(bytes.length + shift).fill(0x20, 8, 8 + length + shift);
  new DataView(out.buffer).setBigUint64(0, BigInt(length + shift), true);
  out.set(bytes.subarray(8, 8 + length), 8);
  out.set(bytes.subarray(8 + length), 8 + length + shift);
  return out;
}

describe('a program over mapped weights', () => {
  it('trains to the same bits as over copied ones, at any alignment, and leaves the file alone', async () => {
    for (const shift of [0, 1, 2, 3, 5]) {
      const file = path.join(root, `shift-${shift}.safetensors`);
      await writeFile(file, shifted(encodeSafetensors(weights()), shift));
      const before = await hash(file);
      const store = await ParamStore.open(file);
      const mapped = await train(store, 'mapped');
      expect(mapped.losses[4]).toBeLessThan(mapped.losses[0]);
      expect(mapped).toEqual(await train(store, 'copied'));
      const kept = await train(store, 'mapped', 'keep');
      for (const [i, loss] of kept.losses.entries()) expect(loss).toBeCloseTo(mapped.losses[i], 4);
      expect(await hash(file)).toBe(before);
      for (const name of FROZEN) expect((await store.read(name)).data).toEqual(weights().get(name)!.data);
    }
  });

  it('does so over half-precision files and over shards, in the layout of the Hugging Face cache too', async () => {
    const half = path.join(root, 'half.safetensors');
    await writeFile(half, encodeSafetensors(weights(), { dtype: 'F16' }));
    const snapshot = path.join(root, 'hub', 'models--a--b', 'snapshots', 'c0ffee');
    const blobs = path.join(root, 'hub', 'models--a--b', 'blobs');
    await Promise.all([snapshot, blobs].map((folder) => mkdir(folder, { recursive: true })));
    const weight_map: Record<string, string> = {};
    for (const [i, part] of [
      ['frozen.weight', 'adapter.weight'],
      ['frozen.bias', 'frozen.out', 'frozen.conv'],
    ].entries()) {
      const name = `model-0000${i + 1}-of-00002.safetensors`;
      for (const tensor of part) weight_map[tensor] = name;
      const tensors = new Map([...weights()].filter(([tensor]) => part.includes(tensor)));
      await writeFile(path.join(blobs, `blob${i}`), encodeSafetensors(tensors));
      await symlink(path.join('..', '..', 'blobs', `blob${i}`), path.join(snapshot, name));
    }
    await writeFile(path.join(blobs, 'index'), JSON.stringify({ metadata: { total_size: 1 }, weight_map }));
    await symlink('../../blobs/index', path.join(snapshot, 'model.safetensors.index.json'));
    for (const given of [half, snapshot, path.join(snapshot, 'model.safetensors.index.json')]) {
      const store = await ParamStore.open(given);
      expect(await train(store, 'mapped')).toEqual(await train(store, 'copied'));
    }
  });

  it('widens bfloat16 and 64-bit integers as they are read', async () => {
    const header = {
      b: { dtype: 'BF16', shape: [3], data_offsets: [0, 6] },
      i: { dtype: 'I64', shape: [2], data_offsets: [6, 22] },
      none: { dtype: 'F32', shape: [0, 3], data_offsets: [22, 22] },
    };
    const json = Buffer.from(JSON.stringify(header));
    const prefix = Buffer.alloc(8);
    prefix.writeBigUInt64LE(BigInt(json.length));
    const data = Buffer.concat([
      new Uint8Array(Uint16Array.of(0x3f80, 0xc000, 0x0001).buffer),
      new Uint8Array(BigInt64Array.of(7n, -2n).buffer),
    ]);
    const file = path.join(root, 'types.safetensors');
    await writeFile(file, Buffer.concat([prefix, json, data]));
    const store = await ParamStore.open(file);
    const program = await compile(
      ({ x: given }, _, { b, i, none }) => ({
        outputs: { b: tf.mul(given, b), i: tf.add(i, 1), none: tf.concat([none, tf.reshape(given, [1, 3])], 0) },
      }),
      { inputs: { x: { shape: [3], dtype: 'float32' } }, constants: store.map(store.tensors.keys()) },
    );
    const out = await program.run({ x: Float32Array.of(1, 1, 2) });
    expect([...out.b]).toEqual([1, -2, 2 * 2 ** -133]);
    expect([...out.i]).toEqual([8, -1]);
    expect([...out.none]).toEqual([1, 1, 2]);
    await program.dispose();
  });

  it('writes what was trained to a file that the store reads back', async () => {
    const file = path.join(root, 'source.safetensors');
    await writeFile(file, encodeSafetensors(weights()));
    const { adapter } = await train(await ParamStore.open(file), 'mapped');
    const trained = path.join(root, 'trained.safetensors');
    await writeFile(trained, encodeSafetensors(new Map([['adapter.weight', { shape: [D, D], data: adapter }]])));
    const back = await ParamStore.open(trained);
    expect([...back.tensors.keys()]).toEqual(['adapter.weight']);
    expect((await back.copy(['adapter.weight']))['adapter.weight'].data).toEqual(adapter);
    expect(adapter).not.toEqual(weights().get('adapter.weight')!.data);
  });
});

describe('a file that changes', () => {
  const probe = (constants: Record<string, MappedTensor>) =>
    compile(({ x: given }, _, { 'frozen.bias': bias }) => ({ outputs: { y: tf.add(given, bias) } }), {
      inputs: { x: { shape: [D], dtype: 'float32' } },
      constants,
    });
  const ones = new Float32Array(D).fill(1);
  const fresh = async (name: string) => {
    const file = path.join(root, name);
    await writeFile(file, encodeSafetensors(weights()));
    return { file, store: await ParamStore.open(file) };
  };

  it('stops a program before the run that would read past its end', async () => {
    const { file, store } = await fresh('cut.safetensors');
    const program = await probe(store.map(['frozen.bias']));
    await program.run({ x: ones });
    await truncate(file, 16);
    await expect(program.run({ x: ones })).rejects.toThrow(/cut\.safetensors was written to while a program uses/);
    await program.dispose();
  });

  it('is refused between opening and compiling, and when it is read', async () => {
    const { file, store } = await fresh('early.safetensors');
    const constants = store.map(['frozen.bias']);
    await writeFile(file, encodeSafetensors(new Map([['frozen.bias', draw(77, [D])]])));
    await expect(probe(constants)).rejects.toThrow(/has changed since it was opened/);
    await expect(store.read('frozen.bias')).rejects.toThrow(/was changed after it was opened/);
  });

  it('may be replaced or removed, since the program has the old one', async () => {
    const { file, store } = await fresh('replaced.safetensors');
    const program = await probe(store.map(['frozen.bias']));
    const first = (await program.run({ x: ones })).y.slice();
    await writeFile(`${file}.new`, encodeSafetensors(new Map([['frozen.bias', draw(77, [D])]])));
    await rename(`${file}.new`, file);
    expect((await program.run({ x: ones })).y).toEqual(first);
    await rm(file);
    expect((await program.run({ x: ones })).y as NumericArray).toEqual(first);
    await program.dispose();
  });

  it('cannot be mapped outside its bounds or as another type', async () => {
    const { store } = await fresh('bounds.safetensors');
    const [good] = Object.values(store.map(['frozen.bias']));
    const attempt = (change: object) => probe({ 'frozen.bias': { ...good, ...change } });
    await expect(attempt({ offset: 10_000_000 })).rejects.toThrow(/do not lie in its/);
    await expect(attempt({ offset: -4 })).rejects.toThrow(/do not lie in its/);
    await expect(attempt({ length: 4 * D + 4 })).rejects.toThrow(/needs 96 bytes, and 100 are given/);
    await expect(attempt({ stored: 'int32' })).rejects.toThrow(/int32 in a file cannot stand for float32/);
    await expect(attempt({ file: path.join(root, 'nowhere') })).rejects.toThrow(/cannot be found \(ENOENT\)/);
    await expect(attempt({ file: root, stamp: undefined })).rejects.toThrow(/no regular file/);
  });
});

describe('memory', () => {
  const SIDE = 10_240;
  const MB = (SIDE * SIDE * 4) / 2 ** 20;

  async function measure(mode: string, file: string): Promise<Record<'peak' | 'anonymous' | 'y', number>> {
    const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
    const script = fileURLToPath(new URL('./extern-memory.ts', import.meta.url));
    const { stdout } = await promisify(execFile)(process.execPath, ['--import', tsx, script, mode, file]);
    return JSON.parse(stdout);
  }

  it.skipIf(process.platform !== 'linux')(
    `of a program over ${MB} MB of frozen weights is the file's pages, not copies (Linux only: reads /proc)`,
    async () => {
      const file = path.join(root, 'big.safetensors');
      const header = Buffer.from(
        JSON.stringify({ w: { dtype: 'F32', shape: [SIDE, SIDE], data_offsets: [0, SIDE * SIDE * 4] } }),
      );
      const prefix = Buffer.alloc(8);
      prefix.writeBigUInt64LE(BigInt(header.length));
      // Rows of zeros are left out, so that the disk holds little of the file; memory makes no difference between them.
      const row = new Uint8Array(Float32Array.from({ length: SIDE }, (_, i) => (i % 97) / 97).buffer);
      const start = prefix.length + header.length;
      const handle = await open(file, 'w');
      await handle.write(Buffer.concat([prefix, header]));
      await handle.truncate(start + SIDE * row.length);
      for (let i = 0; i < SIDE; i += 500) await handle.write(row, 0, row.length, start + i * row.length);
      await handle.close();
      const copied = await measure('copied', file);
      const packed = await measure('pack', file);
      const kept = await measure('keep', file);
      await rm(file);
      console.log('MB, over the process before:', JSON.stringify({ file: MB, copied, packed, kept }));
      expect(packed.y).toBe(copied.y);
      expect(Math.abs(kept.y / copied.y - 1)).toBeLessThan(1e-5);
      expect(kept.anonymous).toBeLessThan(0.25 * MB);
      expect(kept.peak).toBeLessThan(1.25 * MB);
      expect(packed.anonymous).toBeLessThan(1.25 * MB);
      expect(packed.peak).toBeLessThan(copied.peak - MB);
    },
    300_000,
  );
});

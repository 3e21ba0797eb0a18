// The store over real files: what it finds in a folder, what it hands out, and every way in which it says no.

import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { FoveaError } from './errors.ts';
import { ParamStore } from './params.ts';
import { encodeSafetensors } from './safetensors.ts';

const tensor = (...values: number[]) => ({ shape: [values.length], data: Float32Array.from(values) });
const bytes = (names: string[]) => encodeSafetensors(new Map(names.map((name, i) => [name, tensor(i, i + 0.5)])));
const index = (weight_map: unknown) => JSON.stringify({ metadata: { total_size: 16 }, weight_map });

let root: string;
let folder: string;
let count = 0;
beforeAll(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'fovea-params-'));
});
beforeEach(async () => {
  folder = path.join(root, `${count++}`);
  await mkdir(folder);
});
afterAll(() => rm(root, { recursive: true, force: true }));

const put = async (name: string, data: Uint8Array | string) => {
  const file = path.join(folder, name);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, data);
  return file;
};

async function refusal(given: string, act: (store: ParamStore) => unknown = () => {}): Promise<string> {
  try {
    await act(await ParamStore.open(given));
  } catch (error) {
    expect(error).toBeInstanceOf(FoveaError);
    expect((error as Error).message).not.toContain('\n');
    return (error as Error).message;
  }
  throw new Error('was accepted');
}

describe('a store', () => {
  test('reads headers at opening, single tensors when asked, and says where they lie', async () => {
    const data = encodeSafetensors(
      new Map<string, { shape: number[]; data: Float32Array | Int32Array }>([
        ['w', { shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) }],
        ['ids', { shape: [3], data: Int32Array.of(5, 6, 7) }],
      ]),
      { metadata: { format: 'pt' } },
    );
    const file = await put('model.safetensors', data);
    const store = await ParamStore.open(folder);
    expect(store.metadata.format).toBe('pt');
    const { offset, length, ...rest } = store.tensors.get('w')!;
    expect(rest).toEqual({ shape: [2, 2], dtype: 'F32', file });
    expect(new Float32Array(data.slice(offset, offset + length).buffer)).toEqual(Float32Array.of(1, 2, 3, 4));
    expect((await store.read('ids')).data).toEqual(Int32Array.of(5, 6, 7));
    expect((await store.copy(['w'])).w).toEqual({ shape: [2, 2], dtype: 'float32', data: Float32Array.of(1, 2, 3, 4) });
    expect(store.map(['ids']).ids).toMatchObject({ dtype: 'int32', stored: 'int32', file });
    expect(await refusal(folder, (s) => s.copy(['ids']))).toContain('"ids" is I32, which cannot be trained');
    expect(await refusal(folder, (s) => s.read('x'))).toContain('no tensor "x"; they have "ids", "w"');
  });

  test('widens F16 for training and maps it as it is', async () => {
    const file = await put('half.safetensors', encodeSafetensors(new Map([['w', tensor(1, -2.5)]]), { dtype: 'F16' }));
    const store = await ParamStore.open(file);
    expect((await store.copy(['w'])).w.data).toEqual(Float32Array.of(1, -2.5));
    expect(store.map(['w']).w).toMatchObject({ dtype: 'float32', stored: 'float16', length: 4 });
  });

  test('reads no more of a large file than its header and what is asked for', async () => {
    const side = 2 ** 20;
    const header = JSON.stringify({
      small: { dtype: 'F32', shape: [1], data_offsets: [0, 4] },
      huge: { dtype: 'F32', shape: [side, side], data_offsets: [4, 4 + 4 * side * side] },
    });
    const prefix = Buffer.alloc(8);
    prefix.writeBigUInt64LE(BigInt(header.length));
    const file = await put('huge.safetensors', Buffer.concat([prefix, Buffer.from(header)]));
    await truncate(file, 8 + header.length + 4 + 4 * side * side); // 4 TiB, of which the disk holds a page
    const store = await ParamStore.open(file);
    expect((await store.read('small')).data).toEqual(Float32Array.of(0));
    expect(store.map(['huge']).huge.length).toBe(4 * side * side);
    expect(await refusal(file, (s) => s.read('huge'))).toContain('does not fit into memory');
  });

  test('refuses NaN where weights are copied', async () => {
    const file = await put('nan.safetensors', encodeSafetensors(new Map([['w', tensor(0, Number.NaN)]])));
    expect(await refusal(file, (s) => s.copy(['w']))).toContain('"w" holds NaN at index 1');
  });

  test('notices that a file was changed or cut after opening', async () => {
    const file = await put('a.safetensors', bytes(['a']));
    const store = await ParamStore.open(file);
    await utimes(file, new Date(), new Date(Date.now() + 5000));
    await expect(store.read('a')).rejects.toThrow(/was changed after it was opened/);
    await rm(file);
    await expect(store.read('a')).rejects.toThrow(/cannot be read \(open: ENOENT\)/);
  });
});

describe('a folder', () => {
  test.each([
    ['the usual name first', ['model.safetensors', 'other.safetensors'], 'model.safetensors'],
    ['a model of diffusers', ['diffusion_pytorch_model.safetensors', 'x.bin'], 'diffusion_pytorch_model.safetensors'],
    ['the only file', ['other.safetensors', 'config.json'], 'other.safetensors'],
  ])('finds %s', async (_, names, found) => {
    for (const name of names) await put(name, bytes([name]));
    expect([...(await ParamStore.open(folder)).tensors.keys()]).toEqual([found]);
  });

  test('with nothing to choose by, or nothing to read, lists what it has', async () => {
    expect(await refusal(folder)).toContain('holds no .safetensors file');
    await put('pytorch_model.bin', 'x');
    expect(await refusal(folder)).toMatch(/"pytorch_model.bin" are a pickle.*save_file/);
    await put('a.safetensors', bytes(['a']));
    await put('b.safetensors', bytes(['b']));
    expect(await refusal(folder)).toContain('holds "a.safetensors", "b.safetensors"; say which');
  });
});

describe('shards', () => {
  const shards = async (weightMap: unknown) => {
    await put('a.safetensors', bytes(['a1', 'a2']));
    await put('b.safetensors', bytes(['b1']));
    return put('model.safetensors.index.json', typeof weightMap === 'string' ? weightMap : index(weightMap));
  };
  const good = { a1: 'a.safetensors', a2: 'a.safetensors', b1: 'b.safetensors' };

  test('come together, from the folder or the index', async () => {
    const file = await shards(good);
    for (const given of [folder, file]) {
      const store = await ParamStore.open(given);
      expect([...store.tensors.keys()].sort()).toEqual(['a1', 'a2', 'b1']);
      expect((await store.read('b1')).data).toEqual(Float32Array.of(0, 0.5));
    }
  });

  test.each([
    ['a tensor that the shard lacks', { ...good, a3: 'a.safetensors' }, 'lists "a3" in "a.safetensors"'],
    ['a tensor that the index lacks', { a1: 'a.safetensors', b1: 'b.safetensors' }, '"a.safetensors" holds "a2"'],
    ['a tensor in another shard', { ...good, a2: 'b.safetensors' }, '"a.safetensors" holds "a2"'],
    ['a shard that is not there', { ...good, c: 'c.safetensors' }, 'lack the file "c.safetensors"'],
    ['a path upward', { ...good, c: '../c.safetensors' }, 'lists the file "../c.safetensors"'],
    ['an absolute path', { ...good, c: '/c.safetensors' }, 'lists the file "/c.safetensors"'],
    ['a path of Windows', { ...good, c: 'C:\\c.safetensors' }, 'bare names'],
    ['a folder', { ...good, c: 'x/c.safetensors' }, 'bare names'],
    ['a NUL', { ...good, c: 'c\u0000.safetensors' }, 'bare names'],
    ['a pickle', { ...good, c: 'pytorch_model.bin' }, 'are a pickle'],
    ['a file that is no name', { ...good, c: 1 }, 'lists no file for "c"'],
    ['no map', 'null', 'no JSON object'],
    ['an empty map', {}, '"weight_map" is empty'],
    ['a list as map', ['a.safetensors'], 'no object "weight_map"'],
    ['__proto__', '{"weight_map":{"__proto__":"a.safetensors"}}', '__proto__'],
    ['a key twice', '{"weight_map":{"a1":"a.safetensors","a\\u0031":"b.safetensors"}}', 'same key twice'],
    ['deep nesting', `{"weight_map":${'['.repeat(200_000)}${']'.repeat(200_000)}}`, 'nested more than 16 deep'],
  ])('refuse %s', async (_, map, why) => {
    expect(await refusal(await shards(map))).toContain(why);
  });
});

describe('links', () => {
  const link = async (target: string, name: string) => {
    await mkdir(path.dirname(path.join(folder, name)), { recursive: true });
    await symlink(target, path.join(folder, name));
  };

  test('within the folder, and of the file that was named itself, are followed', async () => {
    await put('in/blob', bytes(['w']));
    await link('blob', 'in/model.safetensors');
    await link('in/blob', 'elsewhere.safetensors');
    for (const given of ['in', 'in/model.safetensors', 'elsewhere.safetensors'])
      expect((await ParamStore.open(path.join(folder, given))).tensors.has('w')).toBe(true);
    await link('in', 'alias');
    expect((await ParamStore.open(path.join(folder, 'alias'))).tensors.has('w')).toBe(true);
  });

  test('of the Hugging Face cache are followed, from subfolders too', async () => {
    await put('models--a--b/blobs/123', bytes(['w']));
    await link('../../blobs/123', 'models--a--b/snapshots/rev/model.safetensors');
    await link('../../../blobs/123', 'models--a--b/snapshots/rev/unet/diffusion_pytorch_model.safetensors');
    for (const given of ['models--a--b/snapshots/rev', 'models--a--b/snapshots/rev/unet'])
      expect((await ParamStore.open(path.join(folder, given))).tensors.has('w')).toBe(true);
  });

  test('out of the folder are refused: beside it, from a snapshot to elsewhere, from an index', async () => {
    await put('secret.safetensors', bytes(['w']));
    await link('../secret.safetensors', 'plain/model.safetensors');
    await link('../../../secret.safetensors', 'models--a--b/snapshots/rev/model.safetensors');
    await put('blobs/1', bytes(['w']));
    await link('../../blobs/1', 'snapshots/rev/model.safetensors');
    await put('indexed/model.safetensors.index.json', index({ w: 'w.safetensors' }));
    await link('../secret.safetensors', 'indexed/w.safetensors');
    for (const given of ['plain', 'models--a--b/snapshots/rev', 'snapshots/rev', 'indexed'])
      expect(await refusal(path.join(folder, given))).toContain('is a link that leads out of that folder');
  });

  test('to nothing, to themselves, and what is no regular file are refused without waiting', async () => {
    await link('nothing', 'model.safetensors');
    expect(await refusal(folder)).toContain('lack the file "model.safetensors"');
    expect(await refusal(path.join(folder, 'model.safetensors'))).toContain('cannot be read (stat: ENOENT)');
    await link('loop.safetensors', 'loop.safetensors');
    expect(await refusal(path.join(folder, 'loop.safetensors'))).toContain('ELOOP');
    if (process.platform !== 'win32') {
      execFileSync('mkfifo', [path.join(folder, 'pipe.safetensors')]);
      expect(await refusal(path.join(folder, 'pipe.safetensors'))).toContain('no regular file');
    }
  });
});

describe('what is no safetensors file', () => {
  test.each([
    ['model.bin', 'PK\u0003\u0004', 'are a pickle'],
    ['model.PT', '', 'are a pickle'],
    ['weights.h5', '', 'neither a .safetensors file nor'],
    ['zip.safetensors', 'PK\u0003\u0004\u0000\u0000\b\b\u0000\u0000', "one of PyTorch's pickles"],
    ['lfs.safetensors', 'version https://git-lfs.github.com/spec/v1\noid sha256:00\n', 'Git LFS pointer'],
    ['short.safetensors', '', 'it has 0 bytes'],
    ['text.safetensors', '{"a": 1}      ', 'is the limit'],
  ])('%s', async (name, data, why) => {
    expect(await refusal(await put(name, Buffer.from(data, 'latin1')))).toContain(why);
  });

  test('nothing at all', async () => {
    expect(await refusal(path.join(folder, 'no.safetensors'))).toContain('(stat: ENOENT)');
  });
});

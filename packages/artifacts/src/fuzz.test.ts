// Damaged safetensors, in memory and on disk: 100,000 seeded mutations of valid files, each of which must end as tensors
// within the file's bytes or as the one sentence. FOVEA_FUZZ sets another count (1000000 takes minutes), FOVEA_FUZZ_SEED
// another seed; a failure names its seed and number.

import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { philox, type Rng } from '@fovea/tensor/random';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FoveaError } from './errors.ts';
import { ParamStore } from './params.ts';
import { type DecodedTensor, decodeSafetensors, encodeSafetensors } from './safetensors.ts';

const COUNT = Number(process.env.FOVEA_FUZZ ?? 100_000);
const SEED = Number(process.env.FOVEA_FUZZ_SEED ?? 1);
const WIDTH: Record<string, number> = {
  F64: 8,
  I64: 8,
  U64: 8,
  F32: 4,
  I32: 4,
  U32: 4,
  F16: 2,
  BF16: 2,
  I16: 2,
  U16: 2,
};

function file(header: unknown, size: number, pad = 0): Uint8Array {
  const json = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header) + ' '.repeat(pad));
  const out = new Uint8Array(8 + json.length + size).fill(1, 8 + json.length);
  new DataView(out.buffer).setBigUint64(0, BigInt(json.length), true);
  out.set(json, 8);
  return out;
}

const entry = (dtype: string, shape: number[], begin: number, end: number) => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

const SEEDS = [
  encodeSafetensors(new Map(), {}),
  encodeSafetensors(new Map([['w', { shape: [2, 3], data: Float32Array.of(1, -2, 3.5, 0, 1e-8, 6) }]])),
  encodeSafetensors(
    new Map<string, { shape: number[]; data: Float32Array | Int32Array }>([
      ['vision_model.embeddings.weight', { shape: [4, 2], data: new Float32Array(8).fill(0.5) }],
      ['position_ids', { shape: [3], data: Int32Array.of(0, 1, 2) }],
      ['empty', { shape: [0, 7], data: new Float32Array(0) }],
    ]),
    { metadata: { format: 'pt', note: 'a "quoted": note' } },
  ),
  file({ a: entry('BF16', [3], 0, 6), b: entry('F64', [], 6, 14), c: entry('BOOL', [2, 1], 14, 16) }, 16),
  file({ i: entry('I64', [1], 1, 9), u: entry('U8', [1], 0, 1), h: entry('F16', [2], 9, 13) }, 13, 3),
  file(
    Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`layers.${i}.w`, entry('F32', [2], 8 * i, 8 * i + 8)])),
    96,
  ),
];

const NUMBERS = [
  '0',
  '-0',
  '-1',
  '1',
  '4',
  '1.5',
  '1e3',
  '1e308',
  '1e999',
  '2147483648',
  '4294967296',
  '4611686018427387904',
].concat([
  '9007199254740991',
  '9007199254740992',
  '18446744073709551616',
  '9'.repeat(400),
  'null',
  'true',
  '"4"',
  '[]',
  '{}',
]);
const NAMES = [
  '"__proto__"',
  '"__metadata__"',
  '"constructor"',
  '""',
  '"\\u0000"',
  '"\\u2028\\n"',
  '"\\ud800"',
  `"${'n'.repeat(5000)}"`,
];
const TYPES = ['"F32"', '"F64"', '"F16"', '"I8"', '"F8_E4M3"', '"f32"', '"toString"', 'null', '32', '["F32"]'];
const WORDS = [
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '"',
  '\\',
  '\ufeff',
  '\u0000',
  '"dtype":',
  '"shape":[1],',
  '"__proto__":1,',
];

type Mutate = (bytes: Uint8Array, rng: Rng) => Uint8Array;
const pick = <T>(rng: Rng, from: ArrayLike<T>): T => from[rng.int(from.length)];

const headerEnd = (bytes: Uint8Array) =>
  bytes.length < 8
    ? bytes.length
    : Math.min(bytes.length, 8 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true));

/** Rewrites the header's text, with a length that fits it. */
const onText =
  (edit: (text: string, rng: Rng) => string): Mutate =>
  (bytes, rng) => {
    const end = Math.max(8, headerEnd(bytes));
    const json = new TextEncoder().encode(edit(new TextDecoder().decode(bytes.subarray(8, end)), rng));
    const out = new Uint8Array(8 + json.length + Math.max(0, bytes.length - end));
    new DataView(out.buffer).setBigUint64(0, BigInt(json.length), true);
    out.set(json, 8);
    out.set(bytes.subarray(end), 8 + json.length);
    return out;
  };

/** Replaces one match of a pattern by something of a list. */
const swap = (pattern: RegExp, by: readonly string[]) =>
  onText((text, rng) => {
    const found = [...text.matchAll(pattern)];
    if (found.length === 0) return text;
    const { index, 0: whole } = pick(rng, found);
    return text.slice(0, index) + pick(rng, by) + text.slice(index + whole.length);
  });

const MUTATIONS: Record<string, Mutate> = {
  'flip bits': (bytes, rng) => {
    for (let i = rng.int(8); i >= 0 && bytes.length > 0; i--) bytes[rng.int(bytes.length)] ^= 1 << rng.int(8);
    return bytes;
  },
  'set header bytes': (bytes, rng) => {
    for (let i = rng.int(3); i >= 0; i--) bytes[rng.int(Math.max(1, headerEnd(bytes)))] = rng.int(256);
    return bytes;
  },
  truncate: (bytes, rng) => bytes.subarray(0, rng.int(bytes.length + 1)),
  extend: (bytes, rng) => Uint8Array.from([...bytes, ...Array.from({ length: 1 + rng.int(16) }, () => rng.int(256))]),
  splice: (bytes, rng) => {
    const other = pick(rng, SEEDS);
    const [at, from] = [rng.int(bytes.length + 1), rng.int(other.length)];
    const [cut, take] = [rng.int(64), rng.int(64)];
    return Uint8Array.from([
      ...bytes.subarray(0, at),
      ...other.subarray(from, from + take),
      ...bytes.subarray(at + cut),
    ]);
  },
  'header length': (bytes, rng) => {
    if (bytes.length < 8) return bytes;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const now = view.getBigUint64(0, true);
    const near = now + BigInt(rng.int(33) - 16);
    const lengths = [
      near,
      BigInt(bytes.length - 8),
      0n,
      1n,
      100_000_000n,
      100_000_001n,
      2n ** 32n + now,
      2n ** 63n,
      2n ** 64n - 1n,
    ];
    view.setBigUint64(0, BigInt.asUintN(64, pick(rng, lengths)), true);
    return bytes;
  },
  'a number': swap(/\d+(?=[\],])/g, NUMBERS),
  'a number near': onText((text, rng) => {
    const found = [...text.matchAll(/\d+(?=[\],])/g)];
    if (found.length === 0) return text;
    const { index, 0: whole } = pick(rng, found);
    return text.slice(0, index) + String(Number(whole) + rng.int(9) - 4) + text.slice(index + whole.length);
  }),
  'a dtype': swap(/"(?:F|BF|I|U)\d+"|"BOOL"/g, TYPES),
  'a name': swap(/"[^"]*"(?=:)/g, NAMES),
  'a key twice': onText((text, rng) => {
    const found = [...text.matchAll(/"[^"]*":(?:\{[^{}]*\}|"[^"]*"|\[[^[\]]*\])/g)];
    if (found.length === 0) return text;
    const { index, 0: whole } = pick(rng, found);
    const again = rng.int(2) === 0 ? whole : whole.replace(/[a-z]/, (c) => `\\u00${c.charCodeAt(0).toString(16)}`);
    return `${text.slice(0, index)}${again},${text.slice(index)}`;
  }),
  'a word': onText((text, rng) => {
    const at = rng.int(text.length + 1);
    return text.slice(0, at) + pick(rng, WORDS) + text.slice(at + rng.int(2));
  }),
  nesting: swap(/\[[^[\]]*\]/g, [
    `${'['.repeat(300)}${']'.repeat(300)}`,
    '[[1]]',
    `[${'1,'.repeat(300)}1]`,
    `{"a":${'{"a":'.repeat(99)}1${'}'.repeat(100)}`,
  ]),
  'two entries exchanged': onText((text, rng) => {
    const found = [...text.matchAll(/\{[^{}]*\}/g)].map(([whole]) => whole);
    if (found.length < 2) return text;
    const [a, b] = [pick(rng, found), pick(rng, found)];
    return text.replace(a, '\u0001').replace(b, a).replace('\u0001', b);
  }),
  noise: (_, rng) => Uint8Array.from({ length: rng.int(200) }, () => rng.int(256)),
};
const INDEX = 'model.safetensors.index.json';
const KINDS = Object.keys(MUTATIONS);

function mutated(index: number): { bytes: Uint8Array; kinds: string[] } {
  const rng = philox(SEED, 'fuzz', 0, index);
  // Each kind has its turn as the first, so that each is sure to have its share.
  const kinds = [KINDS[index % KINDS.length]];
  while (kinds.length < 3 && rng.int(2) === 0) kinds.push(pick(rng, KINDS));
  let bytes: Uint8Array = pick(rng, SEEDS).slice();
  for (const kind of kinds) bytes = MUTATIONS[kind](bytes, rng);
  return { bytes, kinds };
}

/** The bytes amid others of one value, so that what is read outside them shows. */
function amid(bytes: Uint8Array, value: number): Uint8Array {
  const around = new Uint8Array(bytes.length + 64).fill(value);
  around.set(bytes, 32);
  return around.subarray(32, 32 + bytes.length);
}

type Decoded = Map<string, DecodedTensor>;

function decode(bytes: Uint8Array): Decoded | string {
  try {
    return decodeSafetensors(bytes, 'x', { allowNonFinite: true }).tensors;
  } catch (error) {
    return sentence(error);
  }
}

/** The message of an error that has to be the one sentence. */
function sentence(error: unknown): string {
  if (!(error instanceof FoveaError)) throw error;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not be there.
  if (!/^[^\u0000-\u001f\u007f-\u009f]{20,900}\.$/.test(error.message))
    throw new Error(`no sentence: ${error.message}`);
  return error.message;
}

/** Throws unless the tensors fill the data exactly. */
function checkBounds(tensors: Decoded, bytes: Uint8Array): void {
  let size = 0;
  for (const { dtype, shape, data } of tensors.values()) {
    const count = shape.reduce((a, b) => a * b, 1);
    if (data.length !== count) throw new Error(`${data.length} values for [${shape}]`);
    size += count * (WIDTH[dtype] ?? 1);
  }
  if (headerEnd(bytes) + size !== bytes.length) throw new Error(`${size} bytes of tensors in ${bytes.length}`);
}

const same = (a: Decoded | string, b: Decoded | string): boolean => {
  if (typeof a === 'string' || typeof b === 'string') return a === b;
  return (
    a.size === b.size &&
    [...a].every(([name, { dtype, shape, data }]) => {
      const other = b.get(name)!;
      const raw = (array: DecodedTensor['data']) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
      return dtype === other.dtype && shape.join() === other.shape.join() && raw(data).equals(raw(other.data));
    })
  );
};

const started = performance.now();

test(`${COUNT} damaged files in memory end as tensors within bounds or as one sentence`, { timeout: 3_600_000 }, () => {
  const read = new Map<string, number>();
  const refused = new Map<string, number>();
  let slowest = 0;
  for (let i = 0; i < COUNT; i++) {
    const { bytes, kinds } = mutated(i);
    try {
      const before = process.cpuUsage();
      const result = decode(amid(bytes, 0x00));
      slowest = Math.max(slowest, process.cpuUsage(before).user / 1000);
      if (typeof result !== 'string') {
        checkBounds(result, bytes);
        if (!same(result, decode(amid(bytes, 0x5d)))) throw new Error('it depends on bytes outside the file');
      }
      const tally = typeof result === 'string' ? refused : read;
      tally.set(kinds[0], (tally.get(kinds[0]) ?? 0) + 1);
    } catch (error) {
      throw new Error(`seed ${SEED}, mutation ${i} (${kinds}): ${(error as Error).stack}`);
    }
  }
  const accepted = [...read.values()].reduce((a, b) => a + b, 0);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(
    `fuzz: ${COUNT} mutations in ${seconds} s, ${accepted} still valid, the slowest took ${slowest.toFixed(0)} ms of CPU`,
  );
  if (COUNT >= 10_000) {
    for (const kind of KINDS) expect(refused.get(kind) ?? 0, kind).toBeGreaterThan(COUNT / KINDS.length / 20);
    expect(accepted).toBeGreaterThan(COUNT / 100);
    expect(accepted).toBeLessThan(COUNT / 2);
  }
  expect(slowest).toBeLessThan(5000);
});

let root: string;
beforeAll(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'fovea-fuzz-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** Every tensor of a store, or the sentence that refused it. */
async function readAll(given: string): Promise<Decoded | string> {
  try {
    const store = await ParamStore.open(given);
    const out: Decoded = new Map();
    for (const name of store.tensors.keys()) out.set(name, await store.read(name, { allowNonFinite: true }));
    return out;
  } catch (error) {
    return sentence(error);
  }
}

test('damaged files on disk: the store refuses what the decoder refuses and reads the same', {
  timeout: 3_600_000,
}, async () => {
  const given = path.join(root, 'one.safetensors');
  let accepted = 0;
  const count = Math.ceil(COUNT / 100);
  for (let i = 0; i < count; i++) {
    const { bytes, kinds } = mutated(COUNT + i);
    try {
      await writeFile(given, bytes);
      const [stored, decoded] = [await readAll(given), decode(bytes)];
      if ((typeof stored === 'string') !== (typeof decoded === 'string')) throw new Error(`${stored} / ${decoded}`);
      if (typeof stored === 'string') continue;
      accepted++;
      if (!same(stored, decoded)) throw new Error('the store reads other tensors');
    } catch (error) {
      throw new Error(`seed ${SEED}, mutation ${COUNT + i} (${kinds}): ${(error as Error).stack}`);
    }
  }
  expect(accepted).toBeGreaterThan(count / 100);
});

test('damaged indexes and shards end as the right tensors or as one sentence', { timeout: 3_600_000 }, async () => {
  const folder = path.join(root, 'sharded');
  await mkdir(folder);
  const outside = encodeSafetensors(new Map([['w', { shape: [1], data: Float32Array.of(9) }]]));
  await writeFile(path.join(root, 'outside.safetensors'), outside);
  await symlink('../outside.safetensors', path.join(folder, 'link.safetensors'));
  const shards: Record<string, Uint8Array> = {
    'a.safetensors': SEEDS[2],
    'b.safetensors': SEEDS[1],
    'c.safetensors': SEEDS[3],
  };
  const weightMap = Object.fromEntries(
    Object.entries(shards).flatMap(([name, bytes]) =>
      [...decodeSafetensors(bytes, name).tensors.keys()].map((t) => [t, name]),
    ),
  );
  const index = JSON.stringify({ metadata: { total_size: 100 }, weight_map: weightMap });
  const write = (name: string, bytes: Uint8Array | string) => writeFile(path.join(folder, name), bytes);
  for (const [name, bytes] of Object.entries(shards)) await write(name, bytes);
  await write(INDEX, index);
  const whole = (await readAll(folder)) as Decoded;
  expect([...whole.keys()].sort()).toEqual(Object.keys(weightMap).sort());
  const files = [
    '../outside',
    '/etc/passwd',
    'link',
    'a',
    'b',
    'd',
    '..',
    'a\\..\\b',
    'A',
    './a',
    'a.safetensors/../b',
    '\\u0000',
  ]
    .map((name) => `"${name}.safetensors"`)
    .concat(['"pytorch_model.bin"', '""', 'null', '1', '["a.safetensors"]', '"a.safetensors "']);
  const edits = [
    swap(/"[abc]\.safetensors"/g, files),
    MUTATIONS['a name'],
    MUTATIONS['a key twice'],
    MUTATIONS['a word'],
    MUTATIONS['flip bits'],
  ];
  let refused = 0;
  const count = Math.ceil(COUNT / 250);
  for (let i = 0; i < count; i++) {
    const rng = philox(SEED, 'fuzz index', 0, i);
    const shard = rng.int(4) === 0 ? pick(rng, Object.keys(shards)) : null;
    if (shard) await write(shard, mutated(2 * COUNT + i).bytes);
    else await write(INDEX, pick(rng, edits)(file(index, 0), rng).subarray(8));
    try {
      const result = await readAll(folder);
      if (typeof result === 'string') refused++;
      else if (!shard) {
        for (const [name, { data }] of result)
          if (!whole.has(name) || data.join() !== whole.get(name)!.data.join()) throw new Error(`"${name}" is another`);
      }
    } catch (error) {
      throw new Error(`seed ${SEED}, index mutation ${i}: ${(error as Error).stack}`);
    }
    if (shard) await write(shard, shards[shard]);
    else await write(INDEX, index);
  }
  expect(refused).toBeGreaterThan(count / 2);
  expect(refused).toBeLessThan(count);
});

// PyTorch's old pickles without PyTorch (infra/weights/torch-legacy.mjs): what is read, and that nothing else is.

import { describe, expect, it } from 'vitest';

const path: string = '../infra/weights/torch-legacy.mjs';
const { BadPickle, readLegacyTorch } = await import(path);

const bytes = (...parts: (number | string | Buffer)[]): Buffer =>
  Buffer.concat(parts.map((part) => (typeof part === 'number' ? Buffer.of(part) : Buffer.from(part as string))));
const u32 = (n: number) => Buffer.from(Uint32Array.of(n).buffer);
const text = (s: string) => bytes('X', u32(s.length), s);
const tuple = (...items: Buffer[]) => bytes('(', ...items, 't');
const int = (n: number) => bytes('J', u32(n));
const global = (module: string, name: string) => bytes('c', module, '\n', name, '\n');
const pickle = (...parts: Buffer[]) => bytes(0x80, 2, ...parts, '.');

const DICT = bytes(global('collections', 'OrderedDict'), ')R');
const MAGIC = Buffer.from('80028a0a6cfc9c46f9206aa850192e', 'hex');
const system = pickle(bytes('}', text('little_endian'), 0x88, 's'));

function tensor({
  offset = 0,
  shape = [2, 3],
  strides = [1, 2],
  storage = global('torch', 'FloatStorage'),
} = {}): Buffer {
  const where = bytes(tuple(text('storage'), storage, text('7'), text('cpu'), int(6), bytes('N')), 'Q');
  const ints = (values: number[]) => tuple(...values.map(int));
  const args = tuple(where, int(offset), ints(shape), ints(strides), bytes(0x89), DICT);
  return bytes(global('torch._utils', '_rebuild_tensor_v2'), args, 'R');
}

const file = (value: Buffer) =>
  bytes(
    ...[MAGIC, pickle(bytes('M', 0xe9, 3)), system],
    pickle(bytes(DICT, '(', text('w'), value, 'u')),
    pickle(bytes('](', text('7'), 'e')),
    Buffer.from(BigInt64Array.of(6n).buffer),
    Buffer.from(Float32Array.of(0, 1, 2, 3, 4, 5).buffer),
  );

describe("PyTorch's old state dicts", () => {
  it('are read row by row however they lie', () => {
    expect([...readLegacyTorch(file(tensor()))]).toEqual([
      ['w', { shape: [2, 3], data: Float32Array.of(0, 2, 4, 1, 3, 5) }],
    ]);
    const part = readLegacyTorch(file(tensor({ offset: 4, shape: [2], strides: [1] }))).get('w');
    expect(part.data).toEqual(Float32Array.of(4, 5));
  });

  it('may name nothing that runs, reach nowhere, and hold nothing else', () => {
    const bad: [Buffer, RegExp][] = [
      [bytes(global('os', 'system'), tuple(text('touch x')), 'R'), /it calls for os\.system/],
      [bytes(global('builtins', 'eval'), tuple(text('1')), 'R'), /it calls for builtins\.eval/],
      [bytes(global('torch', 'FloatStorage'), tuple(int(1)), 'R'), /it calls torch\.FloatStorage/],
      [bytes(0x93), /the instruction 0x93/],
      [tensor({ offset: 1 }), /w reaches past its storage/],
      [tensor({ shape: [2 ** 30, 3], strides: [0, 0] }), /w reaches past its storage/],
      [tensor({ strides: [1] }), /w has an odd shape/],
      [tensor({ storage: global('torch', 'LongStorage') }), /it is cut short/],
      [text('w'), /something other than tensors|storage that no tensor uses/],
    ];
    for (const [value, why] of bad) {
      expect(() => readLegacyTorch(file(value)), String(why)).toThrow(why);
      expect(() => readLegacyTorch(file(value))).toThrow(BadPickle);
    }
    expect(() => readLegacyTorch(Buffer.from('PK\x03\x04 a zip'))).toThrow(BadPickle);
  });

  it('with any byte changed or the end missing are read or refused, and nothing else', () => {
    const good = file(tensor());
    const attempt = (given: Buffer) => {
      try {
        readLegacyTorch(given);
      } catch (error) {
        if (!(error instanceof BadPickle)) throw error;
      }
    };
    for (let i = 0; i < good.length; i++) {
      attempt(good.subarray(0, i));
      for (const change of [1, 0x80, 0xff, 0x2e, 0x28]) {
        const changed = Buffer.from(good);
        changed[i] ^= change;
        attempt(changed);
      }
    }
    expect(() => readLegacyTorch(good.subarray(0, good.length - 1))).toThrow(/cut short/);
  });
});

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FoveaError } from './errors.ts';
import { decodeSafetensors, encodeSafetensors } from './safetensors.ts';

const tensors = new Map([
  ['w', { shape: [2, 3], data: Float32Array.of(1, -2, 3.5, 0, 1e-8, 6) }],
  ['b', { shape: [], data: Int32Array.of(7) }],
  ['empty', { shape: [0, 4], data: new Float32Array(0) }],
  ['words', { shape: [3], data: Int8Array.of(-128, 0, 127) }],
]);

/** A file with any header text over `size` zero bytes. */
function file(header: string, size = 0): Uint8Array {
  const json = new TextEncoder().encode(header);
  const out = new Uint8Array(8 + json.length + size);
  new DataView(out.buffer).setBigUint64(0, BigInt(json.length), true);
  out.set(json, 8);
  return out;
}

const refusal = (bytes: Uint8Array) => {
  try {
    decodeSafetensors(bytes, 'x');
  } catch (error) {
    expect(error).toBeInstanceOf(FoveaError);
    return (error as Error).message;
  }
  throw new Error('was accepted');
};

test('what is written is read back, from any buffer and at any alignment', () => {
  const bytes = encodeSafetensors(tensors, { metadata: { format: 'pt' } });
  const shifted = Buffer.alloc(bytes.length + 3);
  shifted.set(bytes, 3);
  const back = decodeSafetensors(shifted.subarray(3), 'x');
  expect(back.metadata.format).toBe('pt');
  expect([...back.tensors.keys()].sort()).toEqual(['b', 'empty', 'w', 'words']);
  expect(back.tensors.get('w')).toEqual({ dtype: 'F32', ...tensors.get('w') });
  expect(back.tensors.get('b')).toEqual({ dtype: 'I32', ...tensors.get('b') });
  expect(back.tensors.get('words')).toEqual({ dtype: 'I8', ...tensors.get('words') });
});

test('the bytes do not depend on the order of the tensors, and the data is aligned to 8', () => {
  const bytes = encodeSafetensors(tensors);
  expect(encodeSafetensors(new Map([...tensors].reverse()))).toEqual(bytes);
  expect(Number(new DataView(bytes.buffer).getBigUint64(0, true)) % 8).toBe(0);
});

test('F16 is written on request and widened when read', () => {
  const back = decodeSafetensors(encodeSafetensors(tensors, { dtype: 'F16' }), 'x');
  expect(back.tensors.get('w')!.dtype).toBe('F16');
  expect([...(back.tensors.get('w')!.data as Float32Array)]).toEqual([1, -2, 3.5, 0, 0, 6]);
  expect(back.tensors.get('b')!.dtype).toBe('I32');
});

test('reads a file as the reference writer makes it, BF16 and 64-bit integers too', () => {
  const bytes = file(
    '{"i":{"dtype":"I64","shape":[1],"data_offsets":[2,10]},"h":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}',
    10,
  );
  bytes.set([0x80, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], bytes.length - 10);
  const back = decodeSafetensors(bytes, 'x');
  expect(back.tensors.get('h')!.data).toEqual(Float32Array.of(1));
  expect(back.tensors.get('i')!.data).toEqual(BigInt64Array.of(-1n));
});

describe('refuses with one sentence', () => {
  const f32 = (shape: string, offsets: string) => `{"dtype":"F32","shape":${shape},"data_offsets":${offsets}}`;
  test.each([
    ['no header', new Uint8Array(7), 'length of its header'],
    ['a header longer than the file', file('{}').subarray(0, 9), 'only 1 follow'],
    ['a header over 100 MB', Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0, 0x7b), '100000000 is the limit'],
    ['another first letter', file(' {}'), 'start with "{"'],
    ['a header that is no JSON', file('{"a":}'), 'not JSON'],
    ['a header that is no UTF-8', file('{"\u00ff":1}').fill(0xff, 10, 11), 'not JSON'],
    ['a key twice', file(`{"a":${f32('[1]', '[0,4]')},"\\u0061":${f32('[1]', '[0,4]')}}`, 4), 'twice'],
    ['a field twice', file('{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4), 'twice'],
    ['a tensor named __proto__', file(`{"__proto__":${f32('[1]', '[0,4]')}}`, 4), '__proto__'],
    ['metadata that is no string', file('{"__metadata__":{"a":1}}'), 'no string'],
    ['metadata that is a list', file('{"__metadata__":["a"]}'), 'no object'],
    ['an unknown dtype', file('{"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}', 1), 'F8_E4M3'],
    ['a negative shape', file(`{"a":${f32('[-1]', '[0,4]')}}`, 4), 'no valid shape'],
    ['a negative zero', file(`{"a":${f32('[0]', '[-0,0]')}}`), 'no valid data_offsets'],
    ['half a character as name', file(`{"\\ud800":${f32('[1]', '[0,4]')}}`, 4), 'no Unicode text'],
    ['three offsets', file(`{"a":${f32('[1]', '[0,4,8]')}}`, 8), 'data_offsets'],
    ['a shape that overflows', file(`{"a":${f32('[4294967296,4294967296,4]', '[0,0]')}}`), 'needs'],
    ['fewer bytes than the shape', file(`{"a":${f32('[2]', '[0,4]')}}`, 4), 'needs 8 bytes'],
    ['a hole', file(`{"a":${f32('[1]', '[4,8]')}}`, 8), 'hole or an overlap'],
    ['an overlap', file(`{"a":${f32('[1]', '[0,4]')},"b":${f32('[1]', '[0,4]')}}`, 4), 'hole or an overlap'],
    ['bytes left over', file(`{"a":${f32('[1]', '[0,4]')}}`, 5), 'end at byte 4 of 5'],
    ['a file cut short', file(`{"a":${f32('[1]', '[0,4]')}}`, 3), 'end at byte 4 of 3'],
    ['nesting without end', file(`{"a":${'['.repeat(200_000)}${']'.repeat(200_000)}}`), 'nested more than 16 deep'],
    [
      'a dtype without end',
      file(`{"a":{"dtype":${'['.repeat(200_000)}${']'.repeat(200_000)}}}`),
      'nested more than 16 deep',
    ],
    ['a dtype that is a list', file('{"a":{"dtype":[[[1]]]}}'), 'no valid dtype'],
    ['a string without end', file('{"a'), 'not JSON'],
    ['brackets without end', file(`{"a":[${'[],'.repeat(1_000_001)}1]}`), 'more than 1000000 keys and lists'],
    ['a thousand sides', file(`{"a":${f32(`[${'9007199254740991,'.repeat(999)}0]`, '[0,0]')}}`), 'no valid shape'],
    ['a name of a megabyte', file(`{"${'n'.repeat(2 ** 20)}":null}`), 'nnn…" is no object'],
    ['a name that breaks the line', file('{"a\\n\\u2028b":null}'), '"a\\n?b" is no object'],
    ['a list', file('[]').fill(0x7b, 8, 9), 'not JSON'],
    ['an entry that is null', file('{"a":null}'), 'no object'],
  ])('%s', (_, bytes, why) => {
    const message = refusal(bytes);
    expect(message).toContain(why);
    expect(message).not.toContain('\n');
  });

  test('NaN in weights, unless it is asked for', () => {
    const bytes = encodeSafetensors(new Map([['w', { shape: [2], data: Float32Array.of(0, Number.NaN) }]]));
    expect(refusal(bytes)).toContain('"w" holds NaN at index 1');
    expect(decodeSafetensors(bytes, 'x', { allowNonFinite: true }).tensors.size).toBe(1);
  });

  test('a file cut at any byte', () => {
    const bytes = encodeSafetensors(tensors);
    for (let size = 0; size < bytes.length; size++) refusal(bytes.subarray(0, size));
  });
});

test('any byte changed gives tensors or a FoveaError, never another error', () => {
  const bytes = encodeSafetensors(tensors, { metadata: { a: 'b' } });
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.nat(255), (at, value) => {
      const changed = bytes.slice();
      changed[at] = value;
      try {
        decodeSafetensors(changed, 'x');
      } catch (error) {
        expect(error).toBeInstanceOf(FoveaError);
      }
    }),
    { numRuns: 2000 },
  );
});

test('the writer refuses what the reader would', () => {
  expect(() => encodeSafetensors(new Map([['w', { shape: [3], data: new Float32Array(2) }]]))).toThrow(/shape/);
  expect(() => encodeSafetensors(new Map([['__metadata__', { shape: [0], data: new Float32Array(0) }]]))).toThrow(
    /named/,
  );
});

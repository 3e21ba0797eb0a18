// The reader of GGUF in infra/weights, on files that this test writes: every format that it widens, and damaged ones.

import { describe, expect, it } from 'vitest';
// @ts-expect-error a script without types
import { BadGguf, readGguf } from '../infra/weights/gguf.mjs';

const u32 = (value: number) => Buffer.from(Uint32Array.of(value).buffer);
const u64 = (value: number) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
const text = (value: string) => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
/** 1.5 and −0.25 in half precision. */
const [SCALE, LEAST] = [0x3e00, 0xb400];
const half = (word: number) => Buffer.from(Uint16Array.of(word).buffer);

interface Given {
  magic?: string;
  version?: number;
  type?: number;
  shape?: number[];
  data?: Buffer;
}

function gguf({ magic = 'GGUF', version = 3, type = 0, shape = [2, 3], data = Buffer.alloc(0) }: Given): Buffer {
  const about = Buffer.concat([
    ...[text('general.name'), u32(8), text('tiny')],
    ...[text('list'), u32(9), u32(8), u64(2), text('a'), text('né')],
    ...[text('epsilon'), u32(6), Buffer.from(Float32Array.of(0.5).buffer)],
  ]);
  const tensor = Buffer.concat([text('w'), u32(shape.length), ...shape.map(u64), u32(type), u64(0)]);
  const head = Buffer.concat([Buffer.from(magic), u32(version), u64(1), u64(3), about, tensor]);
  return Buffer.concat([head, Buffer.alloc((32 - (head.length % 32)) % 32), data]);
}

describe('GGUF', () => {
  it('says what a file says, and turns sides around', () => {
    const data = Buffer.from(Float32Array.of(1, 2, 3, 4, 5, 6).buffer);
    const { about, tensors } = readGguf(gguf({ data }));
    expect({ ...about }).toEqual({ 'general.name': 'tiny', list: ['a', 'né'], epsilon: 0.5 });
    expect(tensors.get('w').shape).toEqual([3, 2]);
    expect([...tensors.get('w').data()]).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('widens four bits with a scale and a least value', () => {
    const nibbles = Buffer.from(Array.from({ length: 16 }, (_, i) => i | ((15 - i) << 4)));
    const data = Buffer.concat([half(SCALE), half(LEAST), nibbles]);
    const { tensors } = readGguf(gguf({ type: 3, shape: [32], data }));
    const wanted = Array.from({ length: 32 }, (_, i) => 1.5 * (i < 16 ? i : 31 - i) - 0.25);
    expect([...tensors.get('w').data()]).toEqual(wanted);
  });

  it('widens eight bits with a scale, and half precision', () => {
    const bytes = Buffer.from(Int8Array.from({ length: 32 }, (_, i) => 8 * (i - 16)).buffer);
    const eight = readGguf(gguf({ type: 8, shape: [32], data: Buffer.concat([half(LEAST), bytes]) }));
    expect([...eight.tensors.get('w').data()]).toEqual(Array.from({ length: 32 }, (_, i) => -0.25 * (8 * (i - 16))));
    const words = Buffer.concat([SCALE, LEAST, 0x0001, 0x8000].map(half));
    const halves = readGguf(gguf({ type: 1, shape: [4], data: words }));
    expect([...halves.tensors.get('w').data()]).toEqual([1.5, -0.25, 2 ** -24, -0]);
  });

  it.each<[string, Buffer]>([
    ['no GGUF', gguf({ magic: 'GGML' })],
    ['of another version', gguf({ version: 9 })],
    ['in an unknown format', gguf({ type: 14, shape: [256] })],
    ['without its numbers', gguf({ data: Buffer.alloc(8) })],
    ['of broken blocks', gguf({ type: 3, shape: [33], data: Buffer.alloc(100) })],
    ['of sides beyond any file', gguf({ shape: [2 ** 50, 2 ** 50] })],
    ['empty', Buffer.alloc(0)],
    ['cut short', gguf({ data: Buffer.alloc(24) }).subarray(0, 60)],
  ])('refuses a file that is %s', (_name, bytes) => {
    expect(() => readGguf(bytes)).toThrow(BadGguf);
  });
});

// ONNX files from elsewhere: what is run, and what is refused before the runtime sees it.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { requireWholeOnnx } from './onnx-contents.ts';
import { OnnxModel } from './onnx-model.ts';
import { encodeModel, type OnnxGraph } from './onnx-proto.ts';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'fovea onnx-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** y = x + w over [2, 3]; z = the shape of x is there to be left alone. */
const graph = (w: OnnxGraph['initializers'][number]['bytes']): OnnxGraph => ({
  name: 'sum',
  initializers: [{ name: 'w', type: 'float32', shape: [3], bytes: w }],
  inputs: [{ name: 'x', type: 'float32', shape: [2, 3] }],
  outputs: [
    { name: 'y', type: 'float32', shape: [2, 3] },
    { name: 'z', type: 'int64', shape: [2] },
  ],
  nodes: [
    { op: 'Add', inputs: ['x', 'w'], outputs: ['y'] },
    { op: 'Shape', inputs: ['x'], outputs: ['z'] },
  ],
});

const good = () => encodeModel(graph(new Uint8Array(Float32Array.of(1, 2, 3).buffer)));
const wanted = { inputs: { x: [null, 3] }, outputs: { y: [2, null] } };

async function saved(bytes: Uint8Array, name = 'model.onnx'): Promise<string> {
  const file = path.join(root, name);
  await writeFile(file, bytes);
  return file;
}

describe('an ONNX file', () => {
  it('runs as often as is wanted, and gives what was asked for', async () => {
    const model = await OnnxModel.open(await saved(good()), wanted);
    const x = { shape: [2, 3], data: Float32Array.of(0, 0, 0, 10, 10, 10) };
    for (let i = 0; i < 2; i++) {
      expect(await model.run({ x })).toEqual({ y: { shape: [2, 3], data: Float32Array.of(1, 2, 3, 11, 12, 13) } });
    }
    await expect(model.run({})).rejects.toThrow(/needs "x" as \[any, 3\] and was given 0 numbers/);
    await expect(model.run({ x: { ...x, shape: [3, 2] } })).rejects.toThrow(/given 6 numbers as \[3, 2\]/);
    await expect(model.run({ x: { ...x, shape: [1, 3] } })).rejects.toThrow(/given 6 numbers as \[1, 3\]/);
    await expect(model.run({ x: { shape: [1, 3], data: Float32Array.of(1, 2, 3) } })).rejects.toThrow(
      /fails on inputs of this size/,
    );
    await model.dispose();
  });

  it.each([
    ['another input', { inputs: { pixels: [2, 3] }, outputs: {} }, /takes an input "x" too, where "pixels" is all/],
    ['another output', { ...wanted, outputs: { latent: [2] } }, /gives no "latent", only "y", "z"/],
    ['another shape', { ...wanted, inputs: { x: [null, 4] } }, /takes "x" as \[2, 3\], not \[any, 4\]/],
    ['another rank', { ...wanted, outputs: { y: [null] } }, /gives "y" as \[2, 3\], not \[any\]/],
    ['another type', { ...wanted, outputs: { z: [2] } }, /gives "z" as int64, not float32/],
    ['one more input', { ...wanted, inputs: { ...wanted.inputs, t: [] } }, /takes no "t", only "x"/],
  ])('that has %s than is needed is refused', async (_, needs, message) => {
    await expect(OnnxModel.open(await saved(good()), needs)).rejects.toThrow(message);
  });

  it('that cannot be read is refused', async () => {
    await expect(OnnxModel.open(path.join(root, 'none.onnx'), wanted)).rejects.toThrow(/ENOENT; check the path/);
    await mkdir(path.join(root, 'folder.onnx'));
    await expect(OnnxModel.open(path.join(root, 'folder.onnx'), wanted)).rejects.toThrow(/no regular file/);
    await expect(OnnxModel.open(await saved(good()), wanted, { maxBytes: 20 })).rejects.toThrow(/20 is the limit/);
    const text = await saved(new TextEncoder().encode('{"not": "onnx"}'), 'text.onnx');
    await expect(OnnxModel.open(text, wanted)).rejects.toThrow(/no ONNX file, or a broken one/);
    await expect(OnnxModel.open(await saved(new Uint8Array(), 'empty.onnx'), wanted)).rejects.toThrow(/holds no graph/);
    const broken = encodeModel({
      ...graph(new Uint8Array(12)),
      nodes: [{ op: 'Nonsense', inputs: ['x'], outputs: ['y'] }],
    });
    const error = await OnnxModel.open(await saved(broken, 'broken.onnx'), wanted).catch((e: Error) => e);
    expect((error as Error).message).toMatch(/the runtime does not take it \(/);
    expect((error as Error).message).not.toContain('\n');
  });

  it('that keeps weights elsewhere is refused, wherever it says so', async () => {
    const external = graph({ location: 'secret', offset: 0, length: 12 });
    const refused = /keeps weights in other files; save it as one file/;
    await writeFile(path.join(root, 'secret'), new Uint8Array(12));
    await expect(OnnxModel.open(await saved(encodeModel(external), 'out.onnx'), wanted)).rejects.toThrow(refused);
    const inner = { op: 'If', inputs: ['c'], outputs: ['y'], attributes: { then_branch: { graph: external } } };
    const nested = encodeModel({ ...graph(new Uint8Array(12)), nodes: [inner] });
    expect(() => requireWholeOnnx(nested, 'x')).toThrow(refused);
  });

  it('that is cut or nests too deep is refused in a sentence, never by a crash', () => {
    const bytes = good();
    const attempt = (end: number) => {
      try {
        requireWholeOnnx(bytes.subarray(0, end), 'cut');
        return 'passed';
      } catch (error) {
        return (error as Error).name;
      }
    };
    const results = new Set(Array.from(bytes, (_, end) => attempt(end)));
    // Where a file is cut between two messages, the runtime has to notice.
    expect(results).toEqual(new Set(['FoveaError', 'passed']));
    let deep: Uint8Array = new Uint8Array();
    for (let i = 0; i < 40; i++) {
      const nest = (field: number) => {
        const size = deep.length;
        deep = Uint8Array.of((field << 3) | 2, (size & 0x7f) | 0x80, (size >> 7) & 0x7f, ...deep);
      };
      for (const field of [6, 5, 1]) nest(field);
    }
    deep = Uint8Array.of((7 << 3) | 2, (deep.length & 0x7f) | 0x80, deep.length >> 7, ...deep);
    expect(() => requireWholeOnnx(deep, 'deep')).toThrow(/nest too deep/);
  });
});

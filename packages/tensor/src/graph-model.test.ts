// TF.js graph models from elsewhere: compiled = eager, and what is refused before anything runs.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compiledEngine, jsEngine } from './engines.ts';
import { GraphModel } from './graph-model.ts';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'fovea graph-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

const text = (value: string) => ({ s: Buffer.from(value).toString('base64') });
const ints = (...values: number[]) => ({ list: { i: values.map(String) } });
const float = { type: 'DT_FLOAT' };

const WEIGHTS = [
  { name: 'filter', shape: [1, 1, 2, 2], dtype: 'float32' },
  { name: 'bias', shape: [2], dtype: 'float32' },
  { name: 'shape', shape: [2], dtype: 'int32' },
  { name: 'k', shape: [], dtype: 'int32' },
] as const;
const BYTES = Buffer.concat([
  Buffer.from(Float32Array.of(1, 2, -1, 0.5, 0.25, -1).buffer),
  Buffer.from(Int32Array.of(1, 12, 3).buffer),
]);

/** relu(conv(x) + bias) of x [1, 2, 3, 2], flat, and the three largest of it. */
const node = (name: string, op: string, input: string[], attr: object) => ({ name, op, input, attr });
const graph = () => ({
  format: 'graph-model',
  modelTopology: {
    versions: { producer: 1, minConsumer: 1 },
    node: [
      node('x', 'Placeholder', [], { dtype: float, shape: { shape: { dim: [1, 2, 3, 2].map((size) => ({ size })) } } }),
      ...WEIGHTS.map(({ name, dtype }) => node(name, 'Const', [], { dtype: { type: `DT_${dtype.toUpperCase()}` } })),
      node('conv', '_FusedConv2D', ['x', 'filter', 'bias'], {
        T: float,
        fused_ops: { list: { s: [text('BiasAdd').s, text('Relu').s] } },
        num_args: { i: '1' },
        strides: ints(1, 1, 1, 1),
        dilations: ints(1, 1, 1, 1),
        padding: text('SAME'),
        data_format: text('NHWC'),
      }),
      node('flat', 'Reshape', ['conv', 'shape'], { T: float }),
      node('best', 'TopKV2', ['flat', 'k'], { T: float, sorted: { b: true } }),
    ],
  },
  weightsManifest: [{ paths: ['a.bin', 'b.bin'], weights: WEIGHTS.map((weight) => ({ ...weight })) }],
});

type Json = ReturnType<typeof graph>;

/** A folder with the model, its weights in two files. */
async function saved(name: string, edit: (json: Json) => void = () => {}, bytes = BYTES): Promise<string> {
  const folder = path.join(root, name);
  await mkdir(folder);
  const json = graph();
  edit(json);
  await writeFile(path.join(folder, 'model.json'), JSON.stringify(json));
  await writeFile(path.join(folder, 'a.bin'), bytes.subarray(0, 10));
  await writeFile(path.join(folder, 'b.bin'), bytes.subarray(10));
  return path.join(folder, 'model.json');
}

const X = { x: Float32Array.of(1, 0, 0, 1, 2, 2, -1, 3, 0.5, -0.5, 4, -4) };
const run = (model: GraphModel, engine = compiledEngine, names = ['flat', 'best:1']) =>
  engine.run(
    ({ x }) => ({ outputs: model.run({ x }, names) }),
    { inputs: { x: { shape: [1, 2, 3, 2], dtype: 'float32' } } },
    X,
  );

describe('a graph model', () => {
  it('compiles to what it gives eagerly', async () => {
    const model = await GraphModel.open(await saved('good'));
    const compiled = await run(model);
    expect(compiled).toEqual(await run(model, jsEngine));
    expect(Array.from(compiled.flat)).toEqual([1.25, 1, 0, 0, 0.25, 4, 0, 0, 1.25, 0, 8.25, 5]);
    expect(Array.from(compiled['best:1'])).toEqual([10, 11, 5]);
  });

  it('is refused, by name, where it cannot be read', async () => {
    const refused = async (file: string, why: RegExp) =>
      expect(GraphModel.open(file)).rejects.toThrow(new RegExp(`graph model "${file}" cannot be used: ${why.source}`));
    await refused(path.join(root, 'none.json'), /"none.json" cannot be read \(ENOENT\)/);
    await refused(root, /".*" is no regular file/);
    await refused(await saved('layers', (json) => Object.assign(json, { format: 'layers-model' })), /it does not say/);
    await refused(await saved('empty', (json) => Object.assign(json, { weightsManifest: null })), /it lacks the graph/);
    await refused(await saved('short', undefined, BYTES.subarray(4)), /its weights have 32 bytes, and it speaks of 36/);
    const outside = (json: Json) => Object.assign(json.weightsManifest[0], { paths: ['../good/a.bin'] });
    await refused(await saved('escape', outside), /it names weights outside its folder/);
    const strings = (json: Json) => Object.assign(json.weightsManifest[0].weights[0], { dtype: 'string' });
    await refused(await saved('strings', strings), /its weight "filter" is string/);
    const nameless = (json: Json) => Object.assign(json.weightsManifest[0].weights, [null]);
    await refused(await saved('nameless', nameless), /its weight "undefined" is undefined/);
    await writeFile(path.join(root, 'noise.json'), '{');
    await refused(path.join(root, 'noise.json'), /it is no JSON/);
  });

  it('says what it cannot run', async () => {
    const model = await GraphModel.open(await saved('again'));
    await expect(run(model, compiledEngine, ['nothing'])).rejects.toThrow(/cannot be used: .*nothing/);
    const edit = (json: Json) => Object.assign(json.modelTopology.node.at(-1) as object, { op: 'Conjure' });
    const unknown = await GraphModel.open(await saved('unknown', edit));
    await expect(run(unknown)).rejects.toThrow(/cannot be used: .*Conjure/);
  });
});

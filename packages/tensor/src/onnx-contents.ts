// What a stranger's ONNX file may not do before the runtime sees it: name other files as its data. The runtime would
// read them from wherever they say. The file is walked as protobuf wire bytes along the messages of onnx.proto that can
// hold a tensor; everything else in it is the runtime's to check.

import { TensorError } from './errors.ts';

/** Field number -> message, for every message of onnx.proto that leads to a tensor. */
const INSIDE: Record<string, Record<number, string>> = {
  model: { 7: 'graph', 20: 'training', 25: 'function' },
  graph: { 1: 'node', 5: 'tensor', 15: 'sparse' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse' },
  sparse: { 1: 'tensor', 2: 'tensor' },
  training: { 1: 'graph', 2: 'graph' },
  function: { 7: 'node', 11: 'attribute' },
  tensor: {},
};
/** TensorProto.external_data and TensorProto.data_location. */
const [EXTERNAL_DATA, DATA_LOCATION] = [13, 14];
const DEEPEST = 64;

/** Throws a {@link TensorError} if `bytes` are no ONNX model, or one whose weights lie in other files; `where` names it. */
export function requireWholeOnnx(bytes: Uint8Array, where: string): void {
  const refuse = (why: string): never => {
    throw new TensorError(`The ONNX model ${where} cannot be used: ${why}.`);
  };
  let graphs = 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const varint = (at: number, end: number): [value: number, next: number] => {
    let value = 0;
    for (let i = 0; i < 10; i++) {
      if (at + i >= end) break;
      const byte = view.getUint8(at + i);
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80) return [value, at + i + 1];
    }
    return refuse('it is no ONNX file, or a broken one; get a good copy of it');
  };
  const walk = (message: string, from: number, end: number, depth: number): void => {
    if (depth > DEEPEST) refuse(`its graphs nest too deep; simplify it`);
    if (message === 'graph') graphs++;
    for (let at = from; at < end; ) {
      const [tag, start] = varint(at, end);
      const [field, wire] = [Math.floor(tag / 8), tag % 8];
      const [value, next] = wire === 0 || wire === 2 ? varint(start, end) : [0, start];
      at = next + (wire === 2 ? value : wire === 1 ? 8 : wire === 5 ? 4 : 0);
      if (![0, 1, 2, 5].includes(wire) || at > end)
        refuse('it is no ONNX file, or a broken one; get a good copy of it');
      if (message === 'tensor' && (field === EXTERNAL_DATA || (field === DATA_LOCATION && value !== 0)))
        refuse('it keeps weights in other files; save it as one file (onnx.save with save_as_external_data=False)');
      if (wire === 2 && field in INSIDE[message]) walk(INSIDE[message][field], next, at, depth + 1);
    }
  };
  walk('model', 0, bytes.length, 0);
  if (graphs === 0) refuse('it holds no graph; give an .onnx file');
}

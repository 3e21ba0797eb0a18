// What a lowered program must not ask of WebGPU: a shader binds few storage buffers (8 by default, one of which is the
// input), and the runtime's Split binds one for each part. A wide Split becomes slices, each a shader of its own.

import type { Emitter } from './emitter.ts';
import type { OnnxNode } from './onnx-proto.ts';

const MOST_PARTS = 7;

/** The nodes of a program for WebGPU, in their order. */
export function narrowSplits(emitter: Emitter): OnnxNode[] {
  const constants = new Map(emitter.initializers.map(({ name, bytes }) => [name, bytes]));
  return emitter.nodes.flatMap((node) => {
    if (node.op !== 'Split' || node.outputs.length <= MOST_PARTS) return [node];
    const [data, lengths] = node.inputs;
    const sizes = [...new BigInt64Array((constants.get(lengths) as Uint8Array).slice().buffer)].map(Number);
    const { axis } = node.attributes as { axis: { int: number } };
    let end = 0;
    return node.outputs.map((output, i): OnnxNode => {
      const start = end;
      end += sizes[i];
      return {
        op: 'Slice',
        inputs: [data, emitter.ints([start]), emitter.ints([end]), emitter.ints([axis.int])],
        outputs: [output],
      };
    });
  });
}

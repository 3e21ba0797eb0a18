// Losses with their gradients as kernels of our own, as in norm.ts.

import type { KernelRules } from '../emitter.ts';

const KEEP = { keepdims: { int: 0 } };

export const loss: KernelRules = {
  /** logits [N, C], labels [N] -> −mean log softmax(logits)[label]: a scalar. */
  FoveaCrossEntropy: {
    infer: ([logits, labels]) => {
      if (logits.shape.length !== 2 || labels.shape.join() !== `${logits.shape[0]}`)
        throw new Error(`logits [${logits.shape}] and labels [${labels.shape}] are not [N, C] and [N]`);
      return [{ shape: [], dtype: 'float32' }];
    },
    lower: (e, node) => {
      const [logits, labels] = node.inputs.map((value) => e.name(value));
      const column = e.node('Unsqueeze', [labels, e.ints([1])]);
      const logs = e.node('LogSoftmax', [logits], { axis: { int: 1 } });
      const picked = e.node('GatherElements', [logs, column], { axis: { int: 1 } }); // [N, 1]
      return e.node('Neg', [e.node('ReduceMean', [picked], KEEP)]);
    },
  },
  /** dy, logits, labels -> (softmax(logits) − one-hot(labels)) · dy / N; the one-hot is never made. */
  FoveaCrossEntropyGrad: {
    infer: ([_dy, logits]) => [{ shape: logits.shape, dtype: 'float32' }],
    lower: (e, node) => {
      const [dy, logits, labels] = node.inputs.map((value) => e.name(value));
      const [count] = node.inputs[1].shape;
      const each = e.node('Mul', [dy, e.scalar(1 / count)]);
      const scaled = e.node('Mul', [e.node('Softmax', [logits], { axis: { int: 1 } }), each]);
      const column = e.node('Unsqueeze', [labels, e.ints([1])]);
      const less = e.node('Expand', [e.node('Neg', [each]), e.ints([count, 1])]);
      return e.node('ScatterElements', [scaled, column, less], { axis: { int: 1 }, reduction: 'add' });
    },
  },
};

// Rematerialisation (Chen et al. 2016), as torch.utils.checkpoint: what a function computed on the way is not kept for
// the gradient but computed again from its arguments once the gradient arrives. It rewrites tfjs's tape: the
// function's own entries make way for a single one whose gradient runs the function anew.

import { isRecording, mapValues } from './recorder.ts';
import type { NamedTensors, Tensor } from './tf.ts';
import tf from './tf.ts';

interface TapeNode {
  id: number;
  kernelName: string;
  inputs: NamedTensors;
  outputs: Tensor[];
  saved: { dispose(): void }[];
  gradient?: (dys: Tensor[]) => Record<string, () => Tensor>;
}

/** What of tfjs's engine its type keeps private. */
interface Engine {
  state: { activeTape: TapeNode[] | null; gradientDepth: number; nextTapeNodeId: number; scopeStack: { id: number }[] };
}

/**
 * `fn` with the same values and gradients, whose inner results are not kept for the gradient: they cost their memory
 * only while its own gradient is computed, and their time twice. Activations must come as arguments; parameters may
 * be closed over and get their gradients too. `fn` must be pure: it runs again with the same numbers.
 */
export function checkpoint<Args extends Tensor[]>(fn: (...args: Args) => Tensor): (...args: Args) => Tensor {
  return (...args) => {
    const { state } = engine();
    const start = state.activeTape?.length ?? 0;
    const given = args.map((x) => tf.clone(x)) as Args;
    const y = tf.tidy(() => tf.clone(fn(...given)));
    const inner = state.activeTape?.splice(start) ?? [];
    if (inner.length === 0) return y;
    for (const node of inner) for (const tensor of node.saved) tensor.dispose();
    const read = { ...args, ...closedOver(inner) } as NamedTensors;
    state.activeTape?.push({
      id: state.nextTapeNodeId++,
      kernelName: 'Checkpoint',
      inputs: read,
      outputs: [y],
      saved: [hold(Object.values(read))],
      gradient([dy]) {
        const grads = gradientsAgain(fn, args, dy, this.inputs);
        return mapValues(grads, (grad) => () => grad);
      },
    });
    return y;
  };
}

const engine = () => tf.engine() as unknown as Engine;

/** What a stretch of tape reads and does not make. */
function closedOver(tape: TapeNode[]): NamedTensors {
  const made = new Set(tape.flatMap((node) => node.outputs.map((x) => x.id)));
  const read = new Map(tape.flatMap((node) => Object.values(node.inputs).map((x) => [x.id, x])));
  return Object.fromEntries([...read.values()].filter((x) => !made.has(x.id)).map((x) => [`closure/${x.id}`, x]));
}

/** Keeps tensors beyond the end of the scope that made them, until the tape lets go of them. */
function hold(tensors: Tensor[]): { dispose(): void } {
  const isOpen = (x: Tensor) => engine().state.scopeStack.some(({ id }) => id === x.scopeId);
  const held = tensors.filter((x) => !x.kept && isOpen(x)).map((x) => tf.keep(x));
  return {
    dispose: () => {
      for (const x of held) {
        x.kept = false;
        if (!isOpen(x)) x.dispose();
      }
    },
  };
}

/** Runs `fn` again, not before `dy` is there, and differentiates it by those of its arguments and closures named in `wanted`. */
function gradientsAgain<Args extends Tensor[]>(
  fn: (...args: Args) => Tensor,
  args: Args,
  dy: Tensor,
  wanted: NamedTensors,
): NamedTensors {
  const { state } = engine();
  const late: NamedTensors = { ...(args.map((x) => after(x, [dy])) as Tensor[]) } as never;
  const names = Object.keys(wanted);
  const xs = names.map((name) => late[name] ?? wanted[name]);
  const outer = state.activeTape;
  try {
    const again = () => fn(...(Object.values(late) as Args));
    const { grads } = tf.engine().gradients(again as never, xs as never, dy as never, true);
    const found = Object.fromEntries(names.map((name, i) => [name, (grads[i] as Tensor) ?? tf.zerosLike(xs[i])]));
    const inner = names.filter((name) => !(name in late)).map((name) => found[name]);
    return mapValues(found, (grad, name) => (name in late ? after(grad, inner) : grad));
  } finally {
    if (state.gradientDepth === 0) state.activeTape = outer;
  }
}

/** `x`, but while recording not before `others` are computed, and to every optimiser another tensor than `x`. */
function after(x: Tensor, others: Tensor[]): Tensor {
  const ordered = isRecording() && x.dtype === 'float32' && x.rank > 0 && others.length > 0;
  return ordered ? (tf.engine().runKernel('FoveaAfter', [x, ...others] as never) as Tensor) : tf.clone(x);
}

tf.registerGradient({
  kernelName: 'FoveaAfter',
  saveAllInputs: true,
  gradFunc: (dy, saved) =>
    Object.fromEntries(saved.map((x, i) => [i, () => (i === 0 ? tf.clone(dy as Tensor) : tf.zerosLike(x))])),
});

// Which of an encoder's tokens make the condition. The class token, or the pooled vector of an encoder without one, is
// always the first; the rest is nothing, a random part, averages of neighbours, or all (DIVA's choice per encoder, from 0 to
// 729 patches). Random choices come from outside as indices, so that the graph is static and a draw belongs to its sample.

import { FoveaError } from '@fovea/artifacts';
import { embedding, type Tensor, tf } from '@fovea/tensor';
import type { Rng } from '@fovea/tensor/random';
import type { EncoderOutput, EncoderShape } from './encoder.ts';

export type TokenSelection =
  | { mode: 'none' }
  | { mode: 'all' }
  /** `replacement`: whether a patch may be drawn twice. */
  | { mode: 'randomK'; k: number; replacement: boolean }
  /** ⌊ratio · patches⌋ patches. */
  | { mode: 'randomRatio'; ratio: number; replacement: boolean }
  /** Means of `window` patches that follow each other row by row; what is left over at the end is dropped. */
  | { mode: 'pool'; window: number };

/** Where tokens are taken: before the final norm, after it, or in the image–text space after norm and projection. */
export type TokenSpace = 'hidden' | 'normed' | 'projected';

/** Patch tokens that a selection takes. Throws a {@link FoveaError} where the picture has too few. */
export function countPatches(patches: number, selection: TokenSelection): number {
  const fail = (why: string): never => {
    throw new FoveaError(`The token selection cannot be made: ${why}; lower it, or choose another mode.`);
  };
  switch (selection.mode) {
    case 'none':
      return 0;
    case 'all':
      return patches;
    case 'pool':
      if (selection.window > patches) fail(`a window of ${selection.window} is more than the ${patches} patches`);
      return Math.floor(patches / selection.window);
    case 'randomK':
    case 'randomRatio': {
      const count = selection.mode === 'randomK' ? selection.k : Math.floor(selection.ratio * patches);
      if (!selection.replacement && count > patches)
        fail(`${count} different patches are more than the ${patches} that there are`);
      return count;
    }
  }
}

/** Tokens of the condition, the class token among them. */
export const countTokens = (patches: number, selection: TokenSelection): number => 1 + countPatches(patches, selection);

/** One sample's indices in [0, patches), [K] in the order drawn; empty where nothing is random. */
export function drawTokens(rng: Rng, patches: number, selection: TokenSelection): Int32Array {
  if (selection.mode !== 'randomK' && selection.mode !== 'randomRatio') return new Int32Array(0);
  const count = countPatches(patches, selection);
  if (selection.replacement) return Int32Array.from({ length: count }, () => rng.int(patches));
  const order = Int32Array.from({ length: patches }, (_, i) => i);
  for (let i = 0; i < count; i++) {
    const j = i + rng.int(patches - i);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order.slice(0, count);
}

export interface SelectOptions {
  space: TokenSpace;
  /** Drawn by {@link drawTokens}, [B, K] int32; needed where the selection is random. */
  indices?: Tensor;
  /** The encoder's projection of normed tokens [..., D] -> [..., P]; needed for patches in the projected space of an encoder that has one. */
  project?: (tokens: Tensor) => Tensor;
}

/** -> [B, 1 + K, D], or P wide in the projected space. */
export function selectTokens(
  output: EncoderOutput,
  shape: EncoderShape,
  selection: TokenSelection,
  options: SelectOptions,
): Tensor {
  const first = tf.expandDims(firstOf(output, shape, options.space), 1) as Tensor; // [B, 1, D]
  if (countPatches(shape.patches, selection) === 0) return first;
  const { hidden, normed } = output;
  const tokens = options.space === 'hidden' ? hidden : normed;
  const patches = tf.slice(tokens, [0, shape.prefix, 0], [-1, shape.patches, -1]); // [B, N, D]
  const chosen = take(patches, selection, options.indices);
  const project = options.space === 'projected' ? options.project : undefined;
  return tf.concat([first, project ? project(chosen) : chosen], 1);
}

function firstOf({ hidden, pooled, embeds }: EncoderOutput, { prefix }: EncoderShape, space: TokenSpace): Tensor {
  if (space === 'projected') return embeds;
  if (space === 'normed' || prefix === 0) return pooled;
  return tf.reshape(tf.slice(hidden, [0, 0, 0], [-1, 1, -1]), pooled.shape);
}

/** Patches [B, N, D] -> [B, K, D]. */
function take(patches: Tensor, selection: TokenSelection, indices?: Tensor): Tensor {
  const [b, n, d] = patches.shape;
  const count = countPatches(n, selection);
  if (selection.mode === 'all') return patches;
  if (selection.mode === 'pool') {
    const whole = tf.slice(patches, [0, 0, 0], [-1, count * selection.window, -1]);
    return tf.mean(tf.reshape(whole, [b, count, selection.window, d]), 2);
  }
  if (!indices || indices.shape.join() !== [b, count].join())
    throw new FoveaError(
      `A random token selection needs the indices of [${[b, count]}] patches, and has [${indices?.shape ?? ''}]; draw them with drawTokens.`,
    );
  const starts = tf.tensor2d(
    Int32Array.from({ length: b }, (_, i) => i * n),
    [b, 1],
    'int32',
  );
  return embedding(tf.reshape(patches, [b * n, d]), tf.add(indices, starts));
}

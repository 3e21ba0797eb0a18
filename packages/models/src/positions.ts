// Learned position embeddings of a square grid of patches at other resolutions, as transformers' interpolate_pos_encoding:
// bicubic over the grid, by the ratio of sizes (align_corners false). CLIP, SigLIP and DINOv2 take PyTorch's plain kernel
// (a = −0.75), DINOv2 with registers the antialiasing one (a = −0.5, widened where the grid shrinks). It is part of the
// graph, so gradients reach the embedding, whatever the resolution.

import { interpolate, type Tensor, tf } from '@fovea/tensor';

export interface PositionOptions {
  /** Positions in front of the grid's, which stay as they are: a class token's. @default 0 */
  prefix?: number;
  /** @default false */
  antialias?: boolean;
}

/** weight [prefix + S², D] -> [prefix + rows · columns, D], row by row. At rows = columns = S it is the weight itself. */
export function interpolatePositions(
  weight: Tensor,
  [rows, columns]: [rows: number, columns: number],
  { prefix = 0, antialias = false }: PositionOptions = {},
): Tensor {
  const [positions, width] = weight.shape;
  const side = Math.round(Math.sqrt(positions - prefix));
  if (rows === side && columns === side) return weight;
  const grid = tf.reshape(tf.slice(weight, [prefix, 0], [-1, -1]), [1, side, side, width]);
  const resized = interpolate(tf.transpose(grid, [0, 3, 1, 2]), { size: [rows, columns], mode: 'bicubic', antialias }); // [1, D, rows, columns]
  const patches = tf.reshape(tf.transpose(resized, [0, 2, 3, 1]), [rows * columns, width]);
  return prefix === 0 ? patches : tf.concat([tf.slice(weight, [0, 0], [prefix, -1]), patches], 0);
}

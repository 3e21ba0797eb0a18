// What diffusers' denoisers have in common (Peebles & Xie 2023, DiT): sinusoidal times and positions, plain
// norms that a signal scales, shifts and gates, and the small MLPs, all under the library's names.

import { gelu, layerNorm, type NamedTensors, silu, type Tensor, tf } from '@fovea/tensor';
import { linear, linearSpecs, type ParamSpecs } from './params.ts';

/** Width of the features of a time, in every diffusers transformer. */
export const TIME_WIDTH = 256;

/** PyTorch's own start of a linear layer has this standard deviation; it draws uniformly. */
export const libraryStd = (inputs: number) => 1 / Math.sqrt(3 * inputs);

/** A linear layer that starts as PyTorch's. */
export const projectionSpecs = (name: string, inputs: number, outputs: number): ParamSpecs =>
  linearSpecs(name, inputs, outputs, libraryStd(inputs));

/**
 * t [B] times the frequencies of DDPM, 1 down to 1/10000, -> [B, width / 2]. With `shift` 1 the last frequency is exactly
 * 1/10000. Frequencies are rounded to float32 where the library rounds them.
 */
export function timeAngles(t: Tensor, width: number, shift: number): Tensor {
  const { fround } = Math;
  const half = width / 2;
  const exponent = (i: number) => fround(fround(fround(-Math.log(10000)) * i) / (half - shift));
  const frequencies = Array.from({ length: half }, (_, i) => Math.exp(exponent(i)));
  return tf.mul(tf.reshape(tf.cast(t, 'float32'), [-1, 1]), tf.tensor2d([frequencies]));
}

/** Cosines, then sines of {@link timeAngles}: t [B] -> [B, 256]. */
export function timeFeatures(t: Tensor, shift: 0 | 1): Tensor {
  const angles = timeAngles(t, TIME_WIDTH, shift); // [B, 128]
  return tf.concat([tf.cos(angles), tf.sin(angles)], 1);
}

/** Sines, then cosines of each coordinate at width / 2 frequencies. */
export function sincosRows(width: number, coordinates: readonly number[]): number[][] {
  const frequencies = Array.from({ length: width / 2 }, (_, i) => 10000 ** ((-2 * i) / width));
  return coordinates.map((at) => [Math.sin, Math.cos].flatMap((f) => frequencies.map((w) => f(at * w))));
}

/** Positions of a grid, row by row, from what stands for its rows and columns, D / 2 numbers each: [rows · columns, D], columns first. */
export function gridOf(rows: readonly number[][], columns: readonly number[][]): Tensor {
  const half = rows[0].length;
  const spread = (values: readonly number[][], shape: [number, number, number]) =>
    tf.broadcastTo(tf.tensor3d(values.flat(), shape), [rows.length, columns.length, half]);
  const both = [spread(columns, [1, columns.length, half]), spread(rows, [rows.length, 1, half])];
  return tf.reshape(tf.concat(both, 2), [rows.length * columns.length, 2 * half]);
}

/** Layer norm of x [..., D] without parameters. */
export function plainNorm(x: Tensor, epsilon = 1e-6): Tensor {
  const width = x.shape[x.shape.length - 1];
  return layerNorm(x, tf.ones([width]), tf.zeros([width]), epsilon);
}

/** x · (1 + scale) + shift. */
export const modulate = (x: Tensor, shift: Tensor, scale: Tensor): Tensor => tf.add(tf.mul(x, tf.add(scale, 1)), shift);

/** The shifts, scales and gates that a linear layer reads from the signal [B, D]: `parts` tensors [B, 1, D]. */
export function modulation(p: NamedTensors, name: string, signal: Tensor, parts: number): Tensor[] {
  const all = linear(p, name, signal);
  return tf.split(tf.reshape(all, [all.shape[0], 1, all.shape[1] as number]), parts, 2);
}

/** The MLP with SiLU between that lifts times and vectors. */
export const embedderSpecs = (name: string, from: number, to: number): ParamSpecs => ({
  ...projectionSpecs(`${name}.linear_1`, from, to),
  ...projectionSpecs(`${name}.linear_2`, to, to),
});

export const embedder = (p: NamedTensors, name: string, x: Tensor): Tensor =>
  linear(p, `${name}.linear_2`, silu(linear(p, `${name}.linear_1`, x)));

/** A block's MLP, four times as wide inside. */
export const feedForwardSpecs = (name: string, width: number): ParamSpecs => ({
  ...projectionSpecs(`${name}.net.0.proj`, width, 4 * width),
  ...projectionSpecs(`${name}.net.2`, 4 * width, width),
});

export const feedForward = (p: NamedTensors, name: string, x: Tensor, approximate: 'none' | 'tanh' = 'tanh'): Tensor =>
  linear(p, `${name}.net.2`, gelu(linear(p, `${name}.net.0.proj`, x), approximate));

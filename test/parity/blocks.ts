// The blocks whose PyTorch twins tensor.py runs: a ViT layer, a U-Net residual block and a cross-attention transformer
// block, written as a model of ours would be. Only the parity test uses them.

import { conv2d, gelu, groupNorm, layerNorm, type NamedTensors, quickGelu, silu, type Tensor, tf } from '@fovea/tensor';

/** y = x wᵀ + b over the last axis; the bias may be absent. */
function linear(x: Tensor, p: NamedTensors, name: string): Tensor {
  const inner = x.shape.at(-1) as number;
  const weight = p[`${name}.weight`];
  const rows = tf.matMul(tf.reshape(x, [-1, inner]) as never, weight as never, false, true);
  const y = tf.reshape(rows, [...x.shape.slice(0, -1), weight.shape[0] as number]);
  const bias = p[`${name}.bias`];
  return bias ? tf.add(y, bias) : y;
}

const norm = (x: Tensor, p: NamedTensors, name: string) => layerNorm(x, p[`${name}.weight`], p[`${name}.bias`]);

function attend(x: Tensor, context: Tensor, p: NamedTensors, name: string, heads: number): Tensor {
  const split = (projection: string, source: Tensor): Tensor => {
    const y = linear(source, p, `${name}.${projection}`); // [B, T, D]
    const [b, t, d] = y.shape as number[];
    return tf.transpose(tf.reshape(y, [b, t, heads, d / heads]), [0, 2, 1, 3]); // [B, H, T, D/H]
  };
  const [q, k, v] = [split('q_proj', x), split('k_proj', context), split('v_proj', context)];
  const scores = tf.div(tf.matMul(q as never, k as never, false, true), Math.sqrt(q.shape[3] as number));
  const mixed = tf.transpose(tf.matMul(tf.softmax(scores) as never, v as never), [0, 2, 1, 3]); // [B, T, H, D/H]
  const [b, t] = mixed.shape as number[];
  return linear(tf.reshape(mixed, [b, t, -1]), p, `${name}.out_proj`);
}

export function vitBlock(p: NamedTensors, { heads }: { heads: number }): Tensor {
  const { x } = p; // [B, T, D]
  const y = norm(x, p, 'layer_norm1');
  const mixed = tf.add(x, attend(y, y, p, 'self_attn', heads));
  const hidden = quickGelu(linear(norm(mixed, p, 'layer_norm2'), p, 'mlp.fc1'));
  return tf.add(mixed, linear(hidden, p, 'mlp.fc2'));
}

const convolve = (x: Tensor, p: NamedTensors, name: string, padding = 0) =>
  conv2d(x, p[`${name}.weight`], p[`${name}.bias`], { padding });

export function unetResBlock(p: NamedTensors, { groups }: { groups: number }): Tensor {
  const { x, time } = p; // [B, C, H, W], [B, T]
  const normal = (y: Tensor, name: string) => silu(groupNorm(y, groups, p[`${name}.weight`], p[`${name}.bias`]));
  const shift = linear(silu(time), p, 'time_emb_proj'); // [B, O]
  const y = tf.add(convolve(normal(x, 'norm1'), p, 'conv1', 1), tf.reshape(shift, [...shift.shape, 1, 1]));
  return tf.add(convolve(x, p, 'conv_shortcut'), convolve(normal(y, 'norm2'), p, 'conv2', 1));
}

export function crossAttentionBlock(p: NamedTensors, { heads, groups }: { heads: number; groups: number }): Tensor {
  const { x, condition } = p; // [B, C, H, W], [B, S, K]
  const [b, c, h, w] = x.shape as number[];
  const field = convolve(groupNorm(x, groups, p['norm.weight'], p['norm.bias'], 1e-6), p, 'proj_in');
  let y: Tensor = tf.transpose(tf.reshape(field, [b, c, h * w]), [0, 2, 1]); // [B, HW, C]
  const z = norm(y, p, 'norm1');
  y = tf.add(y, attend(z, z, p, 'attn1', heads));
  y = tf.add(y, attend(norm(y, p, 'norm2'), condition, p, 'attn2', heads));
  const [value, gate] = tf.split(linear(norm(y, p, 'norm3'), p, 'ff.proj'), 2, -1);
  y = tf.add(y, linear(tf.mul(value, gelu(gate)), p, 'ff.out'));
  return tf.add(x, convolve(tf.reshape(tf.transpose(y, [0, 2, 1]), [b, c, h, w]), p, 'proj_out'));
}

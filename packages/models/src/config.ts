// A network's config.json as its maker wrote it: each model file says which fields it reads, and everything else in the
// file is left alone. What a field may be is what that model can do, so a network we cannot run is refused by name.

import { gelu, quickGelu, silu, type Tensor, tf } from '@fovea/tensor';
import { z } from 'zod';

export { readConfig } from '@fovea/artifacts';

/** Hidden activations by the names that config files use. */
export const ACTIVATIONS = {
  gelu: (x: Tensor) => gelu(x),
  gelu_new: (x: Tensor) => gelu(x, 'tanh'),
  gelu_pytorch_tanh: (x: Tensor) => gelu(x, 'tanh'),
  quick_gelu: quickGelu,
  relu: (x: Tensor) => tf.relu(x) as Tensor,
  silu,
  swish: silu,
} satisfies Record<string, (x: Tensor) => Tensor>;

export const activationName = z.enum(Object.keys(ACTIVATIONS) as [keyof typeof ACTIVATIONS]);
export type ActivationName = z.infer<typeof activationName>;

export const size = z.int().positive();

// What stands between an encoder's tokens and a denoiser's condition: one linear layer (DIVA), a small MLP (GenHancer, DCR),
// or a Q-Former (DEEM; perceiver.ts). A text embedding may be added to what comes out, as DIVA and DCR do. Positions,
// choice of tokens and feature maps are elsewhere: select.ts, dense-skip.ts.

import { FoveaError } from '@fovea/artifacts';
import { gelu, layerNorm, type NamedTensors, type Tensor, tf } from '@fovea/tensor';
import { projectionSpecs } from './adaln.ts';
import { layerNormSpecs, linear, type ParamSpecs } from './params.ts';
import { type PerceiverConfig, perceiver, perceiverSpecs } from './perceiver.ts';

export type Connector =
  | { kind: 'linear' }
  /** Layer norm, linear, GELU, linear; with `repeat`, the first token alone, that many times (DCR: 77). */
  | { kind: 'mlp'; repeat?: number }
  | { kind: 'perceiver'; perceiver: PerceiverConfig };

/** Parameters under `name` of a connector from tokens `from` wide to a condition `to` wide. */
export function connectorSpecs(name: string, connector: Connector, from: number, to: number): ParamSpecs {
  switch (connector.kind) {
    case 'linear':
      return projectionSpecs(name, from, to);
    case 'mlp':
      return {
        ...layerNormSpecs(`${name}.0`, from),
        ...projectionSpecs(`${name}.1`, from, to),
        ...projectionSpecs(`${name}.3`, to, to),
      };
    case 'perceiver':
      return perceiverSpecs(name, connector.perceiver, from, to);
  }
}

/** tokens [B, K, from], class token first -> condition [B, N, to]; N is K, the MLP's `repeat`, or the Q-Former's queries. */
export function connect(p: NamedTensors, name: string, tokens: Tensor, connector: Connector): Tensor {
  switch (connector.kind) {
    case 'linear':
      return linear(p, name, tokens);
    case 'mlp': {
      const { repeat } = connector;
      const out = mlp(p, name, repeat === undefined ? tokens : tf.slice(tokens, [0, 0, 0], [-1, 1, -1]));
      return repeat === undefined ? out : tf.tile(out, [1, repeat, 1]);
    }
    case 'perceiver':
      return perceiver(p, name, tokens, connector.perceiver);
  }
}

function mlp(p: NamedTensors, name: string, x: Tensor): Tensor {
  const normed = layerNorm(x, p[`${name}.0.weight`], p[`${name}.0.bias`]);
  return linear(p, `${name}.3`, gelu(linear(p, `${name}.1`, normed)));
}

/**
 * Adds a text embedding [1 or B, T, D] to a condition [B, N, D]: token by token, N = T, or its mean over T to every token.
 * Throws a {@link FoveaError} where they do not fit.
 */
export function addText(condition: Tensor, text: Tensor, by: 'token' | 'mean'): Tensor {
  const [, n, d] = condition.shape;
  const [, tokens, width] = text.shape;
  if (width !== d || (by === 'token' && tokens !== n))
    throw new FoveaError(
      `A text embedding of [${text.shape}] cannot be added by ${by} to a condition of [${condition.shape}]; choose the mean, other tokens, or another connector.`,
    );
  return tf.add(condition, by === 'token' ? text : tf.mean(text, 1, true));
}

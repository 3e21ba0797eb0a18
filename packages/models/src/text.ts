// What CLIP's and SigLIP's text towers share beside their blocks: the embedding of tokens, and what they give.

import { FoveaError } from '@fovea/artifacts';
import { embedding, type NamedTensors, type Tensor, tf } from '@fovea/tensor';
import type { EncoderOutput } from './encoder.ts';
import { normal, type ParamSpecs } from './params.ts';

/** As a picture's: `normed` is what transformers calls the last hidden state. */
export type TextOutput = Pick<EncoderOutput, 'hidden' | 'normed' | 'pooled' | 'embeds'>;

const EMBEDDINGS = 'text_model.embeddings';

export function tokenEmbedSpecs(c: { vocabulary: number; positions: number; width: number }): ParamSpecs {
  return {
    [`${EMBEDDINGS}.token_embedding.weight`]: normal([c.vocabulary, c.width]),
    [`${EMBEDDINGS}.position_embedding.weight`]: normal([c.positions, c.width]),
  };
}

/** ids [B, T], int32 -> tokens in their places [B, T, D]. Throws a {@link FoveaError} where T exceeds the positions. */
export function tokenEmbed(p: NamedTensors, ids: Tensor): Tensor {
  const positions = p[`${EMBEDDINGS}.position_embedding.weight`];
  const [, length] = ids.shape as number[];
  const [longest] = positions.shape;
  if (length > longest)
    throw new FoveaError(
      `The text tower reads at most ${longest} tokens and was given ${length}; cut the texts when encoding them.`,
    );
  const places = tf.slice(positions, [0, 0], [length, -1]); // [T, D]
  return tf.add(embedding(p[`${EMBEDDINGS}.token_embedding.weight`], ids), places);
}

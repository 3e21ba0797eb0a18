// What a denoiser of diffusers is told of a picture, by a recipe's `condition`: chosen tokens through a connector, a text
// embedding added, and with some chance a learned condition in its place.

import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import {
  adapterSpecs,
  adaptMaps,
  addText,
  connect,
  connectorSpecs,
  countTokens,
  DENSE_SKIP,
  type DenseSkipConfig,
  denseSkipSpecs,
  denseSkips,
  drawTokens,
  type EncoderOutput,
  type Connector as Layers,
  normal,
  type ParamSpecs,
  selectTokens,
} from '@fovea/models';
import type { ConditionConfig, Recipe } from '@fovea/recipe';
import { type NamedTensors, type Tensor, tf } from '@fovea/tensor';
import type { DenoiserFamily } from './denoisers.ts';
import type { Condition, Connector, Constants, Encoder } from './networks.ts';
import { repeatOutput } from './objectives.ts';
import { embedPrompt } from './prompt.ts';

const TOKENS = 'projector.tokens';
const VECTOR = 'projector.vector';
const MAPS = 'projector.maps';
const SKIPS = 'projector.skips';
const NULL_TOKENS = 'projector.null_tokens';
const NULL_VECTOR = 'projector.null_vector';
const PROMPT = 'prompt';

export async function openConnector(
  recipe: Recipe,
  recipeDir: string,
  encoder: Encoder,
  family: DenoiserFamily,
): Promise<{ connector: Connector; frozen: Constants }> {
  const { condition } = recipe;
  const text =
    condition.text && (await embedPrompt(path.resolve(recipeDir, condition.text.from), condition.text.prompt));
  const frozen: Constants = text ? { [PROMPT]: text } : {};
  const connector =
    condition.connector.kind === 'unclip'
      ? unclip(condition, encoder, family)
      : learned(condition, condition.connector, encoder, family);
  return { connector, frozen };
}

const refuse = (why: string): never => {
  throw new FoveaError(`The recipe's condition does not fit its denoiser: ${why}.`);
};

type LearnedConfig = Exclude<ConditionConfig['connector'], { kind: 'unclip' }>;

function learned(c: ConditionConfig, config: LearnedConfig, encoder: Encoder, family: DenoiserFamily): Connector {
  const layers: Layers = config.kind === 'perceiver' ? { kind: 'perceiver', perceiver: config } : config;
  const dense = denseOf(c, encoder, family);
  const from =
    c.space === 'projected' ? encoder.shape.projection : c.space === 'maps' ? DENSE_SKIP.width : encoder.shape.width;
  if (c.space === 'maps' && !dense) refuse('space "maps" is DEEM’s, of a ConvNeXt; choose hidden, normed or projected');
  if (c.tokens.mode !== 'none' && family.tokenWidth === null)
    refuse('it takes one vector and no tokens; set tokens to { mode: none }');
  const specs: ParamSpecs = {};
  if (family.tokenWidth !== null) Object.assign(specs, connectorSpecs(TOKENS, layers, from, family.tokenWidth));
  // A network that is told one vector reads the first token, through layers of its own.
  const single: Layers = layers.kind === 'linear' ? layers : { kind: 'mlp' };
  if (family.vectorWidth !== null) Object.assign(specs, connectorSpecs(VECTOR, single, from, family.vectorWidth));
  if (dense) Object.assign(specs, adapterSpecs(MAPS, dense), c.denseSkip && denseSkipSpecs(SKIPS, dense));
  const count = tokensOf(layers, c, encoder);
  if (c.dropout > 0) {
    if (family.tokenWidth !== null) specs[NULL_TOKENS] = normal([count, family.tokenWidth]);
    if (family.vectorWidth !== null) specs[NULL_VECTOR] = normal([family.vectorWidth]);
  }
  const random = c.tokens.mode === 'randomK' || c.tokens.mode === 'randomRatio';
  return {
    specs,
    draw: random ? (rng) => drawTokens(rng, encoder.shape.patches, c.tokens) : null,
    dropout: c.dropout,
    connect(p, output, drawn, repeat) {
      const rows = random ? repeatOutput(output, repeat) : output;
      const after = random ? (x: Tensor) => x : repeat;
      const selected = select(p, rows, c, encoder, drawn.tokens);
      const told: Condition = {};
      if (family.tokenWidth !== null) {
        const tokens = connect(p, TOKENS, selected, layers);
        told.tokens = after(c.text ? addText(tokens, p[PROMPT], c.text.add) : tokens);
      }
      if (family.vectorWidth !== null) {
        const first = tf.slice(selected, [0, 0, 0], [-1, 1, -1]);
        const [b] = first.shape;
        told.vector = after(tf.reshape(connect(p, VECTOR, first, single), [b, -1]) as Tensor);
      }
      return drawn.dropped ? replaced(p, told, drawn.dropped) : told;
    },
    ...(c.denseSkip &&
      dense && {
        residuals: (p: NamedTensors, features: Tensor[], output: EncoderOutput) =>
          denseSkips(p, SKIPS, features, adaptMaps(p, MAPS, output).maps, dense),
      }),
  };
}

/** The sizes of DEEM's adapters and dense skips for this encoder and this U-Net; null where nothing reads maps. */
function denseOf(c: ConditionConfig, encoder: Encoder, { features }: DenoiserFamily): DenseSkipConfig | null {
  if (!c.denseSkip && c.space !== 'maps') return null;
  const mapChannels = encoder.maps;
  if (!mapChannels) return refuse('denseSkip and space "maps" need an encoder with feature maps, a CLIP-ConvNeXt');
  if (c.denseSkip && !features) refuse('denseSkip needs a U-Net, whose skips it adds to');
  const queryWidths = (features ?? []).map(([channels]) => channels);
  return { ...DENSE_SKIP, mapChannels, pooledWidth: encoder.shape.width, queryWidths };
}

function select(
  p: NamedTensors,
  output: EncoderOutput,
  c: ConditionConfig,
  { shape, project }: Encoder,
  indices?: Tensor,
): Tensor {
  if (c.space === 'maps') return adaptMaps(p, MAPS, output).tokens;
  return selectTokens(output, shape, c.tokens, {
    space: c.space,
    indices,
    project: project ? (tokens) => project(p, tokens) : undefined,
  });
}

/** Tokens that the denoiser is told. */
function tokensOf(layers: Layers, c: ConditionConfig, { shape }: Encoder): number {
  if (layers.kind === 'perceiver') return layers.perceiver.queries;
  if (layers.kind === 'mlp' && layers.repeat !== undefined) return layers.repeat;
  return countTokens(shape.patches, c.tokens);
}

/** The learned condition where `dropped` [N] is 1. */
function replaced(p: NamedTensors, { tokens, vector }: Condition, dropped: Tensor): Condition {
  const mix = (told: Tensor, learned: Tensor): Tensor => {
    const gate = tf.reshape(dropped, [-1, ...Array(told.rank - 1).fill(1)]);
    return tf.add(tf.mul(told, tf.sub(1, gate)), tf.mul(learned, gate));
  };
  return {
    ...(tokens && { tokens: mix(tokens, p[NULL_TOKENS]) }),
    ...(vector && { vector: mix(vector, p[NULL_VECTOR]) }),
  };
}

/**
 * Stable unCLIP: the picture's vector in the image–text space is the class label, beside the features of noise level 0;
 * the tokens are the text's alone, or a zero without one. Nothing is learned between.
 */
function unclip(c: ConditionConfig, { shape }: Encoder, { vectorWidth, tokenWidth }: DenoiserFamily): Connector {
  if (vectorWidth === null) refuse('connector unclip needs the U-Net of a Stable unCLIP, with class labels');
  if (vectorWidth !== 2 * shape.projection)
    refuse(
      `its class labels are ${vectorWidth} wide, not twice the encoder's ${shape.projection}; give the encoder it was trained with`,
    );
  return {
    specs: {},
    draw: null,
    dropout: 0,
    connect(p, { embeds }, _drawn, repeat) {
      const [b, width] = embeds.shape;
      const level = tf.concat([tf.ones([b, width / 2]), tf.zeros([b, width / 2])], 1); // cosines and sines of 0
      const vector = repeat(tf.concat([embeds, level], 1));
      const text = c.text ? p[PROMPT] : (tf.zeros([1, 1, tokenWidth as number]) as Tensor);
      const [, length, wide] = text.shape as number[];
      return { vector, tokens: tf.broadcastTo(text, [vector.shape[0], length, wide]) as Tensor };
    },
  };
}

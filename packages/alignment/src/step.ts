// The training step of each stage as one function of (inputs, state, constants): encode, denoise, differentiate, clip,
// update. `compile` records it once; the same function runs eagerly on tfjs for checking and for the bench.

import { applyLora, type EncoderOutput } from '@fovea/models';
import type { Recipe, Role, Stage } from '@fovea/recipe';
import {
  mapValues,
  microBatches,
  type NamedTensors,
  prefixed,
  type Signature,
  type Spec,
  type StepFunction,
  sliceCount,
  type Tensor,
  tf,
  valueAndGrads,
} from '@fovea/tensor';
import { philox } from '@fovea/tensor/random';
import { ratesOf } from './groups.ts';
import { lossScaleSpecs, nextLossScale, SCALE } from './loss-scale.ts';
import { isText, loraOf, moduleOf } from './model.ts';
import type { Networks } from './networks.ts';
import { contrastiveLoss, feedbackLoss, retentionLoss, type StepInputs, shuffledTargets } from './objectives.ts';
import { clipByGlobalNorm, globalNorm, optimiserOf } from './optim.ts';

/** Prefixes of a step's state and constants. */
export const REFERENCE = 'reference/';
/** The constant that holds the class names, as the text tower reads them. */
export const NAMES = 'names';

/** Shapes of a step's inputs for P pictures and `draws` noisy versions of each; what nothing draws is left out. */
export function inputSpecs(pictures: number, draws: number, networks: Networks): Record<string, Spec> {
  const n = pictures * draws;
  const { imageSize, latent, connector, drawsLatents } = networks;
  const patches = connector.draw?.(philox(0, 'shape')).length;
  return {
    pixels: { shape: [pictures, 3, imageSize, imageSize], dtype: 'float32' },
    labels: { shape: [pictures], dtype: 'int32' },
    noise: { shape: [n, ...latent], dtype: 'float32' },
    t: { shape: [n], dtype: 'float32' },
    coefficients: { shape: [n, 4], dtype: 'float32' },
    ...(patches !== undefined && { tokens: { shape: [n, patches], dtype: 'int32' } }),
    ...(connector.dropout > 0 && { dropped: { shape: [n], dtype: 'float32' } }),
    ...(drawsLatents && { latentNoise: { shape: [pictures, ...latent], dtype: 'float32' } }),
  };
}

export function stepSignature(
  stage: Stage,
  recipe: Recipe,
  trainable: Record<string, Spec>,
  networks: Networks,
): Pick<Signature, 'inputs' | 'state'> {
  const all = inputSpecs(stage.batch, recipe.diffusion.draws, networks);
  const inputs = stage.stage === 'pretrain' ? { pixels: all.pixels, labels: all.labels } : all;
  return {
    inputs: { ...inputs, scalars: { shape: [3], dtype: 'float32' } },
    state: {
      ...prefixed('p/', trainable),
      ...optimiserOf(stage, ratesOf(stage, trainable)).specs(trainable),
      ...(scales(recipe) ? lossScaleSpecs : {}),
    },
  };
}

/** Whether a recipe's steps scale their loss: in fp16, whose gradients would round to zero. */
export const scales = (recipe: Recipe): boolean => recipe.engine.precision === 'fp16';

const under = (record: NamedTensors, prefix: string): NamedTensors =>
  Object.fromEntries(
    Object.entries(record)
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, value]) => [name.slice(prefix.length), value]),
  );

/** Which branch of which stage, and the networks. */
export interface StepContext {
  stage: Stage;
  role: Role;
  recipe: Recipe;
  networks: Networks;
  /** Takes the names of parameters that some objective reads. */
  touched?: Set<string>;
  /** Slices that the batch is cut into. @default what {@link slicesOf} says */
  slices?: number;
}

type Terms = NamedTensors;
type TermName = 'feedback' | 'contrastive' | 'retention';

/** Weight of a named term in a stage's objective. */
const weightOf = (stage: Stage, term: string): number => (stage.stage === 'align' ? stage[term as TermName] : 1);

/** Σ weight · term. Null without terms. */
function weighted(stage: Stage, terms: Terms): Tensor | null {
  const parts = Object.entries(terms).map(([name, term]) => tf.mul(term, weightOf(stage, name)));
  return parts.length === 0 ? null : parts.reduce((sum, part) => tf.add(sum, part));
}

/** All parameters under the given trainable ones, adapters applied. */
function effective({ stage }: StepContext, trainable: NamedTensors, constants: NamedTensors): NamedTensors {
  const lora = loraOf(stage);
  return lora ? applyLora(constants, trainable, lora) : { ...constants, ...trainable };
}

/** One slice of a batch with what all terms share: the encoder's output, computed and differentiated once. */
interface Encoded {
  p: NamedTensors;
  inputs: StepInputs;
  output: EncoderOutput;
  /** Features of all class names, where the stage reads them. */
  texts: Tensor | null;
}

type Objective = (encoded: Encoded) => Terms;

/** Terms that do not go through the denoiser: image–text and retention. */
function steadyTerms({ stage, networks }: StepContext, { p, inputs, output, texts }: Encoded): Terms {
  const terms: Terms = {};
  if (texts) terms.contrastive = contrastiveLoss(p, output, inputs.labels, texts);
  if (stage.stage === 'align' && stage.retention > 0)
    terms.retention = retentionLoss(output, networks.encoder.encode(under(p, REFERENCE), inputs.pixels).embeds);
  return terms;
}

const feedbackTerm = ({ networks, recipe }: StepContext, { p, output }: Encoded, inputs: StepInputs): Tensor =>
  feedbackLoss(p, output, inputs, networks, recipe.diffusion.loss);

/** Features of the class names, [C, projection]. */
function nameFeatures({ networks }: StepContext, p: NamedTensors): Tensor {
  if (!networks.text) throw new Error('the stage reads names, and the encoder has no text tower');
  return networks.text.encode(p, p[NAMES]);
}

const hasContrastive = (stage: Stage) =>
  stage.stage === 'pretrain' || (stage.stage === 'align' && stage.contrastive > 0);

/** Under this name the features of the class names are differentiated beside the parameters. */
const TEXTS = 'texts';

/** Before what the placebo reconstructs, among a slice's inputs. */
const SHUFFLED = 'shuffled/';

/** Into how many slices a step's batch is cut; see {@link microBatches}. One on accelerators, which want it whole. */
export function slicesOf({ stage, recipe, networks }: StepContext, pictures = stage.batch): number {
  const { loss } = recipe.diffusion;
  if (loss.kind === 'infonce' && stage.stage !== 'pretrain') return pictures / loss.group;
  if (recipe.engine.device !== 'cpu') return 1;
  const { encoder, denoiser } = networks;
  const drawn = stage.stage === 'pretrain' ? 0 : recipe.diffusion.draws * denoiser.widest;
  return sliceCount(pictures, 4 * Math.max(encoder.widest, drawn));
}

interface Gradient {
  terms: Terms;
  grads: NamedTensors;
}

/**
 * Value by term and gradient of each objective, slice by slice; what they share of the forward pass is computed once, as
 * is the text tower, which is the same for all slices. In fp16 the loss is multiplied by `scale` [1] for the backward
 * pass and the gradients are divided by it.
 */
function differentiate(
  context: StepContext,
  objectives: Record<string, Objective>,
  inputs: StepInputs,
  params: NamedTensors,
  constants: NamedTensors,
  scale?: Tensor,
): Record<string, Gradient> {
  const { stage, networks, touched } = context;
  const all = effective(context, params, constants);
  const texts = hasContrastive(stage) ? nameFeatures(context, all) : null;
  const textNames = Object.keys(params).filter(isText);
  const inner = Object.fromEntries(Object.entries(params).filter(([name]) => !isText(name)));
  const { mean } = microBatches(context.slices ?? slicesOf(context), inputs, (slice) => {
    const leaves: NamedTensors = texts && textNames.length > 0 ? { ...inner, [TEXTS]: texts } : inner;
    const mean: NamedTensors = {};
    for (const [key, objective] of Object.entries(objectives)) {
      const { aux, grads, unused } = valueAndGrads((given) => {
        const p = effective(context, { ...params, ...given }, constants);
        const output = networks.encoder.encode(p, slice.pixels);
        const terms = objective({ p, inputs: slice, output, texts: given[TEXTS] ?? texts });
        const value = weighted(stage, terms) as Tensor;
        return { value: scale ? tf.mul(value, tf.reshape(scale, [])) : value, aux: terms };
      }, leaves);
      for (const name of Object.keys(leaves)) if (!unused.includes(name)) touched?.add(name);
      Object.assign(mean, prefixed(`${key}/term/`, aux), prefixed(`${key}/grad/`, grads));
    }
    return { mean };
  });
  return mapValues(objectives, (_, key) => {
    const { [TEXTS]: features, ...grads } = under(mean, `${key}/grad/`);
    if (features) {
      const towers = Object.fromEntries(textNames.map((name) => [name, params[name]]));
      const pulled = valueAndGrads(
        (given) => ({ value: tf.sum(tf.mul(nameFeatures(context, { ...all, ...given }), features)) }),
        towers,
      );
      for (const name of textNames) touched?.add(name);
      Object.assign(grads, pulled.grads);
    }
    const unscaled = scale ? mapValues(grads, (g) => tf.div(g, tf.reshape(scale, []))) : grads;
    return { terms: under(mean, `${key}/term/`), grads: unscaled };
  });
}

/** Value by term and gradient of the stage's objective for its role. */
function gradient(
  context: StepContext,
  inputs: StepInputs,
  params: NamedTensors,
  constants: NamedTensors,
  scale?: Tensor,
): Gradient {
  const { stage, role } = context;
  const steady: Objective = (encoded) => steadyTerms(context, encoded);
  const feedback: Objective = (encoded) => ({ feedback: feedbackTerm(context, encoded, encoded.inputs) });
  const shuffled: Objective = (encoded) => ({
    feedback: feedbackTerm(context, encoded, { ...encoded.inputs, ...under(encoded.inputs, SHUFFLED) }),
  });
  const of = (objectives: Record<string, Objective>, given = inputs) =>
    differentiate(context, objectives, given, params, constants, scale);
  if (stage.stage === 'pretrain') return of({ base: steady }).base;
  if (stage.stage === 'projector') return of({ base: feedback }).base;
  if (role === 'aligned') return of({ base: (encoded) => ({ ...steady(encoded), ...feedback(encoded) }) }).base;
  const hasSteady = hasContrastive(stage) || stage.retention > 0;
  const always: Record<string, Objective> = hasSteady ? { base: steady } : {};
  const none: Gradient = { terms: {}, grads: mapValues(params, (p) => tf.zerosLike(p)) };
  if (role === 'control') return hasSteady ? of(always).base : none;
  const {
    base = none,
    wanted,
    placebo,
  } = of(
    { ...always, wanted: feedback, placebo: shuffled },
    { ...inputs, ...prefixed(SHUFFLED, shuffledTargets(inputs)) },
  );
  const match = tf.div(globalNorm(wanted.grads), tf.add(globalNorm(placebo.grads), 1e-12));
  const grads = mapValues(base.grads, (g, name) => tf.add(g, tf.mul(placebo.grads[name], match)));
  return { terms: { ...base.terms, ...placebo.terms }, grads };
}

/**
 * One optimiser step of a stage: outputs `loss`, each term, `norm/<module>` gradient norms, and `health`, which is finite
 * exactly when the loss and every gradient are; where it is not, the update is not taken.
 */
export function trainStep(context: StepContext): StepFunction {
  return (inputs, state, constants) => {
    const params = under(state, 'p/');
    const optimiser = optimiserOf(context.stage, ratesOf(context.stage, params));
    const { scalars, ...batch } = inputs;
    const given = { ...batch, targets: batch.pixels } as StepInputs;
    const touched = new Set<string>();
    const { terms, grads } = gradient({ ...context, touched }, given, params, constants, state[SCALE]);
    const loss = weighted(context.stage, terms) ?? tf.scalar(0);
    const health = tf.add(loss, globalNorm(grads));
    const scaling = scales(context.recipe) ? nextLossScale(state, health) : {};
    // As in PyTorch, what no objective reads has no gradient, and neither learns nor decays.
    const read = Object.fromEntries(Object.entries(params).filter(([name]) => touched.has(name)));
    const next = optimiser.update(read, clipByGlobalNorm(grads, context.stage.clip), state, scalars);
    const modules = groupByModule(grads);
    return {
      outputs: {
        loss,
        health,
        ...prefixed('term/', terms),
        ...prefixed('norm/', mapValues(modules, globalNorm)),
      },
      state: {
        ...state,
        ...prefixed('p/', next.params),
        ...next.state,
        ...scaling,
      },
      guard: 'health',
      unguarded: Object.keys(scaling),
    };
  };
}

/** Inputs of {@link diagnosticStep}: those of the step, with its parameters and loss scale among them. */
export function diagnosticSignature(
  stage: Stage,
  recipe: Recipe,
  trainable: Record<string, Spec>,
  networks: Networks,
): Pick<Signature, 'inputs'> {
  const { inputs, state = {} } = stepSignature(stage, recipe, trainable, networks);
  const { scalars: _scalars, ...batch } = inputs;
  const kept = Object.fromEntries(Object.entries(state).filter(([name]) => name.startsWith('p/') || name === SCALE));
  return { inputs: { ...batch, ...kept } };
}

/** The terms and gradients that a step would update by, as `term/<name>` and `grad/<parameter>`; the batch in one slice. */
export function diagnosticStep(context: StepContext): StepFunction {
  return (inputs, _state, constants) => {
    const params = under(inputs, 'p/');
    const { [SCALE]: scale, ...rest } = inputs;
    const batch = Object.fromEntries(Object.entries(rest).filter(([name]) => !name.startsWith('p/')));
    const given = { ...batch, targets: batch.pixels } as StepInputs;
    const { terms, grads } = gradient({ ...context, slices: 1 }, given, params, constants, scale);
    return { outputs: { ...prefixed('term/', terms), ...prefixed('grad/', grads) } };
  };
}

function groupByModule(grads: NamedTensors): Record<string, NamedTensors> {
  const groups: Record<string, NamedTensors> = {};
  for (const [name, g] of Object.entries(grads)) (groups[moduleOf(name)] ??= {})[name] = g;
  return groups;
}

/** Inputs of the probe: a batch, and the trainable parameters under `p/`. */
export function probeSignature(
  pictures: number,
  trainable: Record<string, Spec>,
  networks: Networks,
): Pick<Signature, 'inputs'> {
  return { inputs: { ...inputSpecs(pictures, 1, networks), ...prefixed('p/', trainable) } };
}

/** The terms of a fixed batch, without a gradient: steady ones, and the feedback loss matched and shuffled. */
export function probeStep(context: StepContext): StepFunction {
  const { stage, networks } = context;
  return (inputs, _state, constants) => {
    const p = effective(context, under(inputs, 'p/'), constants);
    const given = Object.fromEntries(Object.entries(inputs).filter(([name]) => !name.startsWith('p/')));
    const batch = { ...given, targets: inputs.pixels } as StepInputs;
    const hasFeedback = stage.stage !== 'pretrain';
    const texts = hasContrastive(stage) ? nameFeatures(context, p) : null;
    const rows = { ...batch, ...(hasFeedback && prefixed(SHUFFLED, shuffledTargets(batch))) };
    const { mean } = microBatches(slicesOf(context, inputs.pixels.shape[0]), rows, (slice) => {
      const encoded: Encoded = { p, inputs: slice, output: networks.encoder.encode(p, slice.pixels), texts };
      const terms = steadyTerms(context, encoded);
      if (!hasFeedback) return { mean: terms };
      const matched = feedbackTerm(context, encoded, slice);
      const shuffled = feedbackTerm(context, encoded, { ...slice, ...under(slice, SHUFFLED) });
      return { mean: { ...terms, matched, shuffled } };
    });
    return { outputs: mean };
  };
}

/** A stage's objective from the terms of a probe. */
export function probeObjective({ stage, role }: StepContext, terms: Record<string, number>): number {
  if (stage.stage === 'pretrain') return terms.contrastive;
  if (stage.stage === 'projector') return terms.matched;
  const feedback = role === 'control' ? 0 : stage.feedback * (role === 'placebo' ? terms.shuffled : terms.matched);
  return feedback + stage.contrastive * (terms.contrastive ?? 0) + stage.retention * (terms.retention ?? 0);
}

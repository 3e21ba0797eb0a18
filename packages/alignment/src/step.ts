// The training step of each stage as one function of (inputs, state, constants): encode, denoise, differentiate, clip,
// update. `compile` records it once; the same function runs eagerly on tfjs for checking and for the bench.

import { applyLora } from '@fovea/models';
import type { Recipe, Role, Stage } from '@fovea/recipe';
import {
  mapValues,
  type NamedTensors,
  type Signature,
  type Spec,
  type StepFunction,
  type Tensor,
  tf,
  valueAndGrads,
} from '@fovea/tensor';
import { loraOf, type ModelConfig, moduleOf } from './model.ts';
import {
  contrastiveLoss,
  encode,
  feedbackLoss,
  retentionLoss,
  type StepInputs,
  selectTokens,
  shuffleRows,
} from './objectives.ts';
import { adamw, adamwSpecs, clipByGlobalNorm, globalNorm } from './optim.ts';

/** Prefixes of a step's state and constants. */
export const REFERENCE = 'reference/';

/** Shapes of a step's inputs for P pictures and `draws` noisy versions of each. */
export function inputSpecs(pictures: number, draws: number, size: number): Record<string, Spec> {
  const n = pictures * draws;
  return {
    pixels: { shape: [pictures, 3, size, size], dtype: 'float32' },
    labels: { shape: [pictures], dtype: 'int32' },
    noise: { shape: [n, 3, size, size], dtype: 'float32' },
    t: { shape: [n], dtype: 'float32' },
    coefficients: { shape: [n, 4], dtype: 'float32' },
  };
}

export function stepSignature(
  stage: Stage,
  recipe: Recipe,
  trainable: Record<string, Spec>,
): Pick<Signature, 'inputs' | 'state'> {
  const all = inputSpecs(stage.batch, recipe.diffusion.draws, recipe.data.imageSize);
  const inputs = stage.stage === 'pretrain' ? { pixels: all.pixels, labels: all.labels } : all;
  return {
    inputs: { ...inputs, scalars: { shape: [3], dtype: 'float32' } },
    state: { ...prefixed('p/', trainable), ...adamwSpecs(trainable) },
  };
}

const prefixed = <T>(prefix: string, record: Record<string, T>): Record<string, T> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [prefix + name, value]));

const under = (record: NamedTensors, prefix: string): NamedTensors =>
  Object.fromEntries(
    Object.entries(record)
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, value]) => [name.slice(prefix.length), value]),
  );

/** Which branch of which stage, and the networks' shapes. */
export interface StepContext {
  stage: Stage;
  role: Role;
  recipe: Recipe;
  config: ModelConfig;
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

/** Terms that do not go through the denoiser: image–text and retention. */
export function steadyTerms(context: StepContext, p: NamedTensors, inputs: StepInputs): Terms {
  const { stage, config } = context;
  const terms: Terms = {};
  if (stage.stage === 'projector') return terms;
  const contrastive = stage.stage === 'pretrain' || stage.contrastive > 0;
  const retention = stage.stage === 'align' && stage.retention > 0;
  if (!contrastive && !retention) return terms;
  const encoded = encode(p, inputs.pixels, config);
  if (contrastive) terms.contrastive = contrastiveLoss(p, encoded, inputs.labels, p.bags);
  if (retention) terms.retention = retentionLoss(encoded, encode(under(p, REFERENCE), inputs.pixels, config).embeds);
  return terms;
}

/** The feedback term, of true pairs or of shuffled ones. */
export function feedbackTerm(context: StepContext, p: NamedTensors, inputs: StepInputs, shuffled: boolean): Tensor {
  const selected = selectTokens(encode(p, inputs.pixels, context.config), context.config.denoiser.conditionTokens);
  return feedbackLoss(p, shuffled ? shuffleRows(selected) : selected, inputs, context.recipe, context.config);
}

interface Gradient {
  terms: Terms;
  grads: NamedTensors;
}

/** Value by term and gradient of the stage's objective for its role. */
function gradient(context: StepContext, inputs: StepInputs, params: NamedTensors, constants: NamedTensors): Gradient {
  const { stage, role } = context;
  const differentiate = (fn: (p: NamedTensors) => Terms): Gradient => {
    const result = valueAndGrads((trainable) => {
      const terms = fn(effective(context, trainable, constants));
      return { value: weighted(stage, terms) as Tensor, aux: terms };
    }, params);
    return { terms: result.aux, grads: result.grads };
  };
  const steady = (p: NamedTensors) => steadyTerms(context, p, inputs);
  const feedback = (shuffled: boolean) => (p: NamedTensors) => ({
    feedback: feedbackTerm(context, p, inputs, shuffled),
  });
  if (stage.stage === 'pretrain') return differentiate(steady);
  if (stage.stage === 'projector') return differentiate(feedback(false));
  const hasSteady = stage.contrastive > 0 || stage.retention > 0;
  if (role === 'aligned') return differentiate((p) => ({ ...steady(p), ...feedback(false)(p) }));
  const base = hasSteady ? differentiate(steady) : { terms: {}, grads: mapValues(params, (p) => tf.zerosLike(p)) };
  if (role === 'control') return base;
  const wanted = globalNorm(differentiate(feedback(false)).grads);
  const placebo = differentiate(feedback(true));
  const scale = tf.div(wanted, tf.add(globalNorm(placebo.grads), 1e-12));
  const grads = mapValues(base.grads, (g, name) => tf.add(g, tf.mul(placebo.grads[name], scale)));
  return { terms: { ...base.terms, ...placebo.terms }, grads };
}

/** One optimiser step of a stage: outputs `loss`, each term, and `norm/<module>` gradient norms. */
export function trainStep(context: StepContext): StepFunction {
  const optimiser = adamw(context.stage);
  return (inputs, state, constants) => {
    const params = under(state, 'p/');
    const { terms, grads } = gradient(context, inputs as StepInputs, params, constants);
    const next = optimiser.update(
      params,
      clipByGlobalNorm(grads, context.stage.clip),
      { m: under(state, 'm/'), v: under(state, 'v/') },
      inputs.scalars,
    );
    const modules = groupByModule(grads);
    return {
      outputs: {
        loss: weighted(context.stage, terms) ?? tf.scalar(0),
        ...prefixed('term/', terms),
        ...prefixed('norm/', mapValues(modules, globalNorm)),
      },
      state: { ...prefixed('p/', next.params), ...prefixed('m/', next.state.m), ...prefixed('v/', next.state.v) },
    };
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
  recipe: Recipe,
  trainable: Record<string, Spec>,
): Pick<Signature, 'inputs'> {
  return { inputs: { ...inputSpecs(pictures, 1, recipe.data.imageSize), ...prefixed('p/', trainable) } };
}

/** The terms of a fixed batch, without a gradient: steady ones, and the feedback loss matched and shuffled. */
export function probeStep(context: StepContext): StepFunction {
  return (inputs, _state, constants) => {
    const p = effective(context, under(inputs, 'p/'), constants);
    const terms = steadyTerms(context, p, inputs as StepInputs);
    if (context.stage.stage !== 'pretrain') {
      terms.matched = feedbackTerm(context, p, inputs as StepInputs, false);
      terms.shuffled = feedbackTerm(context, p, inputs as StepInputs, true);
    }
    return { outputs: terms };
  };
}

/** A stage's objective from the terms of a probe. */
export function probeObjective({ stage, role }: StepContext, terms: Record<string, number>): number {
  if (stage.stage === 'pretrain') return terms.contrastive;
  if (stage.stage === 'projector') return terms.matched;
  const feedback = role === 'control' ? 0 : stage.feedback * (role === 'placebo' ? terms.shuffled : terms.matched);
  return feedback + stage.contrastive * (terms.contrastive ?? 0) + stage.retention * (terms.retention ?? 0);
}

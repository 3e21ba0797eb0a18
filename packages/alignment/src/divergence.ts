// What went wrong when a step's numbers stopped being numbers, as a sentence: which tensor was the first, and what to
// change. The step's state has not moved, so it can be asked again.

import { FoveaError } from '@fovea/artifacts';
import { firstNonFinite, type NonFinite, type NumericArray, type Spec } from '@fovea/tensor';
import type { Constants } from './networks.ts';
import { diagnosticSignature, diagnosticStep, type StepContext } from './step.ts';

export interface Divergence {
  context: StepContext;
  /** 0-based step of the stage. */
  step: number;
  trainable: Record<string, Spec>;
  constants: Constants;
  /** The step's batch. */
  batch: Record<string, NumericArray>;
  /** Carried tensors before the step. */
  state: (name: string) => NumericArray;
}

/** The error of a step whose loss or gradients are not finite. */
export async function explainDivergence(divergence: Divergence): Promise<FoveaError> {
  const { context, step, trainable, constants, batch, state } = divergence;
  const { stage, role, recipe } = context;
  const { threads, precision } = recipe.engine;
  const { inputs } = diagnosticSignature(stage, recipe, trainable, context.networks);
  const values = Object.fromEntries(Object.keys(inputs).map((name) => [name, batch[name] ?? state(name)]));
  const bad = await firstNonFinite(diagnosticStep(context), { inputs, constants }, values, { precision, threads });
  const where = `Step ${step + 1} of stage ${stage.stage} (${role})`;
  if (!bad)
    return new FoveaError(
      `${where} produced a loss or gradient too large for its norm to be a number; lower the stage's lr (${stage.lr}) or raise warmup.`,
    );
  const a = bad.value === 'NaN' ? 'a NaN' : 'an infinity';
  return new FoveaError(`${where} produced ${a}: the first bad tensor is ${nameOf(bad)}; ${mendOf(bad, divergence)}.`);
}

function nameOf({ kind, name, operation, line }: NonFinite): string {
  if (kind === 'input') return name.startsWith('p/') ? `the parameter ${name.slice(2)}` : `the batch's ${name}`;
  const from = `, in ${operation}${line ? ` at ${line}` : ''}`;
  const [group, ...rest] = name.split('/');
  if (group === 'term') return `the loss term ${rest.join('/')}${from}`;
  return group === 'grad' ? `the gradient of ${rest.join('/')}${from}` : name;
}

function mendOf({ kind, name }: NonFinite, { context: { stage, recipe } }: Divergence): string {
  if (kind === 'input' && !name.startsWith('p/')) return 'check the data set for pictures that decode to no numbers';
  const lower = `lower the stage's lr (${stage.lr})${stage.clip === 0 ? ' or set clip' : ' or raise warmup'}`;
  return recipe.engine.precision === 'fp16' ? `${lower}, or set engine.precision to bf16 or fp32` : lower;
}

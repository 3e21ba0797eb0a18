// From a recipe to the chain of rounds it stands for. Pure: the coordinator compares this plan with what the store
// holds and queues what is missing, so a plan must never depend on when it is made.

import type { EvalGate, Recipe, Role, Stage } from './schema.ts';

/** The trunk leads to the common start; every role then is a branch of its own. */
export type Track = 'trunk' | Role;

/** One arrow of the chain: `steps` optimiser steps of `stage`, the first of them being `firstStep` of that stage. */
export interface Round {
  track: Track;
  /** Position in its track; the checkpoint that this round commits has the same number. */
  round: number;
  /** `init` imports or initialises weights, `latents` encodes a data set once; neither trains anything. */
  stage: 'init' | 'latents' | Stage['stage'];
  /** Index into `recipe.stages`; −1 for the two that are none of them. */
  stageIndex: number;
  firstStep: number;
  steps: number;
  /** Whether the checkpoint it commits is scored. */
  scored: boolean;
}

/** The rounds of every track, in order. Track `trunk` comes first; the others start from its last checkpoint. */
export function planOf(recipe: Recipe): Map<Track, Round[]> {
  const plan = new Map<Track, Round[]>();
  const covers = coverageOf(recipe);
  const trunk: Round[] = [
    { track: 'trunk', round: 0, stage: 'init', stageIndex: -1, firstStep: 0, steps: 0, scored: false },
  ];
  if (cachesLatents(recipe))
    trunk.push({ track: 'trunk', round: 1, stage: 'latents', stageIndex: -1, firstStep: 0, steps: 0, scored: false });
  plan.set('trunk', trunk);
  recipe.stages.forEach((stage, stageIndex) => {
    if (stage.stage === 'align') {
      for (const role of stage.roles) plan.set(role, roundsOf(stage, stageIndex, role, 0, recipe.eval.everyRounds));
    } else if (!covers[stage.stage === 'pretrain' ? 'encoder' : 'feedback']) {
      trunk.push(...roundsOf(stage, stageIndex, 'trunk', trunk.length, Number.POSITIVE_INFINITY));
    }
  });
  trunk[trunk.length - 1].scored = true;
  return plan;
}

/**
 * What a recipe starts with, so that its stage is skipped: the encoder comes from a folder or with the weights; what
 * stands behind it, connector and denoiser, only with the weights of the built-in denoiser.
 */
export function coverageOf({ weights, encoder, denoiser }: Pick<Recipe, 'weights' | 'encoder' | 'denoiser'>) {
  return {
    encoder: weights !== null || encoder.kind === 'pretrained',
    feedback: weights !== null && denoiser.kind === 'builtin',
  };
}

/** Whether what is denoised is encoded once; only a data set with an end can be. */
export const cachesLatents = ({ autoencoder, data }: Pick<Recipe, 'autoencoder' | 'data'>): boolean =>
  autoencoder?.cache === true && data.kind === 'image-folder';

function roundsOf(stage: Stage, stageIndex: number, track: Track, offset: number, every: number): Round[] {
  const rounds: Round[] = [];
  const ends = [...new Set([...multiples(stage.roundSteps, stage.steps), ...stage.saveAt, stage.steps])]
    .filter((end) => end <= stage.steps)
    .sort((a, b) => a - b);
  for (const [i, end] of ends.entries()) {
    const firstStep = i === 0 ? 0 : ends[i - 1];
    const steps = end - firstStep;
    const last = firstStep + steps === stage.steps;
    const nth = rounds.length + 1;
    const scored = track !== 'trunk' && (last || nth % every === 0 || stage.saveAt.includes(end));
    rounds.push({ track, round: offset + rounds.length, stage: stage.stage, stageIndex, firstStep, steps, scored });
  }
  return rounds;
}

const multiples = (of: number, most: number): number[] =>
  Array.from({ length: Math.floor(most / of) }, (_, i) => of * (i + 1));

/** Everything that may end a branch: the align stage's `stopOn` and the gates of `eval`. */
export function gatesOf({ stages, eval: { gates } }: Pick<Recipe, 'stages' | 'eval'>): EvalGate[] {
  const stopOn = stages.find((stage) => stage.stage === 'align')?.stopOn;
  const first = stopOn ? [{ suite: stopOn.suite, metric: 'top1', maxDrop: 100 * stopOn.drop }] : [];
  return [...first, ...gates];
}

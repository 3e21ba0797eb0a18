// The inner loop: optimiser steps by their numbers, one after the other, with the next batch made meanwhile. What it has
// done so far it keeps in one record, so that it can be stopped between two steps and go on elsewhere.

import { setImmediate as events } from 'node:timers/promises';
import type { FoveaError } from '@fovea/artifacts';
import type { Dataset } from '@fovea/data';
import type { NumericArray, Program } from '@fovea/tensor';
import { stepBatch } from './batch.ts';
import { SCALE } from './loss-scale.ts';
import { stepScalars } from './optim.ts';
import type { Report, ShardMetrics } from './round.ts';
import { type StepContext, scales } from './step.ts';

/** What the steps so far have shown. */
export interface StepsDone {
  seconds: number;
  /** Objective per step. */
  loss: number[];
  /** Each named term per step. */
  terms: Record<string, number[]>;
  /** Per module: gradient norms, summed over the steps. */
  norms: Record<string, number>;
}

export const noSteps = (): StepsDone => ({ seconds: 0, loss: [], terms: {}, norms: {} });

export interface StepsRequest {
  program: Program;
  context: StepContext;
  dataset: Dataset;
  /** 0-based numbers within the stage, ascending: the data, the learning rate and all randomness of each step. */
  numbers: readonly number[];
  /** Updates that the moments had taken before the first of them. */
  updates: number;
  /** What the learning rate is multiplied by. */
  rate: number;
  report: Report;
  signal: AbortSignal;
  /** Milliseconds. */
  now: () => number;
  /** Called once the signal is heard, between two steps; the loop then throws the signal's reason. */
  onStop: () => Promise<void>;
  explain: (step: number, batch: Record<string, NumericArray>) => Promise<FoveaError>;
}

const PROGRESS_MS = 400;

/** Takes the steps that are not yet done, and adds them to `done`. */
export async function takeSteps(request: StepsRequest, done: StepsDone): Promise<void> {
  const { program, context, dataset, numbers, updates, rate, report, signal, now, onStop, explain } = request;
  const { recipe, stage, networks } = context;
  const taken = done.loss.length;
  const before = done.seconds;
  const started = now();
  let reported = started;
  const batchOf = (i: number) => {
    const batch = stepBatch(dataset, recipe, stage, numbers[i], networks);
    // It may fail while nobody waits for it; whoever takes the step hears of it.
    batch.catch(() => {});
    return batch;
  };
  let next = taken < numbers.length ? batchOf(taken) : null;
  for (let i = taken; i < numbers.length; i++) {
    // Steps may compute without ever waiting for an event: let a stop be heard.
    await events();
    if (signal.aborted) {
      await onStop();
      signal.throwIfAborted();
    }
    const batch = (await next) as Record<string, NumericArray>;
    next = i + 1 < numbers.length ? batchOf(i + 1) : null;
    const scaled = { ...stage, lr: rate * stage.lr };
    const out = await program.run({ ...batch, scalars: stepScalars(numbers[i], stage.steps, scaled, updates + i) });
    if (!Number.isFinite(out.health[0])) {
      await program.settle();
      // In fp16 an overflowing gradient is the scale's to mend; a loss that overflows is not.
      const mends = scales(recipe) && Number.isFinite(out.loss[0]) && program.getState(SCALE)[0] >= 1;
      if (!mends) throw await explain(numbers[i], batch);
    }
    note(done, out);
    const time = now();
    done.seconds = before + (time - started) / 1000;
    if (time - reported >= PROGRESS_MS || i + 1 === numbers.length) {
      reported = time;
      const imagesPerSecond = ((i + 1) * stage.batch) / done.seconds;
      report({ step: i + 1, steps: numbers.length, loss: out.loss[0], imagesPerSecond });
    }
  }
}

function note({ loss, terms, norms }: StepsDone, out: Record<string, NumericArray>): void {
  loss.push(out.loss[0]);
  for (const [name, [value]] of Object.entries(out)) {
    if (name.startsWith('term/')) (terms[name.slice(5)] ??= []).push(value);
    if (name.startsWith('norm/') && Number.isFinite(value)) norms[name.slice(5)] = (norms[name.slice(5)] ?? 0) + value;
  }
}

/** The steps' metrics, with `batch` pictures a step. */
export function metricsOf({ seconds, loss, terms, norms }: StepsDone, batch: number): ShardMetrics {
  const steps = loss.length;
  const gradNorm = Object.fromEntries(Object.entries(norms).map(([name, sum]) => [name, sum / steps]));
  return { steps, seconds, imagesPerSecond: seconds > 0 ? (steps * batch) / seconds : 0, loss, terms, gradNorm };
}

// An evaluation from its questions to its results: infer, then score, suite by suite, each stage on its own and each taken
// up where it was left. Who the subject is and where a suite came from is decided elsewhere.

import path from 'node:path';
import { explainDisk, isUserError } from '@fovea/artifacts';
import type { Subject } from '../subjects/subject.ts';
import { readSuite } from '../suite/read-suite.ts';
import type { Suite } from '../suite/suite.ts';
import { measureCalibration } from './calibration.ts';
import { type InferOptions, infer } from './infer.ts';
import type { MeasureOptions, SuiteKind } from './kind.ts';
import { dropPredictions, type LogWhere, PredictionLog, readPredictions } from './predictions.ts';
import { removeVerdicts, resultsDocument, writeResults, writeScored } from './results.ts';
import { type RunDocument, suiteFolder } from './run-folder.ts';
import { judge } from './score.ts';
import { type State, type Status, type SuiteStatus, stateOf, writeStatus } from './status.ts';

export interface ScoringOptions {
  /** Largest share of answers that may not be understood. @default 0.02 */
  maxUnknown?: number;
  /** Id of a scorer; kinds that have none of that id are judged by their default. */
  scorer?: string;
  bootstrap?: MeasureOptions;
}

export interface EvaluateOptions extends InferOptions, ScoringOptions {
  /** Ask again what ended as an error. */
  retryErrors?: boolean;
  kindOf(suite: Suite): SuiteKind;
  now(): Date;
}

/** A suite of the evaluation with who answers it; a sentence where nobody can. */
export interface Answering {
  suite: Suite;
  subject: Subject | { refusal: string };
}

/** 10,000 resamples, as the specification asks. */
export const BOOTSTRAP: MeasureOptions = { count: 10_000, seed: 0 };
export const MAX_UNKNOWN = 0.02;

/** Runs what is left of an evaluation. Faults of one suite are in its status; those of ours are thrown. */
export async function evaluate(
  folder: string,
  run: RunDocument,
  answering: readonly Answering[],
  options: EvaluateOptions,
): Promise<Status> {
  const board = new Board(folder, answering, options.now);
  await board.write();
  for (const { suite, subject } of answering) {
    const { name } = suite.manifest;
    const key = run.suites.find((each) => each.name === name)!.runKey;
    try {
      if ('refusal' in subject) board.set(name, { state: 'failed', message: subject.refusal });
      else {
        await board.update(name, { state: 'running' });
        await answerSuite(suiteFolder(folder, name), suite, subject, key, options, board);
        await board.update(name, { state: 'scoring' });
        board.set(name, await scoreSuite(suiteFolder(folder, name), suite, key, options.kindOf(suite), options));
      }
    } catch (error) {
      const isCancelled = options.signal?.aborted === true;
      const message = isCancelled ? 'it was stopped; resume it' : (error as Error).message;
      board.set(name, { state: isCancelled ? 'cancelled' : 'failed', message });
      if (!isCancelled && !isUserError(error)) {
        await board.write().catch(() => undefined);
        throw error;
      }
    }
    await board.write();
    if (options.signal?.aborted) break;
  }
  return board.status;
}

/** Judges an evaluation again from its own folder: no subject and no picture is touched. */
export async function rescore(
  folder: string,
  run: RunDocument,
  options: Omit<EvaluateOptions, keyof InferOptions>,
): Promise<Status> {
  const suites = await Promise.all(run.suites.map(({ name }) => readSuite(suiteFolder(folder, name))));
  const board = new Board(
    folder,
    suites.map((suite) => ({ suite })),
    options.now,
  );
  for (const [i, suite] of suites.entries()) {
    const { name, runKey } = run.suites[i];
    board.set(name, await scoreSuite(suiteFolder(folder, name), suite, runKey, options.kindOf(suite), options));
  }
  await board.write();
  return board.status;
}

const predictionFile = (folder: string): string => path.join(folder, 'preds.jsonl');

const whereOf = (suite: Suite, runKey: string): LogWhere => ({ runKey, ids: suite.items.map(({ id }) => id) });

async function answerSuite(
  folder: string,
  suite: Suite,
  subject: Subject,
  key: string,
  options: EvaluateOptions,
  board: Board,
): Promise<void> {
  const [file, where] = [predictionFile(folder), whereOf(suite, key)];
  if (options.retryErrors) await dropPredictions(file, where, ({ answer }) => answer.kind === 'error');
  const log = await PredictionLog.open(file, where);
  try {
    const progress: InferOptions['progress'] = (event) => {
      options.progress?.(event);
      board.tick(suite.manifest.name, { answered: log.answered.size });
    };
    await infer(suite, subject, key, log, { ...options, progress });
    await log.finish();
  } finally {
    await log.close();
  }
}

/** Judges and measures one suite; without all of its answers, or with too many that say nothing, there are no results. */
async function scoreSuite(
  folder: string,
  suite: Suite,
  key: string,
  kind: SuiteKind,
  { maxUnknown = MAX_UNKNOWN, scorer: wanted, bootstrap = BOOTSTRAP }: ScoringOptions,
): Promise<SuiteStatus> {
  const predictions = await readPredictions(predictionFile(folder), whereOf(suite, key));
  const scorer = kind.scorers.find(({ id }) => id === wanted) ?? kind.scorers[0];
  const beside = scorer === kind.scorers[0] ? null : scorer.id;
  const count = suite.items.length;
  await removeVerdicts(folder, beside);
  const { judged, missing, unknown, errors } = judge(suite, predictions, scorer);
  const status = { answered: predictions.length, count, unknown, errors };
  if (missing.length > 0) {
    const message = `${missing.length} of ${count} questions have no answer, the first is "${missing[0]}"; resume it`;
    return { ...status, state: 'incomplete', message };
  }
  try {
    const rows = judged.map(({ scored }) => scored);
    await writeScored(folder, rows, beside);
    if (unknown > maxUnknown * count) {
      const share = `${unknown} of ${count} answers could not be understood, more than ${100 * maxUnknown} %`;
      return { ...status, state: 'failed', message: `${share}; see scored.jsonl, or raise --max-unknown` };
    }
    const own = kind.measure(suite, judged, bootstrap);
    const results = [...own, ...measureCalibration(own, suite.manifest.name, judged, bootstrap)];
    await writeResults(folder, resultsDocument(suite, key, scorer, { unknown, errors }, bootstrap, results), beside);
  } catch (error) {
    throw explainDisk(error, `The results in "${folder}" cannot be written`);
  }
  return { ...status, state: 'completed', message: null };
}

const TICK_MS = 1000;

/** The status of an evaluation while it goes on. */
class Board {
  readonly status: Status;
  readonly #folder: string;
  readonly #now: () => Date;
  #written = 0;

  constructor(folder: string, suites: readonly { suite: Suite }[], now: () => Date) {
    this.#folder = folder;
    this.#now = now;
    const at = now().toISOString();
    const queued = (suite: Suite): SuiteStatus => ({
      state: 'queued',
      answered: 0,
      count: suite.items.length,
      unknown: 0,
      errors: 0,
      message: null,
    });
    this.status = {
      schemaVersion: 1,
      state: 'queued',
      startedAt: at,
      updatedAt: at,
      suites: Object.fromEntries(suites.map(({ suite }) => [suite.manifest.name, queued(suite)])),
    };
  }

  set(name: string, change: Partial<SuiteStatus>): void {
    Object.assign(this.status.suites[name], change);
  }

  async update(name: string, change: Partial<SuiteStatus>): Promise<void> {
    this.set(name, change);
    await this.write();
  }

  /** Writes at most once a second; a status that cannot be written now is written at the end. */
  tick(name: string, change: Partial<SuiteStatus>): void {
    this.set(name, change);
    if (this.#now().getTime() - this.#written >= TICK_MS) void this.write().catch(() => undefined);
  }

  async write(): Promise<void> {
    const now = this.#now();
    this.#written = now.getTime();
    this.status.state = stateOf(Object.values(this.status.suites) as { state: State }[]);
    this.status.updatedAt = now.toISOString();
    await writeStatus(this.#folder, structuredClone(this.status)).catch((error) => {
      throw explainDisk(error, `The status of "${this.#folder}" cannot be written`);
    });
  }
}

// One evaluation from a request: opens suites and subject, takes the folder, asks, judges, and says what came of it. `run`
// starts here and `resume` comes back here.

import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import {
  type Answering,
  type Asked,
  type EvaluateOptions,
  evaluate,
  holdRunFolder,
  keyParts,
  openRunFolder,
  readAnswers,
  rescore,
  runDocument,
  type ScoringOptions,
  type Status,
  type Subject,
  suiteFolder,
  suiteKind,
  writeAnswers,
} from '@fovea/benchmarks/judging';
import { findCheckpoint } from '../checkpoints.ts';
import { type Home, openHomeStore } from '../home.ts';
import type { EvalRequest } from './request.ts';
import { choose, openSubjects } from './subjects.ts';
import { openSuites } from './suites.ts';

export interface Wishes extends ScoringOptions {
  retryErrors?: boolean;
  progress?: EvaluateOptions['progress'];
}

export interface Place {
  /** Folder of all evaluations. */
  out: string;
  /** Its own folder in there; the first characters of its key where there is none. */
  name?: string;
}

export interface Executed {
  folder: string;
  title: string;
  status: Status;
}

export const scoringBase = {
  kindOf: ({ manifest }: Answering['suite']) => suiteKind(manifest.kind),
  now: () => new Date(),
};

/** Asks and judges what is left of the evaluation that a request describes. */
export async function execute(home: Home, request: EvalRequest, place: Place, wishes: Wishes): Promise<Executed> {
  const data = await recipeData(home, request);
  const suites = await openSuites(home, request, data);
  for (const { manifest } of suites) suiteKind(manifest.kind);
  if (request.subject.from === 'answers') return judgeAnswers(request.subject.file, suites, request, place, wishes);
  const { subjects, title, dispose } = await openSubjects(home, request);
  try {
    const answering: Answering[] = suites.map((suite) => ({ suite, subject: choose(subjects, suite) }));
    const asked = answering.map(({ suite, subject }) => ({
      suite,
      parts: keyParts('refusal' in subject ? subjects[0] : subject, suite),
    }));
    const status = await inFolder(asked, request, place, (folder, document) =>
      withSignals((signal) => evaluate(folder, document, answering, { ...scoringBase, ...wishes, signal })),
    );
    return { ...status, title };
  } finally {
    await dispose();
  }
}

/** The pictures of the checkpoint's recipe, which the built-in suites are drawn as; null for other subjects. */
async function recipeData(home: Home, { subject }: EvalRequest) {
  if (subject.from !== 'checkpoint') return null;
  const { run } = await findCheckpoint(await openHomeStore(home), subject.id, subject.run);
  return run.recipe.data;
}

/** Judges answers that are there already; nobody is asked. */
async function judgeAnswers(
  file: string,
  suites: Answering['suite'][],
  request: EvalRequest,
  place: Place,
  wishes: Wishes,
): Promise<Executed> {
  const given = await readAnswers(file);
  const ids = new Set(suites.flatMap(({ items }) => items.map(({ id }) => id)));
  const strange = [...given.answers.keys()].find((id) => !ids.has(id));
  if (strange !== undefined)
    throw new FoveaError(`The file of answers "${file}" answers "${strange}", which no suite asks; take it out.`);
  const subject: Pick<Subject, 'kind' | 'identity'> = { kind: 'language-model', identity: { answers: given.sha256 } };
  const asked = suites.map((suite) => ({ suite, parts: keyParts(subject, suite) }));
  const done = await inFolder(asked, request, place, async (folder, document) => {
    for (const [i, suite] of suites.entries())
      await writeAnswers(suiteFolder(folder, suite.manifest.name), suite, document.suites[i].runKey, given);
    return rescore(folder, document, { ...scoringBase, ...wishes });
  });
  return { ...done, title: `answers of ${path.basename(file)}` };
}

/** Makes or finds the folder, and holds it while `work` writes it. */
async function inFolder(
  asked: Asked[],
  request: EvalRequest,
  { out, name }: Place,
  work: (folder: string, document: ReturnType<typeof runDocument>) => Promise<Status>,
): Promise<Omit<Executed, 'title'>> {
  const document = runDocument(asked, request);
  const folder = path.join(out, name ?? document.key.slice(0, 12));
  const lock = await holdRunFolder(folder);
  try {
    await openRunFolder(folder, document, asked);
    return { folder, status: await work(folder, document) };
  } finally {
    await lock.release();
  }
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** The first signal stops the work at a clean place; what is answered stays. */
async function withSignals<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const stop = () => controller.abort();
  for (const name of SIGNALS) process.once(name, stop);
  try {
    return await work(controller.signal);
  } finally {
    for (const name of SIGNALS) process.off(name, stop);
  }
}

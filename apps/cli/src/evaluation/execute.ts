// One evaluation from a request: opens suites and subject, takes the folder, asks, judges, and says what came of it. `run`
// starts here and `resume` comes back here.

import path from 'node:path';
import {
  type Answering,
  type Asked,
  choose,
  type EvaluateOptions,
  evaluate,
  holdRunFolder,
  keyParts,
  openRunFolder,
  runDocument,
  type ScoringOptions,
  type Status,
  type Suite,
  suiteKind,
} from '@fovea/benchmarks/judging';
import { findCheckpoint } from '../checkpoints.ts';
import { type Home, openHomeStore } from '../home.ts';
import type { EvalRequest } from './request.ts';
import { openSubjects } from './subjects.ts';
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
  const { subjects, title, dispose } = await openSubjects(home, request);
  try {
    const answering: Answering[] = suites.map((suite) => ({
      suite: request.subject.from === 'answers' ? unseen(suite) : suite,
      subject: choose(subjects, suite),
    }));
    const asked = answering.map(({ suite, subject }) => ({
      suite,
      parts: keyParts('refusal' in subject ? subjects[0] : subject, suite),
    }));
    return await inFolder(asked, { title, request }, place, (folder, document) =>
      withSignals((signal) => evaluate(folder, document, answering, { ...scoringBase, ...wishes, signal })),
    );
  } finally {
    await dispose();
  }
}

/** Answers that exist need no pictures, and nobody has to have them. */
const unseen = (suite: Suite): Suite => ({
  ...suite,
  read: async () => ({ width: 1, height: 1, data: new Uint8Array(3) }),
});

/** The pictures of the checkpoint's recipe, which the built-in suites are drawn as; null for other subjects. */
async function recipeData(home: Home, { subject }: EvalRequest) {
  if (subject.from !== 'checkpoint') return null;
  const { run } = await findCheckpoint(await openHomeStore(home), subject.id, subject.run);
  return run.recipe.data;
}

/** Makes or finds the folder, and holds it while `work` writes it. */
async function inFolder(
  asked: Asked[],
  about: { title: string; request: EvalRequest },
  { out, name }: Place,
  work: (folder: string, document: ReturnType<typeof runDocument>) => Promise<Status>,
): Promise<Executed> {
  const document = runDocument(asked, about);
  const folder = path.join(out, name ?? document.key.slice(0, 12));
  const lock = await holdRunFolder(folder);
  try {
    await openRunFolder(folder, document, asked);
    return { folder, title: about.title, status: await work(folder, document) };
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

// Benchmarks inside a training run: asks a checkpoint's encoder the suites that the recipe names, in a folder of its own that
// outlives a killed worker, and brings what came of it into the scorecard.

import { rm } from 'node:fs/promises';
import { FoveaError } from '@fovea/artifacts';
import { type Answering, evaluate } from './judging/evaluate.ts';
import type { JudgedSuite } from './judging/judged-run.ts';
import { readJudgedRun } from './judging/read-judged-run.ts';
import { suiteKind } from './judging/registry.ts';
import { holdRunFolder, openRunFolder, runDocument } from './judging/run-folder.ts';
import { keyParts } from './judging/run-key.ts';
import { foilRefusal } from './kinds/build-robustvqa.ts';
import type { BenchmarkCard, Scorecard, ScoreResult } from './scorecard.ts';
import type { RunOptions } from './scoring.ts';
import type { Subject } from './subjects/subject.ts';
import type { Suite } from './suite/suite.ts';

export interface BenchmarksRequest extends RunOptions {
  suites: readonly Suite[];
  /** In order of preference: the first that does not refuse a suite answers it. */
  subjects: readonly Subject[];
  /** Where answers are kept until all are judged; an evaluation of another key is never found there. */
  folder(key: string): string;
  bootstrap: { count: number; seed: number };
  now(): Date;
}

/** The first that answers a suite, or why none does. An encoder is not asked what it chose the wrong names of. */
export function choose(subjects: readonly Subject[], suite: Suite): Subject | { refusal: string } {
  const { checkpoint, weights, files } = subjects[0].identity;
  const ids = [checkpoint, weights, files].filter((id) => typeof id === 'string');
  const { source } = suite.manifest;
  const why = foilRefusal(source, ids) ?? foilRefusal({ foil: source.filterModel ?? null }, ids);
  if (why !== null) return { refusal: why };
  const refusals = subjects.map((subject) => subject.refuses(suite));
  const at = refusals.indexOf(null);
  return at < 0 ? { refusal: refusals.filter((why) => why !== null).join(' ') } : subjects[at];
}

type Benchmarks = Pick<Scorecard, 'results' | 'omitted'> & { benchmarks: BenchmarkCard[] };

/** Asks every suite; one that nobody can answer, or that is not complete, is an omission with its reason. */
export async function scoreBenchmarks(request: BenchmarksRequest): Promise<Benchmarks> {
  const { suites, subjects, bootstrap, progress, signal, now } = request;
  const found: Benchmarks = { results: [], omitted: [], benchmarks: [] };
  const answering: { suite: Suite; subject: Subject }[] = [];
  for (const suite of suites) {
    const subject = choose(subjects, suite);
    if ('refusal' in subject) found.omitted.push(omission(suite.manifest.name, subject.refusal));
    else answering.push({ suite, subject });
  }
  if (answering.length === 0) return found;
  const asked = answering.map(({ suite, subject }) => ({ suite, parts: keyParts(subject, suite) }));
  const document = runDocument(asked, { title: 'a checkpoint of a run', request: {} });
  const folder = request.folder(document.key);
  const lock = await holdRunFolder(folder);
  try {
    await openRunFolder(folder, document, asked);
    const kindOf = ({ manifest }: Answering['suite']) => suiteKind(manifest.kind);
    await evaluate(folder, document, answering, { kindOf, now, bootstrap, progress, signal });
    signal?.throwIfAborted();
    const { suites: judged, incomplete = [] } = await readJudgedRun(folder);
    for (const { suite, reason } of incomplete) found.omitted.push(omission(suite, reason));
    for (const each of judged) {
      const { subject } = answering.find(({ suite }) => suite.manifest.name === each.manifest.name)!;
      const manifest = document.suites.find(({ name }) => name === each.manifest.name)!.parts as { suite: string };
      found.benchmarks.push(cardOf(each, subject.kind, manifest.suite));
      found.results.push(...each.results.flatMap((result) => resultOf(result, each)));
    }
  } finally {
    await lock.release();
  }
  await rm(folder, { recursive: true, force: true });
  return found;
}

const omission = (suite: string, reason: string) => ({ suite, split: 'all', reason: reason.replace(/\.$/, '') });

function cardOf({ manifest, items, scored, results, scorer = '' }: JudgedSuite, subject: string, hash: string) {
  const verdicts = new Map(scored.map((row) => [row.itemId, row.correct]));
  const clusterNames = [...new Set(items.map(({ cluster }) => cluster))];
  const clusterAt = new Map(clusterNames.map((name, i) => [name, i]));
  const splits: Record<string, number[]> = {};
  items.forEach(({ split }, i) => {
    splits[split] ??= [];
    splits[split].push(i);
  });
  const card: BenchmarkCard = {
    name: manifest.name,
    kind: manifest.kind,
    title: manifest.title,
    manifest: hash,
    subject,
    scorer,
    results: [...results],
    items: {
      ids: items.map(({ id }) => id),
      clusterNames,
      clusters: items.map(({ cluster }) => clusterAt.get(cluster)!),
      correct: items.map(({ id }) => {
        const correct = verdicts.get(id);
        if (correct === undefined) throw new FoveaError(`The suite ${manifest.name} has no verdict on "${id}".`);
        return correct;
      }),
      splits,
    },
  };
  return card;
}

/** A measure as the rest of a scorecard has it; none where it has no value or no interval. */
function resultOf(result: JudgedSuite['results'][number], { items }: JudgedSuite): ScoreResult[] {
  const { suite, split, metric, value, n, ci, chance, errors } = result;
  if (value === null || ci === null || ci.method === 't') return [];
  const own = items.filter((item) => item.split === split);
  const clusters = new Set((own.length > 0 ? own : items).map(({ cluster }) => cluster)).size;
  return [
    { suite, split, metric, value, n, ci: [ci.low, ci.high], method: ci.method, clusters, chance: chance ?? 0, errors },
  ];
}

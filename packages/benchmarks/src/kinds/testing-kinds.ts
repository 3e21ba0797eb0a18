// What the tests of the kinds share: tiny picture folders on disk, and a draft whose questions are answered by a function.
// Nothing of it is exported from the package.

import { mkdir, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import sharp from 'sharp';
import type { Answer } from '../judging/answer.ts';
import type { Judged, SuiteKind } from '../judging/kind.ts';
import type { Result } from '../judging/result.ts';
import type { Draft } from '../suite/draft.ts';
import type { Item } from '../suite/item.ts';
import type { Suite } from '../suite/suite.ts';
import { suiteOf } from '../suite/suite-of.ts';

/** A new empty folder. */
export const emptyFolder = (): Promise<string> => mkdtemp(path.join(tmpdir(), 'fovea-kinds-'));

/** Writes pictures of 6 × 4 pixels below a folder, each in its own colour; the ending decides the format. */
export async function writePictures(folder: string, paths: readonly string[]): Promise<void> {
  for (const [i, relative] of paths.entries()) {
    const file = path.join(folder, relative);
    await mkdir(path.dirname(file), { recursive: true });
    const background = { r: (37 * i) % 256, g: (91 * i) % 256, b: (53 * i) % 256 };
    await sharp({ create: { width: 6, height: 4, channels: 3, background } }).toFile(file);
  }
}

/** The draft as whoever writes suites would open it; its pictures are not read. */
export const opened = (draft: Draft): Suite =>
  suiteOf(draft, () => Promise.reject(new Error('no pictures are read here')));

/** Every question answered and judged by the kind's first scorer, or by the one named. */
export function judge(draft: Draft, kind: SuiteKind, answerOf: (item: Item) => Answer, scorerId?: string): Judged[] {
  const suite = opened(draft);
  const scorer = kind.scorers.find(({ id }) => scorerId === undefined || id === scorerId);
  return suite.items.map((item) => {
    const answer = answerOf(item);
    if (answer.kind !== 'error' && scorer) return { item, scored: scorer.score(item, answer, suite) };
    const rule = answer.kind === 'error' ? answer.message : 'none';
    return { item, scored: { itemId: item.id, label: 'error', rule, correct: 0, margin: null, confidence: null } };
  });
}

/** Results by `split metric`. */
export function measured(
  draft: Draft,
  kind: SuiteKind,
  answerOf: (item: Item) => Answer,
  scorerId?: string,
): Record<string, Result> {
  const results = kind.measure(opened(draft), judge(draft, kind, answerOf, scorerId), { count: 200, seed: 1 });
  const keyed = results.map((result) => [`${result.split} ${result.metric}`, result] as const);
  if (new Set(keyed.map(([key]) => key)).size !== keyed.length) throw new Error('two results of one name');
  return Object.fromEntries(keyed);
}

export const scores = (...scores: number[]): Answer => ({ kind: 'scores', scores });
export const text = (text: string): Answer => ({ kind: 'text', text, tokens: null, finish: 'stop' });

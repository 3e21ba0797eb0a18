// Answers that somebody already has, as predictions: a file with one JSON object a line that names its item by id. Lines are
// never joined by their order; an answer that is missing leaves the suite incomplete.

import path from 'node:path';
import { FoveaError, replaceFile, sha256Hex } from '@fovea/artifacts';
import { z } from 'zod';
import { linesOf, parseAs, parseJson, readBounded } from '../suite/safe-files.ts';
import type { Suite } from '../suite/suite.ts';
import { canonicalLines } from '../suite/suite-of.ts';
import { type Answer, type Prediction, predictionSchema } from './answer.ts';

const MAX_FILE = 500 * 2 ** 20;

/** `{"itemId": …, "text": "Yes"}`, or the `answer` of a line of preds.jsonl in its place; other fields are ignored. */
const line = z
  .object({
    itemId: z.union([z.string(), z.int()]),
    text: z.string().optional(),
    answer: predictionSchema.shape.answer.optional(),
  })
  .refine(({ text, answer }) => (text === undefined) !== (answer === undefined), 'give "text" or "answer"');

export interface AnswersFile {
  sha256: string;
  /** By item id. */
  answers: Map<string, Answer>;
}

/** Throws a FoveaError that names the line for an id that is missing or comes twice. */
export async function readAnswers(file: string): Promise<AnswersFile> {
  const what = `The file of answers "${file}"`;
  const bytes = await readBounded(file, MAX_FILE, what);
  const answers = new Map<string, Answer>();
  for (const [json, number] of linesOf(bytes.toString(), what)) {
    const where = `${what}, line ${number},`;
    const { itemId, text, answer } = parseAs(line, parseJson(json, where), where);
    const id = String(itemId);
    if (answers.has(id)) throw new FoveaError(`${where} answers "${id}" a second time; remove one of the lines.`);
    answers.set(id, answer ?? { kind: 'text', text: text as string, tokens: null, finish: 'stop' });
  }
  return { sha256: sha256Hex(bytes), answers };
}

/** Writes what a file answers of a suite as its preds.jsonl; returns how many items that are. */
export async function writeAnswers(
  folder: string,
  suite: Suite,
  runKey: string,
  { answers }: AnswersFile,
): Promise<number> {
  const rows = suite.items.flatMap(({ id }): Prediction[] => {
    const answer = answers.get(id);
    return answer === undefined ? [] : [{ itemId: id, runKey, answer }];
  });
  await replaceFile(path.join(folder, 'preds.jsonl'), canonicalLines(rows));
  return rows.length;
}

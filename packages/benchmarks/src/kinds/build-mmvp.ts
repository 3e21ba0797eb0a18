// Reads MMVP's published folder (Tong et al., CVPR 2024, arXiv 2401.06209): Questions.csv and `MMVP Images/1.jpg` to
// 300.jpg, two rows a pair. Its four swapped answers are set right by what the options say, so a copy that is mended
// already stays as it is. Which truth counts is the manifest's gtRevision; items carry both.

import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import { PictureFiles } from '@fovea/data';
import { z } from 'zod';
import type { Draft } from '../suite/draft.ts';
import { letterOf } from './answers/parse-option.ts';
import { readCsv } from './csv.ts';
import { lookAtAll, type PictureFacts, readText } from './user-files.ts';

export const mmvpFilesSchema = z.strictObject({
  /** The published folder. */
  folder: z.string(),
  name: z.string().default('mmvp'),
  gtRevision: z.enum(['original', 'corrected-2026-01']).default('corrected-2026-01'),
  /** Ask every question a second time with the options in the other order. */
  swap: z.boolean().default(false),
});

const IMAGES = 'MMVP Images';
const COLUMNS = ['Index', 'Question', 'Options', 'Correct Answer'] as const;

/**
 * Answers that the pictures contradict (issues 14 and 30 of the published repository; numbers count from 1). The right
 * answer is named by its words.
 */
const ERRATA = new Map([
  [99, { question: /elephant.*tusks/i, right: 'short', swapped: 'long' }],
  [100, { question: /elephant.*tusks/i, right: 'long', swapped: 'short' }],
  [279, { question: /elderly person.*standing or sitting/i, right: 'sitting', swapped: 'standing' }],
  [280, { question: /elderly person.*standing or sitting/i, right: 'standing', swapped: 'sitting' }],
]);

/** One row of Questions.csv, understood. `given` is the file's own answer; all answers are positions of options. */
export interface MmvpRow {
  index: number;
  question: string;
  options: [string, string];
  given: number;
  original: number;
  corrected: number;
}

/**
 * The rows of Questions.csv with both truths. Throws a {@link FoveaError} that names the row for an index that does not count
 * from 1, for options that are not `(a) … (b) …`, and for pairs with different questions or one answer.
 */
export function parseMmvp(text: string, where: string): MmvpRow[] {
  const rows = readCsv(text, where, COLUMNS).map((row, i): MmvpRow => {
    const fail = (why: string): never => {
      throw new FoveaError(`Row ${i + 1} of "${where}" cannot be asked: ${why}; mend that row.`);
    };
    if (row.Index.trim() !== String(i + 1)) {
      fail(`its index is "${row.Index}", but indices count from 1 in order, as the pictures' names do`);
    }
    const options = /^\s*\(a\)\s*(.+?)\s*\(b\)\s*(.+?)\s*$/s.exec(row.Options);
    if (!options) return fail(`its options are "${row.Options}", not "(a) … (b) …"`);
    const given = ['(a)', '(b)'].indexOf(row['Correct Answer'].trim().toLowerCase());
    if (given < 0) fail(`its answer is "${row['Correct Answer']}", not (a) or (b)`);
    return withErrata({ index: i + 1, question: row.Question.trim(), options: [options[1], options[2]], given });
  });
  rows.forEach((row, i) => {
    const other = rows[i ^ 1];
    if (other?.question === row.question && other.corrected !== row.corrected) return;
    const why =
      other === undefined ? 'it has no second row' : 'its two rows differ in their question or share one answer';
    throw new FoveaError(`The pair of row ${i + 1} of "${where}" is no pair: ${why}; mend it.`);
  });
  return rows;
}

function withErrata(row: Pick<MmvpRow, 'index' | 'question' | 'options' | 'given'>): MmvpRow {
  const erratum = ERRATA.get(row.index);
  const at = (word: string) => row.options.findIndex((option) => option.toLowerCase() === word);
  if (!erratum?.question.test(row.question) || at(erratum.right) < 0 || at(erratum.swapped) < 0) {
    return { ...row, original: row.given, corrected: row.given };
  }
  return { ...row, original: at(erratum.swapped), corrected: at(erratum.right) };
}

/**
 * The folder as a suite; picture paths are below the folder. Pairs that lack a picture are left out and named in `omitted`.
 * Throws a {@link FoveaError} where nothing is left, and as {@link parseMmvp} does.
 */
export async function buildMmvp(given: z.input<typeof mmvpFilesSchema>): Promise<Draft> {
  const { folder, name, gtRevision, swap } = mmvpFilesSchema.parse(given);
  const file = path.join(folder, 'Questions.csv');
  const { text, sha256 } = await readText(file);
  const rows = parseMmvp(text, file);
  const { found, lost } = await lookAtAll(
    await PictureFiles.open(folder),
    rows.map(({ index }) => pictureOf(index)),
  );
  const reasons = new Map(lost.map((picture) => [picture.what, picture.reason]));
  const isWhole = ({ index }: MmvpRow) => found.has(pictureOf(index)) && found.has(pictureOf(partnerOf(index)));
  const whole = rows.filter(isWhole);
  if (whole.length === 0) {
    throw new FoveaError(
      `MMVP cannot be read: ${lost[0]?.reason ?? `"${file}" has no questions.`} No pair of "${folder}" is whole.`,
    );
  }
  return {
    name,
    kind: 'mmvp',
    title: 'MMVP: nine visual patterns in pairs that CLIP takes for the same',
    source: { builder: 'mmvp-files', version: 1, questions: sha256, swap, ...errataOf(rows) },
    prompt: { id: 'mmvp', template: '{question}' },
    textTemplate: '{}',
    gtRevision,
    omitted: rows
      .filter((row) => !isWhole(row))
      .map(({ index }) => ({
        what: `question ${index}`,
        reason: reasons.get(pictureOf(index)) ?? 'the other picture of its pair is lost',
      })),
    notes: notesOf(rows, whole),
    items: whole.flatMap((row) => itemsOf(row, found.get(pictureOf(row.index)) as PictureFacts, gtRevision, swap)),
    probes: [],
  };
}

const pictureOf = (index: number): string => `${IMAGES}/${index}.jpg`;
/** 1 and 2 are partners, 3 and 4, … */
const partnerOf = (index: number): number => ((index - 1) ^ 1) + 1;

/** Which rows the errata know, and which truth the file itself holds there. */
function errataOf(rows: readonly MmvpRow[]) {
  const known = rows.filter(({ original, corrected }) => original !== corrected);
  const isMended = ({ given, corrected }: MmvpRow) => given === corrected;
  const holds =
    known.length === 0 ? 'none' : known.every(isMended) ? 'corrected' : known.some(isMended) ? 'mixed' : 'original';
  return { errata: known.map(({ index }) => index), errataInFile: holds };
}

function notesOf(rows: readonly MmvpRow[], whole: readonly MmvpRow[]): string[] {
  const notes = ['the pictures’ rights are their owners’; the questions are MIT-licensed'];
  if (rows.length !== 300) notes.push(`${rows.length} questions, not the published 300`);
  if (whole.length !== rows.length)
    notes.push(`${rows.length - whole.length} questions are left out for lost pictures`);
  const { errata, errataInFile } = errataOf(rows);
  const missed = [...ERRATA.keys()].filter((index) => index <= rows.length && !errata.includes(index));
  if (missed.length > 0)
    notes.push(`rows ${missed.join(', ')} are not those that the errata speak of and stay as given`);
  if (errata.length > 0) notes.push(`the file's answers to rows ${errata.join(', ')} are: ${errataInFile}`);
  return notes;
}

function itemsOf(row: MmvpRow, picture: PictureFacts, revision: string, swap: boolean): Draft['items'] {
  const pair = Math.ceil(row.index / 2);
  const orders = swap
    ? [
        [0, 1],
        [1, 0],
      ]
    : [[0, 1]];
  return orders.map((order, turn) => {
    const options = order.map((at) => row.options[at]);
    const place = (at: number) => order.indexOf(at);
    return {
      id: turn === 0 ? `${row.index}` : `${row.index}-swapped`,
      split: turn === 0 ? 'all' : 'swapped',
      cluster: `${pair}`,
      pair: turn === 0 ? `${pair}` : `${pair}-swapped`,
      pictures: [{ kind: 'file', ...picture }],
      ask: {
        kind: 'choice',
        question: row.question,
        options,
        gold: place(revision === 'original' ? row.original : row.corrected),
        texts: options,
      },
      meta: {
        index: row.index,
        original: letterOf(place(row.original)),
        corrected: letterOf(place(row.corrected)),
      },
    };
  });
}

// Reads POPE's published question files: the three of COCO, those of GQA and A-OKVQA, the older one of 2,910 rows, and
// RePOPE's, which have the same form. Their pictures are the user's. Says what differs from the 3,000 rows of the paper.

import path from 'node:path';
import { FoveaError, inParallel, sha256Hex } from '@fovea/artifacts';
import { LeadsOut, PictureFiles } from '@fovea/data';
import { z } from 'zod';
import type { Draft } from '../suite/draft.ts';
import { linesOf, parseAs, parseJson, pathFault, readBounded } from '../suite/safe-files.ts';
import { YES_NO_PROMPT_IDS, YES_NO_PROMPTS } from './answers/prompts.ts';
import { type PictureFile, POPE_TEXT_TEMPLATE, type PopeQuestion, popeItems } from './pope-questions.ts';

export const popeFilesSchema = z.strictObject({
  /** Question files, one a split: JSON lines of {question_id, image, text, label}. */
  files: z.array(z.string().min(1)).min(1),
  /** Folder that their picture names are relative to. */
  images: z.string().min(1),
  name: z.string().default('pope'),
  prompt: z.enum(YES_NO_PROMPT_IDS).default('official'),
  /** Whose labels they hold, such as `repope`. */
  gtRevision: z.string().min(1).default('original'),
  maxPixels: z.int().min(1).optional(),
});
export type PopeFiles = z.input<typeof popeFilesSchema>;

/** A question file that was read: its split, questions in order, and what is odd about it. */
export interface PopeFile {
  split: string;
  questions: PopeQuestion[];
  notes: string[];
}

const row = z.strictObject({
  question_id: z.int().min(0),
  image: z.string().min(1).max(1000),
  text: z.string().min(1).max(1000),
  label: z.enum(['yes', 'no']),
});
type Row = z.infer<typeof row>;

/** The builder of POPE wrote "imange" where an object wants "an", and copies of its files still say so. */
const WORDS = /^Is there an? (\S.*) in the (image|imange)\?$/;
const MOST_BYTES = 2 ** 26;
const LANES = 4;

/**
 * The files as one suite. Pictures that are missing or damaged are omitted with their questions. Throws a
 * {@link FoveaError} for a file that cannot be read or is not of this form, an id that stands twice, a picture's name that
 * climbs out of its folder, two files of one split, and where no question is left.
 */
export async function readPope(options: PopeFiles): Promise<Draft> {
  const { files, images, name, prompt, gtRevision, maxPixels } = popeFilesSchema.parse(options);
  const pictures = await PictureFiles.open(images, maxPixels);
  const splits = new Map<string, PopeQuestion[]>();
  const hashes: Record<string, string> = {};
  const notes: string[] = [];
  for (const file of files) {
    const base = path.basename(file);
    const bytes = await readBounded(file, MOST_BYTES, `The question file "${base}"`);
    const read = parsePopeFile(base, new TextDecoder().decode(bytes));
    if (splits.has(read.split))
      throw new FoveaError(`Two files are of the split "${read.split}", such as "${base}"; make a suite of each.`);
    splits.set(read.split, read.questions);
    hashes[read.split] = sha256Hex(bytes);
    notes.push(...read.notes);
  }
  const { looks, omitted } = await lookAt([...splits.values()].flat(), pictures);
  const { items, alone } = popeItems(splits, looks);
  if (items.length === 0)
    throw new FoveaError(`None of the pictures asked about is below "${images}"; check the path.`);
  if (omitted.length > 0) notes.push(`${omitted.length} pictures are missing: these are not the published questions.`);
  if (alone > 0)
    notes.push(`${alone} questions have no opposite on their picture; encoders compare them with "something".`);
  return {
    name,
    kind: 'pope',
    title: gtRevision === 'original' ? 'POPE: the published questions' : `POPE: the published questions, ${gtRevision}`,
    source: { builder: 'pope-files', version: 1, files: hashes },
    prompt: { id: prompt, template: YES_NO_PROMPTS[prompt] },
    textTemplate: POPE_TEXT_TEMPLATE,
    gtRevision,
    omitted,
    notes,
    items,
    probes: [],
  };
}

/** Parses one file; `base`, its name, says the split. Throws as {@link readPope} does. */
export function parsePopeFile(base: string, text: string): PopeFile {
  const rows = rowsOf(base, text);
  const split = /_(random|popular|adversarial)\b/.exec(base)?.[1] ?? base.replace(/\.jsonl?$/, '');
  const questions = rows.map(({ question_id: number, image, text, label: gold }): PopeQuestion => {
    const object = WORDS.exec(text)?.[1] ?? null;
    return { number, image, object, text: text.replace('imange', 'image'), gold, pair: null };
  });
  questions.forEach((positive, i) => {
    const negative = questions[i + 1];
    const isPair = positive.gold === 'yes' && negative?.gold === 'no' && positive.image === negative.image;
    if (isPair && negative.number === positive.number + 1) positive.pair = negative.pair = positive.number;
  });
  return { split, questions, notes: oddities(split, rows, questions) };
}

function rowsOf(base: string, text: string): Row[] {
  const what = `The question file "${base}"`;
  const ids = new Set<number>();
  const rows: Row[] = [];
  for (const [line, number] of linesOf(text, what)) {
    const place = `${what}, line ${number},`;
    const one = parseAs(row, parseJson(line, place), place);
    const fault = pathFault(one.image);
    if (fault !== null) throw new FoveaError(`${place} shows "${one.image}", a path that is refused: ${fault}.`);
    if (ids.has(one.question_id))
      throw new FoveaError(`${place} has the question_id ${one.question_id} of an earlier one; make ids unique.`);
    ids.add(one.question_id);
    rows.push(one);
  }
  if (rows.length === 0) throw new FoveaError(`${what} has no questions; take the published file.`);
  return rows;
}

function oddities(split: string, rows: readonly Row[], questions: readonly PopeQuestion[]): string[] {
  const seen = new Map<string, string>();
  const odd = { imange: 0, other: 0, again: 0, torn: 0 };
  for (const { image, text, label } of rows) {
    const words = WORDS.exec(text);
    if (words === null) odd.other++;
    else if (words[2] === 'imange') odd.imange++;
    const key = `${image}\n${text}`;
    const before = seen.get(key);
    seen.set(key, label);
    if (before !== undefined) odd[before === label ? 'again' : 'torn']++;
  }
  const yes = rows.filter(({ label }) => label === 'yes').length;
  const unpaired = questions.filter(({ pair }) => pair === null).length;
  const notes = [
    [
      2 * yes !== rows.length,
      `${yes} are answered by yes and ${rows.length - yes} by no: F1 is not that of even halves`,
    ],
    [unpaired > 0, `${unpaired} have no partner and are not in pair-accuracy`],
    [odd.imange > 0, `${odd.imange} said "imange" and were mended`],
    [odd.other > 0, `${odd.other} are not in the words of POPE, so encoders cannot answer`],
    [odd.again > 0, `${odd.again} are asked again`],
    [odd.torn > 0, `${odd.torn} are asked again with the other answer`],
  ] as const;
  return notes.flatMap(([holds, what]) => (holds ? [`${split}: of ${rows.length} questions ${what}.`] : []));
}

async function lookAt(questions: readonly PopeQuestion[], pictures: PictureFiles) {
  const names = [...new Set(questions.map(({ image }) => image))];
  const found = await inParallel(names, LANES, (name) => pictures.look(name).catch(reasonOf));
  const looks = new Map<string, PictureFile>();
  const omitted: Draft['omitted'] = [];
  names.forEach((what, i) => {
    const one = found[i];
    if (typeof one === 'string') omitted.push({ what, reason: one });
    else looks.set(what, one);
  });
  return { looks, omitted };
}

/** What is wrong with one picture; whatever else is wrong ends the reading. */
function reasonOf(error: unknown): string {
  if (!(error instanceof FoveaError) || error instanceof LeadsOut) throw error;
  return error.message;
}

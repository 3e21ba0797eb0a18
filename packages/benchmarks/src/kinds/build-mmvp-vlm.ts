// Reads MMVP-VLM's published folder (Tong et al., CVPR 2024): a CSV of id, type, statement, and pictures
// `<folder>/<type>/<id>.jpg`. Statements 1 and 2 are a pair, 3 and 4, …: by their ids and types, never by their rows.

import { stat } from 'node:fs/promises';
import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import { PictureFiles } from '@fovea/data';
import { z } from 'zod';
import type { Draft } from '../suite/draft.ts';
import { parseCsv } from './csv.ts';
import { lookAtAll, type PictureFacts, plainPath, readText } from './user-files.ts';

export const mmvpVlmFilesSchema = z.strictObject({
  /** The published folder. */
  folder: z.string(),
  name: z.string().default('mmvp-vlm'),
});

/** What the code, the page and a later repository call the picture folder. */
const IMAGES = ['MLLM_VLM Images', 'MMVP_VLM_Images', 'MLLM_VLM_Images'] as const;

export interface VlmStatement {
  id: number;
  type: string;
  statement: string;
}

/**
 * Pairs of statements in the order of types and ids; the first of a pair has the odd id. Throws a {@link FoveaError} that
 * names the row for other than three columns, an id that is no number from 1 or comes twice, and an id whose partner is not
 * there or of another type.
 */
export function parseMmvpVlm(text: string, where: string): [VlmStatement, VlmStatement][] {
  const [header = [], ...records] = parseCsv(text, where);
  const fail = (row: number, why: string): never => {
    throw new FoveaError(`Row ${row + 1} of "${where}" cannot be asked: ${why}; mend that row.`);
  };
  if (header.length !== 3) fail(-1, `it has ${header.length} columns, not id, type and statement`);
  const known = new Map<number, VlmStatement & { row: number }>();
  records.forEach(([id, type, statement], row) => {
    if (!/^[1-9]\d{0,5}$/.test(id.trim())) fail(row, `its id is "${id}", not a number from 1`);
    const number = Number(id);
    if (known.has(number)) fail(row, `its id ${id} is there twice`);
    if (type.trim() === '' || statement.trim() === '') fail(row, 'it lacks a type or a statement');
    known.set(number, { id: number, type: type.trim(), statement: statement.trim(), row });
  });
  const odd = [...known.values()].filter(({ id }) => id % 2 === 1);
  for (const { id, type, row } of known.values()) {
    const partner = known.get(((id - 1) ^ 1) + 1);
    if (partner?.type !== type) fail(row, `its partner ${((id - 1) ^ 1) + 1} is not there or of another type`);
  }
  const plain = ({ row: _, ...statement }: VlmStatement & { row: number }): VlmStatement => statement;
  const types = [...new Set(odd.map(({ type }) => type))];
  return odd
    .sort((a, b) => types.indexOf(a.type) - types.indexOf(b.type) || a.id - b.id)
    .map((first) => [plain(first), plain(known.get(first.id + 1) as VlmStatement & { row: number })]);
}

/**
 * The folder as a suite of pick items, two a pair; picture paths are below the folder. Pairs that lack a picture are left
 * out and named in `omitted`. Throws a {@link FoveaError} where nothing is left, and as {@link parseMmvpVlm} does.
 */
export async function buildMmvpVlm(given: z.input<typeof mmvpVlmFilesSchema>): Promise<Draft> {
  const { folder, name } = mmvpVlmFilesSchema.parse(given);
  const file = path.join(folder, 'Questions.csv');
  const { text, sha256 } = await readText(file);
  const pairs = parseMmvpVlm(text, file);
  const images = await imagesIn(folder);
  const pictureOf = ({ type, id }: VlmStatement) => plainPath(`${images}/${type}/${id}.jpg`, file);
  const { found, lost } = await lookAtAll(await PictureFiles.open(folder), pairs.flat().map(pictureOf));
  const reasons = new Map(lost.map((picture) => [picture.what, picture.reason]));
  const omitted: Draft['omitted'] = [];
  const items: Draft['items'] = [];
  for (const pair of pairs) {
    const facts = pair.map((statement) => found.get(pictureOf(statement)));
    const missing = pair.flatMap((statement) => reasons.get(pictureOf(statement)) ?? []);
    if (missing.length > 0) omitted.push({ what: `pair ${pair[0].id}/${pair[1].id}`, reason: missing.join(' ') });
    else items.push(...pickItems(pair, facts as PictureFacts[]));
  }
  if (items.length === 0) {
    throw new FoveaError(
      `MMVP-VLM cannot be read: no pair of "${folder}" has both pictures; ${lost[0]?.reason ?? 'it has no questions.'}`,
    );
  }
  const notes = ['the pictures’ rights are their owners’; the questions are MIT-licensed'];
  if (items.length !== 270) notes.push(`${items.length / 2} pairs, not the published 135`);
  return {
    name,
    kind: 'mmvp-vlm',
    title: 'MMVP-VLM: nine visual patterns, statements against two pictures',
    source: { builder: 'mmvp-vlm-files', version: 1, questions: sha256, images },
    prompt: { id: 'none', template: '{question}' },
    textTemplate: 'a photo of {}',
    omitted,
    notes,
    items,
    probes: [],
  };
}

async function imagesIn(folder: string): Promise<string> {
  for (const name of IMAGES) {
    if ((await stat(path.join(folder, name)).catch(() => null))?.isDirectory()) return name;
  }
  throw new FoveaError(
    `The folder "${folder}" has no pictures of MMVP-VLM: it should hold one of ${IMAGES.map((name) => `"${name}"`).join(', ')}; check the path.`,
  );
}

function pickItems(pair: [VlmStatement, VlmStatement], pictures: PictureFacts[]): Draft['items'] {
  const pattern = pair[0].type.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '-');
  return pair.map(({ id, type, statement }, gold) => ({
    id: `${id}`,
    split: 'all',
    cluster: `${pair[0].id}`,
    pair: `${pair[0].id}`,
    pictures: pictures.map((facts) => ({ kind: 'file' as const, ...facts })),
    ask: { kind: 'pick' as const, text: statement, gold },
    meta: { pattern, type },
  }));
}

// Opens the folder of a suite: suite.json, items.jsonl, probes.jsonl where there are probes, and pictures, which lie in its
// `pictures/` or in a folder of the user's. A suite that is not what its manifest says is refused; a picture that is
// missing or damaged is told when it is read, and only its question fails.

import { realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { canonicalJson, FoveaError, inParallel, sha256Hex } from '@fovea/artifacts';
import type { z } from 'zod';
import { itemSchema, type PictureRef, probeRowSchema } from './item.ts';
import { manifestSchema } from './manifest.ts';
import { pictureReader } from './pictures.ts';
import { linesOf, parseAs, parseJson, placeBelow, readBounded } from './safe-files.ts';
import type { Suite } from './suite.ts';
import { canonicalLines, checkSuite, countSplits } from './suite-of.ts';

const MAX_MANIFEST = 16 * 2 ** 20;
/** Longest that a string of Node's may be, about. */
const MAX_LINES_FILE = 500 * 2 ** 20;

export interface ReadSuiteOptions {
  /** The user's folder of pictures. @default the suite's `pictures/` */
  images?: string;
  /** Draws scenes without their corruption, where the suite has them. */
  draw?: Suite['read'];
}

/** Opens and checks a suite. Throws a FoveaError in one sentence that names the file and what is wrong with it. */
export async function readSuite(folder: string, options: ReadSuiteOptions = {}): Promise<Suite> {
  const what = `The suite "${folder}"`;
  const raw = await readBounded(path.join(folder, 'suite.json'), MAX_MANIFEST, `${what} (suite.json)`);
  const manifest = parseAs(manifestSchema, parseJson(raw.toString(), `${what} (suite.json)`), `${what} (suite.json)`);
  const items = await readLines(folder, 'items.jsonl', itemSchema, what);
  const probes = manifest.probes ? await readLines(folder, 'probes.jsonl', probeRowSchema, what) : [];
  // What is wrong with a line says more than that the file is another one.
  checkSuite(manifest, items, probes, what);
  checkHash(items, manifest.items, `${what} (items.jsonl)`);
  if (manifest.probes) checkHash(probes, manifest.probes, `${what} (probes.jsonl)`);
  const splits = countSplits(items);
  if (canonicalJson(splits) !== canonicalJson(manifest.splits))
    throw new FoveaError(`${what} says other numbers of items per split than it has; build it again.`);
  const root = await pictureRoot(folder, options.images);
  const refs = [...items.flatMap((item) => item.pictures), ...probes.map((row) => row.picture)];
  if (root !== null) await checkLinks(root, refs, what);
  return { manifest, items, probes, read: await pictureReader({ folder: root, draw: options.draw }) };
}

async function readLines<T>(folder: string, name: string, schema: z.ZodType<T>, suite: string): Promise<T[]> {
  const what = `${suite} (${name})`;
  const bytes = await readBounded(path.join(folder, name), MAX_LINES_FILE, what);
  const rows: T[] = [];
  for (const [line, number] of linesOf(bytes.toString(), what)) {
    const where = `${suite} (${name}, line ${number})`;
    rows.push(parseAs(schema, parseJson(line, where), where));
  }
  return rows;
}

function checkHash(rows: readonly unknown[], expected: { count: number; sha256: string }, what: string): void {
  if (rows.length !== expected.count)
    throw new FoveaError(`${what} has ${rows.length} lines and suite.json says ${expected.count}; build it again.`);
  if (sha256Hex(canonicalLines(rows)) !== expected.sha256)
    throw new FoveaError(`${what} does not hold what suite.json names by its hash; build the suite again.`);
}

/** The real path of the folder with the pictures; null where the suite has none of its own and none was given. */
async function pictureRoot(folder: string, images?: string): Promise<string | null> {
  const given = images ?? path.join(folder, 'pictures');
  const root = await realpath(given).catch(() => null);
  if (root !== null && (await stat(root)).isDirectory()) return root;
  if (images === undefined) return null;
  throw new FoveaError(`The picture folder "${images}" cannot be read: there is no such folder; check --images.`);
}

async function checkLinks(root: string, refs: readonly PictureRef[], what: string): Promise<void> {
  const files = [...new Set(refs.flatMap((ref) => (ref.kind === 'file' ? [fileOf(ref.path)] : [])))];
  await inParallel(files, 8, async (name) => {
    await placeBelow(root, name).catch((error) => {
      throw error instanceof FoveaError ? new FoveaError(`${what} is refused. ${error.message}`) : error;
    });
  });
}

/** The file on the disk that a path names: itself, or the tar that it is a member of. */
const fileOf = (name: string): string => name.replace(/(\.tar)\/.*$/i, '$1');

// What builders read of a user's disk: a text, a JSON document, and what is to be known of pictures. Everything is
// untrusted: sizes are bounded first, no path leaves the folder it is below, and no JSON brings a prototype. Nothing is written.

import { readFile, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { FoveaError, sha256Hex } from '@fovea/artifacts';
import { decodePicture } from '@fovea/data';

/** Of question and label files; the largest published one has about 20 MB. */
const MOST_TEXT = 2 ** 28;
const MOST_PICTURE = 2 ** 28;
/** Pictures read at once. */
const LANES = 4;

/** What a suite keeps of a picture: its path below the folder with forward slashes, hash of its bytes, sides in pixels. */
export interface PictureFacts {
  path: string;
  sha256: string;
  width: number;
  height: number;
}

/** A picture that cannot be asked about, and why in one sentence. */
export interface LostPicture {
  path: string;
  reason: string;
}

/** A file as UTF-8. Throws a {@link FoveaError} where it is missing, larger than 256 MiB or no UTF-8. */
export async function readText(file: string): Promise<string> {
  const bytes = await bytesOf(file, MOST_TEXT).catch((error: Error) => {
    throw new FoveaError(`The file "${file}" cannot be read: ${error.message}; check the path.`);
  });
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new FoveaError(`The file "${file}" cannot be read: it is no UTF-8 text; convert it.`);
  }
}

/** A JSON document without `__proto__`. Throws a {@link FoveaError} where it is none. */
export async function readJson(file: string): Promise<unknown> {
  const text = await readText(file);
  let hasPrototype = false;
  try {
    const value: unknown = JSON.parse(text, (key, value) => {
      hasPrototype ||= key === '__proto__';
      return value;
    });
    if (!hasPrototype) return value;
  } catch (error) {
    throw new FoveaError(`The file "${file}" is no JSON: ${(error as Error).message}; mend it.`);
  }
  throw new FoveaError(`The file "${file}" has a key "__proto__", which no question file needs; remove it.`);
}

/** The real path of a folder. Throws a {@link FoveaError} where there is none. */
export async function folderAt(folder: string): Promise<string> {
  const root = await realpath(folder).catch(() => null);
  if (root !== null && (await stat(root)).isDirectory()) return root;
  throw new FoveaError(`The folder "${folder}" cannot be read: no such folder; check the path.`);
}

/** The same path. Throws a {@link FoveaError} where it is no plain path below a folder: absolute, climbing, with backslashes. */
export function plainPath(relative: string, where: string): string {
  const isPlain = relative.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
  if (isPlain && !/[\\\0]/.test(relative) && !path.win32.isAbsolute(relative)) return relative;
  throw new FoveaError(
    `The picture path ${JSON.stringify(relative)} in "${where}" does not stay below its folder; such a file is refused whole, mend it.`,
  );
}

/**
 * Reads and decodes pictures below a folder, a few at a time, in the order of `paths`. Those that are missing, damaged, too
 * large or led out of the folder by a link are named with a reason, so that the others may go on.
 */
export async function describePictures(
  folder: string,
  paths: readonly string[],
): Promise<{ found: Map<string, PictureFacts>; lost: LostPicture[] }> {
  const root = await folderAt(folder);
  const results = new Array<PictureFacts | LostPicture>(paths.length);
  const left = paths.entries();
  const lane = async () => {
    for (const [i, relative] of left) results[i] = await describe(root, relative);
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  const lost = results.filter((result) => 'reason' in result);
  const found = results.filter((result) => 'sha256' in result);
  return { found: new Map(found.map((facts) => [facts.path, facts])), lost };
}

async function describe(root: string, relative: string): Promise<PictureFacts | LostPicture> {
  try {
    const bytes = await bytesOf(path.join(root, relative), MOST_PICTURE, root);
    const { width, height } = await decodePicture(bytes, { where: relative });
    return { path: relative, sha256: sha256Hex(bytes), width, height };
  } catch (error) {
    const { message } = error as Error;
    const reason = error instanceof FoveaError ? message : `The picture "${relative}" cannot be read: ${message}.`;
    return { path: relative, reason };
  }
}

async function bytesOf(file: string, most: number, root?: string): Promise<Uint8Array> {
  const real = await realpath(file).catch(() => null);
  if (real === null) throw new Error('it is not there');
  if (root !== undefined && !real.startsWith(root + path.sep)) throw new Error('a link leads out of its folder');
  const info = await stat(real);
  if (!info.isFile()) throw new Error('it is no file');
  if (info.size > most) throw new Error(`it has ${info.size} bytes, more than ${most}`);
  return readFile(real);
}

// Text and JSON that others wrote, bounded before it is read. A key that would reach into an object's prototype refuses
// the whole file; fields that no schema names are dropped.

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { FoveaError, quote, sha256Hex } from '@fovea/artifacts';
import type { z } from 'zod';

/** What a string of JavaScript can hold, less a little. */
export const MOST_JSON = 500_000_000;

export interface TextFile {
  text: string;
  sha256: string;
}

/** The text of a regular file, UTF-8. Throws a {@link FoveaError} where it is missing, no file or larger than `most` bytes. */
export async function readTextFile(file: string, most: number): Promise<TextFile> {
  const name = path.basename(file);
  const fail = (why: string): never => {
    throw new FoveaError(`The file ${quote(name)} cannot be read: ${why}; check the path.`);
  };
  const failed = ({ code }: NodeJS.ErrnoException) => fail(code === 'ENOENT' ? 'there is no such file' : `${code}`);
  const handle = await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)).catch(failed);
  try {
    const info = await handle.stat();
    if (!info.isFile()) return fail('it is no file');
    if (info.size > most) return fail(`it has ${info.size} bytes, more than ${most}`);
    const bytes = await handle.readFile();
    if (bytes.length > most) return fail(`it has more than ${most} bytes`);
    return { text: bytes.toString('utf8'), sha256: sha256Hex(bytes) };
  } finally {
    await handle.close();
  }
}

/** A JSON file by a schema, with its hash. Throws a {@link FoveaError} that names the file and the first fault. */
export async function readJson<T>(
  file: string,
  schema: z.ZodType<T>,
  most = MOST_JSON,
): Promise<{ value: T; sha256: string }> {
  const { text, sha256 } = await readTextFile(file, most);
  return { value: parseJson(text, schema, path.basename(file)), sha256 };
}

/** JSON text by a schema; `where` names it in errors. */
export function parseJson<T>(text: string, schema: z.ZodType<T>, where: string): T {
  const fail = (why: string): never => {
    throw new FoveaError(`The file ${quote(where)} cannot be used: ${why}; mend it or take another.`);
  };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    // What follows a comma in it is a piece of the file, which may be anybody's.
    const [why] = (error as Error).message.split(', ');
    return fail(`it is not JSON (${why.replace(/[\p{Cc}\s]+/gu, ' ').slice(0, 200)})`);
  }
  const key = forbiddenKey(text, value);
  if (key) return fail(`it has a key ${quote(key)}`);
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  return fail(`${issue.path.length > 0 ? quote(issue.path.join('.')) : 'it'} — ${issue.message}`);
}

const FORBIDDEN = ['__proto__', 'constructor', 'prototype'];
/** Text without such a word, spelt out or escaped, need not be walked. */
const SUSPICIOUS = /__proto__|constructor|prototype|\\u00[4-7]/i;

function forbiddenKey(text: string, value: unknown): string | null {
  if (!SUSPICIOUS.test(text)) return null;
  const left: unknown[] = [value];
  while (left.length > 0) {
    const next = left.pop();
    if (typeof next !== 'object' || next === null) continue;
    if (!Array.isArray(next)) {
      const key = FORBIDDEN.find((name) => Object.hasOwn(next, name));
      if (key) return key;
    }
    for (const inner of Object.values(next)) left.push(inner);
  }
  return null;
}

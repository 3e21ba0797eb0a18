// Files that somebody else wrote, read with bounds: how long a file and a line may be, how deep JSON may nest, and where
// a path may lead. It knows nothing of suites; what is wrong is one sentence that names the file.

import { constants } from 'node:fs';
import { type FileHandle, open, realpath } from 'node:fs/promises';
import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import type { z } from 'zod';

const MAX_DEPTH = 64;
/** Of one line, in characters. */
const MAX_LINE = 4 * 2 ** 20;

/** The bytes of a regular file of at most `max` bytes. `what` begins the sentence, such as `The suite "x/suite.json"`. */
export async function readBounded(file: string, max: number, what: string): Promise<Buffer> {
  const refuse = (why: string): never => {
    throw new FoveaError(`${what} cannot be read: ${why}.`);
  };
  let handle: FileHandle | undefined;
  try {
    // A pipe would keep us waiting.
    handle = await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    const info = await handle.stat();
    if (!info.isFile()) refuse('it is no regular file');
    if (info.size > max) refuse(`it has ${info.size} bytes, more than ${max}`);
    const bytes = await handle.readFile();
    return bytes.length > max ? refuse(`it has more than ${max} bytes`) : bytes;
  } catch (error) {
    if (error instanceof FoveaError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    return refuse(code === 'ENOENT' ? 'there is no such file' : code);
  } finally {
    await handle?.close();
  }
}

/** JSON without `__proto__` and without deep nesting. Throws a FoveaError that `what` begins. */
export function parseJson(text: string, what: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new FoveaError(`${what} is not JSON: ${(error as Error).message.split('\n')[0]}; mend it there.`);
  }
  const left: [value: unknown, depth: number][] = [[value, 0]];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const [each, depth] = next;
    if (typeof each !== 'object' || each === null) continue;
    if (depth >= MAX_DEPTH)
      throw new FoveaError(`${what} is nested more than ${MAX_DEPTH} deep; is it the right file?`);
    if (Object.hasOwn(each, '__proto__')) throw new FoveaError(`${what} has the key "__proto__"; remove it.`);
    for (const inner of Object.values(each)) left.push([inner, depth + 1]);
  }
  return value;
}

/** What a schema makes of a value; its first fault becomes the sentence. */
export function parseAs<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue.path.length > 0 ? ` at "${issue.path.join('.')}"` : '';
  throw new FoveaError(`${what} is not as it should be${where}: ${issue.message}; mend it.`);
}

/** Lines of a text with their numbers from 1; empty ones are left out. */
export function* linesOf(text: string, what: string): Generator<[line: string, number: number]> {
  for (let at = 0, number = 1; at < text.length; number++) {
    const end = text.indexOf('\n', at);
    const stop = end < 0 ? text.length : end;
    if (stop - at > MAX_LINE)
      throw new FoveaError(`${what} has a line of ${stop - at} characters (line ${number}); ${MAX_LINE} are the most.`);
    const line = text.slice(at, stop);
    if (line.trim() !== '') yield [line, number];
    at = stop + 1;
  }
}

/** Why a path is none that a suite may hold, or null: relative, forward slashes, nothing that climbs. */
export function pathFault(name: string): string | null {
  if (name.includes('\0')) return 'it holds a zero byte';
  if (name.includes('\\')) return 'it has backslashes; write forward slashes';
  if (name.startsWith('/') || /^[a-z]:/i.test(name)) return 'it is absolute; write it from the picture folder on';
  const parts = name.split('/');
  if (parts.includes('..')) return 'it climbs out of the folder';
  return parts.includes('') || parts.includes('.') ? 'it has empty parts' : null;
}

/**
 * The real place of a path below `root`, which is a real path itself; null where nothing is there. Throws a FoveaError
 * where a link leads out.
 */
export async function placeBelow(root: string, name: string): Promise<string | null> {
  const fault = pathFault(name);
  if (fault !== null) throw new FoveaError(`The path "${name}" is refused: ${fault}.`);
  const place = await realpath(path.join(root, name)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null;
    throw new FoveaError(`The path "${name}" cannot be followed: ${error.code}.`);
  });
  if (place !== null && place !== root && !place.startsWith(root.endsWith(path.sep) ? root : root + path.sep))
    throw new FoveaError(`The path "${name}" is refused: a link in it leads out of the folder.`);
  return place;
}

// Small files of a model's folder, which anybody may have written: bounded before they are read, and never waited for.

import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';

export interface Limits {
  /** Most bytes that such a file can have. */
  most: number;
  /** What it would be too many bytes for. */
  kind: string;
  /** Makes the error of what is wrong: "is not JSON (…)", "has 9 bytes, too many for a configuration". */
  fail(why: string): never;
}

/** The text of a regular file; undefined where there is none. */
export function readTextFile(file: string, { most, kind, fail }: Limits): string | undefined {
  let handle: number | undefined;
  try {
    handle = openSync(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    const stats = fstatSync(handle);
    if (!stats.isFile()) return undefined;
    if (stats.size > most) fail(`has ${stats.size} bytes, too many for a ${kind}`);
    return readFileSync(handle, 'utf8');
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (syscall === undefined) throw error;
    return code === 'ENOENT' || code === 'ENOTDIR' ? undefined : fail(`cannot be read (${syscall}: ${code})`);
  } finally {
    if (handle !== undefined) closeSync(handle);
  }
}

/** The value in a JSON file; undefined where there is none. */
export function readJsonFile(file: string, limits: Limits): unknown {
  const text = readTextFile(file, limits);
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch (error) {
    return limits.fail(`is not JSON (${(error as Error).message})`);
  }
}

// SHA-256 of files that stay where they are, such as the weights in a folder of the user's: streamed, and remembered under
// what changes when a file does, so that a machine reads gigabytes once. The store's blobs are checked in store.ts.

import { createHash } from 'node:crypto';
import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, mkdir, open, readFile, realpath, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { sha256Hex } from './canonical.ts';
import { FoveaError } from './errors.ts';
import { quote } from './safetensors-format.ts';

const known = new Map<string, string>();

/**
 * SHA-256 of a regular file in lower-case hexadecimal. `cacheDir` keeps it for other processes; what cannot be kept there
 * is hashed again. Throws a {@link FoveaError} where the file cannot be read.
 */
export async function fileHash(file: string, cacheDir?: string): Promise<string> {
  return withFile(file, async (handle) => {
    const stamp = stampOf(await realpath(file), await handle.stat({ bigint: true }));
    const kept = cacheDir === undefined ? null : path.join(cacheDir, 'hashes', sha256Hex(stamp));
    const found = known.get(stamp) ?? (kept && (await recall(kept)));
    const hash = found ?? (await hashOf(handle));
    if (stampOf(await realpath(file), await handle.stat({ bigint: true })) !== stamp) return hash;
    known.set(stamp, hash);
    if (kept && !found) await keep(kept, hash).catch(() => undefined);
    return hash;
  });
}

/** Path, size and times; the time of change cannot be set back by whoever exchanges a file. */
const stampOf = (file: string, { dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string =>
  JSON.stringify([file, ...[dev, ino, size, mtimeNs, ctimeNs].map(String)]);

async function hashOf(handle: FileHandle): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of handle.createReadStream({ start: 0, autoClose: false, highWaterMark: 2 ** 20 }))
    hash.update(piece as Uint8Array);
  return hash.digest('hex');
}

async function recall(kept: string): Promise<string | null> {
  const text = await readFile(kept, 'utf8').catch(() => '');
  return /^[0-9a-f]{64}$/.test(text) ? text : null;
}

async function keep(kept: string, hash: string): Promise<void> {
  await mkdir(path.dirname(kept), { recursive: true });
  const torn = `${kept}.${process.pid}`;
  await writeFile(torn, hash);
  await rename(torn, kept);
}

/** Opens a regular file, and never waits on a pipe. */
async function withFile<T>(file: string, use: (handle: FileHandle) => Promise<T>): Promise<T> {
  try {
    const handle = await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    try {
      if (!(await handle.stat()).isFile())
        throw new FoveaError(`The file ${quote(file)} is no regular file; give a file.`);
      return await use(handle);
    } finally {
      await handle.close();
    }
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (code === undefined || syscall === undefined) throw error;
    throw new FoveaError(
      `The file ${quote(file)} cannot be read (${syscall}: ${code}); check that it is there and may be read.`,
    );
  }
}

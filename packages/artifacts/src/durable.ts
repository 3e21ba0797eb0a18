// Bytes and names that are on the disk when the call returns: what stores, scores and locks are written with. None of it
// leaves half a file under the name that others read.

import { randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';

/** Writes a file beside `file` and gives it that name, so that a reader finds the old bytes or the new ones, whole. */
export async function replaceFile(file: string, bytes: Uint8Array | string): Promise<void> {
  const tmp = `${file}.${process.pid}-${randomUUID()}.tmp`;
  try {
    await writeSynced(tmp, bytes);
    await rename(tmp, file);
    await syncFolder(path.dirname(file));
  } finally {
    await rm(tmp, { force: true }).catch(() => undefined);
  }
}

/** Makes a file that is not there yet and brings it to the disk. */
export async function writeSynced(file: string, bytes: Uint8Array | string): Promise<void> {
  const handle = await open(file, 'wx');
  await closing(handle, async () => {
    await handle.writeFile(bytes);
    await handle.sync();
  });
}

/**
 * Makes a folder, and its parents, each with its own entry on the disk. Not `mkdir(…, {recursive})`, which calls a
 * read-only disk "no such file or directory" and syncs nothing.
 */
export async function ensureFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return;
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || path.dirname(folder) === folder) throw error;
    await ensureFolder(path.dirname(folder));
    return ensureFolder(folder);
  }
  await syncFolder(path.dirname(folder));
}

/** Brings a folder's entries to the disk. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  // Some network file systems refuse to sync a folder; their rename is as durable as they can make it.
  await closing(handle, () =>
    handle
      .sync()
      .catch((error) => ((error as NodeJS.ErrnoException).code === 'EINVAL' ? undefined : Promise.reject(error))),
  );
}

async function closing(handle: FileHandle, action: () => Promise<unknown>): Promise<void> {
  try {
    await action();
  } finally {
    await handle.close();
  }
}

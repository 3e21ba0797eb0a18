// One process drives a run, or writes an evaluation, at a time: a lock file that appears by link(2), so that only one can make it, and that names
// its owner, so that a dead owner's lock is taken over. Owners on other machines count as dead when they stop touching it.

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { link, mkdir, readFile, rm, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

interface Owner {
  pid: number;
  host: string;
  /** When the process started, in the kernel's own count; tells a reused pid from the owner. */
  started: string | null;
  id: string;
}

export interface FileLock {
  release(): Promise<void>;
}

const TOUCH_MS = 5000;
/** An owner elsewhere that has not touched its lock for this long is dead. */
const SILENT_MS = 60_000;
/** Taking over takes milliseconds; whoever left this behind died in it. */
const STEAL_MS = 5000;

/** Takes the lock, or returns the living owner's process id and machine. */
export async function takeLock(file: string): Promise<FileLock | { heldBy: { pid: number; host: string } }> {
  await mkdir(path.dirname(file), { recursive: true });
  const me: Owner = { pid: process.pid, host: hostname(), started: startOf(process.pid), id: randomUUID() };
  for (;;) {
    if (await place(file, me)) return hold(file, me);
    const owner = await ownerOf(file);
    if (owner === 'gone') continue;
    if (await isAlive(file, owner)) return { heldBy: { pid: owner?.pid ?? 0, host: owner?.host ?? 'unknown' } };
    if (!(await replace(file, owner, me))) await sleep(20);
    else return hold(file, me);
  }
}

/** Whether a living process holds the lock. */
export async function isLocked(file: string): Promise<boolean> {
  const owner = await ownerOf(file);
  return owner !== 'gone' && (await isAlive(file, owner));
}

function hold(file: string, me: Owner): FileLock {
  const timer = setInterval(() => utimes(file, new Date(), new Date()).catch(() => undefined), TOUCH_MS);
  timer.unref();
  return {
    release: async () => {
      clearInterval(timer);
      const owner = await ownerOf(file);
      if (owner !== 'gone' && owner?.id === me.id) await rm(file, { force: true });
    },
  };
}

/** Makes the file if there is none, whole from the first moment. */
async function place(file: string, owner: Owner): Promise<boolean> {
  const tmp = `${file}.${owner.id}`;
  await writeFile(tmp, JSON.stringify(owner));
  try {
    await link(tmp, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(tmp, { force: true });
  }
}

/** Takes the place of a dead owner, under a second lock so that of two heirs only one removes the file. */
async function replace(file: string, dead: Owner | null, me: Owner): Promise<boolean> {
  const steal = `${file}.steal`;
  if (!(await place(steal, me))) {
    const age = await stat(steal).then(
      (info) => Date.now() - info.mtimeMs,
      () => 0,
    );
    if (age > STEAL_MS) await rm(steal, { force: true });
    return false;
  }
  try {
    const now = await ownerOf(file);
    if (now === 'gone' || now?.id !== dead?.id) return false;
    await unlink(file);
    return await place(file, me);
  } finally {
    await rm(steal, { force: true });
  }
}

async function ownerOf(file: string): Promise<Owner | null | 'gone'> {
  const text = await readFile(file, 'utf8').catch((error) => (error.code === 'ENOENT' ? null : Promise.reject(error)));
  if (text === null) return 'gone';
  try {
    const owner = JSON.parse(text);
    return Number.isInteger(owner?.pid) && typeof owner?.id === 'string' ? owner : null;
  } catch {
    return null;
  }
}

async function isAlive(file: string, owner: Owner | null): Promise<boolean> {
  // A file that is no lock was made by nobody who still runs.
  if (owner === null) return false;
  if (owner.host !== hostname()) {
    const age = await stat(file).then(
      (info) => Date.now() - info.mtimeMs,
      () => Number.POSITIVE_INFINITY,
    );
    return age < SILENT_MS;
  }
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  return startOf(owner.pid) === owner.started;
}

/** Start time and state of a process from /proc; null where the system has none. A zombie has ended. */
function startOf(pid: number): string | null {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return fields[0] === 'Z' ? 'ended' : fields[19];
  } catch {
    return null;
  }
}

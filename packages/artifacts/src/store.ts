// The content-addressed store on a file system: blobs named by their SHA-256 and small JSON refs that name them.
// Everything becomes visible by one rename or link of a file that is already on the disk, so a reader never sees half
// of anything and a writer that dies leaves only a file under tmp/. It knows no checkpoint and no run.

import { randomUUID } from 'node:crypto';
import { type FileHandle, link, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { sha256Hex } from './canonical.ts';
import { explainDisk } from './disk.ts';
import { FoveaError } from './errors.ts';

/** A blob by name: SHA-256 in hexadecimal and size in bytes. */
export interface BlobRef {
  sha256: string;
  size: number;
}

export interface Store {
  /** Absolute folder of the store. */
  readonly root: string;
  /** Stores bytes under their hash. Storing them again is free, and mends a damaged copy. */
  put(bytes: Uint8Array): Promise<BlobRef>;
  /** The bytes of a blob, checked against its name; a FoveaError if missing or damaged. */
  get(sha256: string): Promise<Uint8Array>;
  /** Whether a blob of that name exists; its bytes are not read. */
  has(sha256: string): Promise<boolean>;
  /** Writes or replaces a ref (`a/b/c.json`) in one atomic step. */
  writeRef(ref: string, json: unknown): Promise<void>;
  /** Writes a ref only if there is none; false if another was first. The file system's compare-and-set. */
  createRef(ref: string, json: unknown): Promise<boolean>;
  /** The value of a ref, or null where there is none. */
  readRef(ref: string): Promise<unknown | null>;
  /** Removes a ref; nothing happens where there is none. */
  removeRef(ref: string): Promise<void>;
  /** Paths of the refs under a folder (`runs/x`), sorted; empty where there is no such folder. */
  listRefs(prefix: string): Promise<string[]>;
}

const SHA256 = /^[0-9a-f]{64}$/;
const SEGMENT = /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/;
/** Files in tmp/ that are older than this belong to a process that died. */
const TMP_AGE_MS = 60 * 60 * 1000;

/** Opens the store in a folder, creating it if need be. */
export async function openStore(dir: string): Promise<Store> {
  const store = new FileStore(path.resolve(dir));
  await store.prepare();
  return store;
}

class FileStore implements Store {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  async prepare(): Promise<void> {
    await this.guard('prepare', async () => {
      for (const folder of ['blobs', 'refs', 'tmp']) await ensureFolder(path.join(this.root, folder));
    });
    await this.sweep();
  }

  async put(bytes: Uint8Array): Promise<BlobRef> {
    const sha256 = sha256Hex(bytes);
    const file = this.blobPath(sha256);
    await this.guard(`write blob ${sha256.slice(0, 12)}`, async () => {
      if (await holds(file, bytes)) return;
      await this.publish(file, bytes, async (tmp) => rename(tmp, file));
    });
    return { sha256, size: bytes.byteLength };
  }

  async get(sha256: string): Promise<Uint8Array> {
    const file = this.blobPath(sha256);
    const bytes = await this.guard(`read blob ${sha256.slice(0, 12)}`, () => readFile(file).catch(absent));
    const mend = 'put back a good copy, or delete that file and run `fovea train --resume` to make it again';
    const name = `blobs/${sha256.slice(0, 2)}/${sha256}`;
    if (bytes === null) throw new FoveaError(`A blob is missing from the store: ${name} does not exist; ${mend}.`);
    const actual = sha256Hex(bytes);
    if (actual !== sha256) {
      throw new FoveaError(
        `A blob in the store is damaged: the ${bytes.byteLength} bytes of ${name} hash to ${actual.slice(0, 12)}…; ${mend}.`,
      );
    }
    // A plain view: a Buffer's slice() shares memory where a Uint8Array's copies.
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  async has(sha256: string): Promise<boolean> {
    const info = await this.guard('look into', () => stat(this.blobPath(sha256)).catch(absent));
    return info?.isFile() === true;
  }

  async writeRef(ref: string, json: unknown): Promise<void> {
    const file = this.refPath(ref);
    await this.guard(`write ${ref}`, () => this.publish(file, encode(json), async (tmp) => rename(tmp, file)));
  }

  async createRef(ref: string, json: unknown): Promise<boolean> {
    const file = this.refPath(ref);
    return this.guard(`write ${ref}`, async () => {
      try {
        await this.publish(file, encode(json), (tmp) => link(tmp, file));
        return true;
      } catch (error) {
        if (codeOf(error) === 'EEXIST') return false;
        throw error;
      }
    });
  }

  async readRef(ref: string): Promise<unknown | null> {
    const text = await this.guard(`read ${ref}`, () => readFile(this.refPath(ref), 'utf8').catch(absent));
    if (text === null) return null;
    try {
      return JSON.parse(text);
    } catch {
      throw new FoveaError(
        `The file refs/${ref} in the store is damaged: it is not JSON; put back a good copy or delete it.`,
      );
    }
  }

  async removeRef(ref: string): Promise<void> {
    const file = this.refPath(ref);
    await this.guard(`remove ${ref}`, async () => {
      await rm(file, { force: true });
      await syncFolder(path.dirname(file)).catch(absent);
    });
  }

  async listRefs(prefix: string): Promise<string[]> {
    const base = path.join(this.root, 'refs');
    const folder = path.join(base, ...segmentsOf(prefix));
    const entries = await this.guard('list', () =>
      readdir(folder, { recursive: true, withFileTypes: true }).catch(absent),
    );
    return (entries ?? [])
      .filter((entry) => entry.isFile() && entry.name.endsWith('.json'))
      .map((entry) => path.relative(base, path.join(entry.parentPath, entry.name)).split(path.sep).join('/'))
      .sort();
  }

  /** Writes bytes under tmp/, syncs them, lets `place` give them their name, and syncs the folder of that name. */
  private async publish(file: string, bytes: Uint8Array, place: (tmp: string) => Promise<void>): Promise<void> {
    const tmp = path.join(this.root, 'tmp', `${process.pid}-${randomUUID()}`);
    try {
      await ensureFolder(path.dirname(file));
      await writeSynced(tmp, bytes);
      await place(tmp);
      await syncFolder(path.dirname(file));
    } finally {
      await rm(tmp, { force: true }).catch(() => undefined);
    }
  }

  /** Removes what killed writers left behind. */
  private async sweep(): Promise<void> {
    const folder = path.join(this.root, 'tmp');
    for (const name of (await readdir(folder).catch(absent)) ?? []) {
      const info = await stat(path.join(folder, name)).catch(() => null);
      if (info && Date.now() - info.mtimeMs > TMP_AGE_MS)
        await rm(path.join(folder, name), { force: true }).catch(absent);
    }
  }

  private blobPath(sha256: string): string {
    if (!SHA256.test(sha256)) throw new TypeError(`not a SHA-256: ${sha256}`);
    return path.join(this.root, 'blobs', sha256.slice(0, 2), sha256);
  }

  private refPath(ref: string): string {
    if (!ref.endsWith('.json')) throw new TypeError(`a ref ends with .json: ${ref}`);
    return path.join(this.root, 'refs', ...segmentsOf(ref));
  }

  private async guard<T>(what: string, action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      throw explainDisk(error, `The store at ${this.root} cannot ${what}`);
    }
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | null)?.code;
}

/** For `.catch`: null if the file is not there, else throws on. */
function absent(error: unknown): null {
  if (codeOf(error) === 'ENOENT') return null;
  throw error;
}

function encode(json: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(json, null, 2)}\n`);
}

function segmentsOf(ref: string): string[] {
  const segments = ref.split('/').filter((segment) => segment !== '');
  const bad = segments.find((segment) => !SEGMENT.test(segment));
  if (bad !== undefined) throw new TypeError(`not a ref: ${ref}`);
  return segments;
}

async function holds(file: string, bytes: Uint8Array): Promise<boolean> {
  const info = await stat(file).catch(absent);
  if (info?.size !== bytes.byteLength) return false;
  return Buffer.compare(await readFile(file), bytes) === 0;
}

async function writeSynced(file: string, bytes: Uint8Array): Promise<void> {
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
async function ensureFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder);
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return;
    if (codeOf(error) !== 'ENOENT' || path.dirname(folder) === folder) throw error;
    await ensureFolder(path.dirname(folder));
    return ensureFolder(folder);
  }
  await syncFolder(path.dirname(folder));
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  // Some network file systems refuse to sync a folder; their rename is as durable as they can make it.
  await closing(handle, () =>
    handle.sync().catch((error) => (codeOf(error) === 'EINVAL' ? undefined : Promise.reject(error))),
  );
}

async function closing(handle: FileHandle, action: () => Promise<unknown>): Promise<void> {
  try {
    await action();
  } finally {
    await handle.close();
  }
}

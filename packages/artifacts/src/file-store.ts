// The store in a folder. Everything becomes visible by one rename or link of a file that is already on the disk, so a
// reader never sees half of anything and a writer that dies leaves only a file under tmp/. Many processes share it, on
// one machine or over a network file system with close-to-open consistency.

import { randomUUID } from 'node:crypto';
import { link, readdir, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import path from 'node:path';
import { sha256Hex } from './canonical.ts';
import { explainDisk } from './disk.ts';
import { ensureFolder, syncFolder, writeSynced } from './durable.ts';
import {
  type BlobArea,
  blobName,
  checkBlob,
  encodeRef,
  parseRef,
  refFolder,
  refName,
  SHA256,
  StoreDamage,
} from './layout.ts';
import type { BlobRef, Store, StoredBlob } from './store.ts';

/** Files in tmp/ that are older than this belong to a process that died. */
const TMP_AGE_MS = 60 * 60 * 1000;

export class FileStore implements Store {
  readonly root: string;

  private constructor(root: string) {
    this.root = root;
  }

  /** Opens the store in a folder, creating it if need be. */
  static async open(dir: string): Promise<FileStore> {
    const store = new FileStore(path.resolve(dir));
    await store.guard('prepare', async () => {
      for (const folder of ['blobs', 'refs', 'tmp']) await ensureFolder(path.join(store.root, folder));
    });
    await store.tidy(Date.now() - TMP_AGE_MS);
    return store;
  }

  async put(bytes: Uint8Array): Promise<BlobRef> {
    const sha256 = sha256Hex(bytes);
    const file = this.at(blobName(sha256));
    await this.guard(`write blob ${sha256.slice(0, 12)}`, async () => {
      if ((await holds(file, bytes)) && (await refresh(file))) return;
      await this.publish(file, bytes, async (tmp) => rename(tmp, file));
    });
    return { sha256, size: bytes.byteLength };
  }

  async get(sha256: string): Promise<Uint8Array> {
    const bytes = checkBlob(sha256, await this.guard(`read blob ${sha256.slice(0, 12)}`, () => this.read(sha256)));
    // A plain view: a Buffer's slice() shares memory where a Uint8Array's copies.
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  async has(sha256: string): Promise<boolean> {
    return this.guard('look into', async () => {
      for (const area of LOOKS) if ((await stat(this.at(blobName(sha256, area))).catch(absent))?.isFile()) return true;
      return false;
    });
  }

  async writeRef(ref: string, json: unknown): Promise<void> {
    const file = this.at(refName(ref));
    await this.guard(`write ${ref}`, () => this.publish(file, encodeRef(json), async (tmp) => rename(tmp, file)));
  }

  async createRef(ref: string, json: unknown): Promise<boolean> {
    const file = this.at(refName(ref));
    return this.guard(`write ${ref}`, async () => {
      try {
        await this.publish(file, encodeRef(json), (tmp) => link(tmp, file));
        return true;
      } catch (error) {
        if (codeOf(error) === 'EEXIST') return false;
        throw error;
      }
    });
  }

  async readRef(ref: string): Promise<unknown | null> {
    const text = await this.guard(`read ${ref}`, () => readFile(this.at(refName(ref)), 'utf8').catch(absent));
    return text === null ? null : parseRef(text, ref);
  }

  async removeRef(ref: string): Promise<void> {
    const file = this.at(refName(ref));
    await this.guard(`remove ${ref}`, async () => {
      await rm(file, { force: true });
      await syncFolder(path.dirname(file)).catch(absent);
    });
  }

  async listRefs(prefix: string): Promise<string[]> {
    const base = this.at('refs');
    const folder = this.at(refFolder(prefix));
    const entries = await this.guard('list', () =>
      readdir(folder, { recursive: true, withFileTypes: true }).catch(absent),
    );
    return (entries ?? [])
      .filter((entry) => entry.isFile() && entry.name.endsWith('.json'))
      .map((entry) => path.relative(base, path.join(entry.parentPath, entry.name)).split(path.sep).join('/'))
      .sort();
  }

  async *listBlobs(area: BlobArea = 'blobs'): AsyncIterable<StoredBlob> {
    for (const folder of await this.names(area)) {
      for (const sha256 of (await this.names(`${area}/${folder}`)).filter((name) => SHA256.test(name))) {
        const info = await this.guard('list', () => stat(this.at(blobName(sha256, area))).catch(absent));
        if (info?.isFile()) yield { sha256, size: info.size, storedAt: info.mtimeMs };
      }
    }
  }

  async moveBlob(sha256: string, to: BlobArea): Promise<void> {
    const [from, target] = [to === 'trash' ? 'blobs' : 'trash', to].map((area) =>
      this.at(blobName(sha256, area as BlobArea)),
    );
    await this.guard(`move blob ${sha256.slice(0, 12)}`, async () => {
      const now = new Date();
      // First the time, then the name: a blob whose time were old in the trash could go at the next look.
      if ((await utimes(from, now, now).catch(absent)) === null) return;
      await ensureFolder(path.dirname(target));
      if ((await rename(from, target).catch(absent)) === null) return;
      await syncFolder(path.dirname(target));
      await syncFolder(path.dirname(from));
    });
  }

  async removeBlob(sha256: string): Promise<void> {
    await this.guard(`remove blob ${sha256.slice(0, 12)}`, () =>
      rm(this.at(blobName(sha256, 'trash')), { force: true }),
    );
  }

  async tidy(before: number): Promise<number> {
    let count = 0;
    for (const name of await this.names('tmp')) {
      const file = this.at(`tmp/${name}`);
      const info = await stat(file).catch(() => null);
      if (!info || info.mtimeMs >= before) continue;
      await rm(file, { force: true }).then(() => count++, absent);
    }
    return count;
  }

  private at(name: string): string {
    return path.join(this.root, ...name.split('/'));
  }

  private async names(folder: string): Promise<string[]> {
    const found = await this.guard('list', () => readdir(this.at(folder)).catch(absent));
    return found ?? [];
  }

  private async read(sha256: string): Promise<Uint8Array | null> {
    for (const area of LOOKS) {
      const file = this.at(blobName(sha256, area));
      const bytes = await readFile(file).catch((error) => {
        if (codeOf(error) !== 'EIO' && codeOf(error) !== 'EISDIR') return absent(error);
        throw new StoreDamage((explainDisk(error, `The file ${file} cannot be read`) as Error).message);
      });
      if (bytes !== null) return bytes;
    }
    return null;
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

  private async guard<T>(what: string, action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      throw explainDisk(error, `The store at ${this.root} cannot ${what}`);
    }
  }
}

/** A blob moves from the one to the other and back, so whoever looks thus finds it. */
const LOOKS: readonly BlobArea[] = ['blobs', 'trash', 'blobs'];

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | null)?.code;
}

/** For `.catch`: null if the file is not there, else throws on. */
function absent(error: unknown): null {
  if (codeOf(error) === 'ENOENT') return null;
  throw error;
}

async function holds(file: string, bytes: Uint8Array): Promise<boolean> {
  const info = await stat(file).catch(absent);
  if (info?.size !== bytes.byteLength) return false;
  const found = await readFile(file).catch(absent);
  return found !== null && Buffer.compare(found, bytes) === 0;
}

/** Makes a file young; false if that is not ours to do, as with another user's file, or if it has just gone. */
async function refresh(file: string): Promise<boolean> {
  const now = new Date();
  return utimes(file, now, now).then(
    () => true,
    () => false,
  );
}

// Pictures below one folder, as files or as members of tars, by names that others wrote: what a name leads to is checked
// to lie inside, and its size is bounded before it is read. Not a data set; annotated sets and open suites read through it.

import { constants } from 'node:fs';
import { type FileHandle, open, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { FoveaError, quote, sha256Hex } from '@fovea/artifacts';
import { decodePicture } from '../preprocess.ts';
import { indexTar, type TarMember } from './tar.ts';

/** A name that leads out of its folder: not one bad picture but a set that is not to be trusted. */
export class LeadsOut extends FoveaError {}

/** Throws {@link LeadsOut} unless `name` is a plain relative path with forward slashes that climbs nowhere. */
export function checkName(name: string): void {
  const isPlain = name.length <= 4096 && !/\p{Cc}|\\|^~|^[a-z]:/iu.test(name);
  const climbs = name.split('/').some((part) => part === '' || part === '.' || part === '..');
  if (!isPlain || climbs)
    throw new LeadsOut(`The path ${quote(name)} is refused: it is no plain path below its folder, such as a/b.jpg.`);
}

export interface Look {
  sha256: string;
  /** Of the decoded picture, upright, in pixels. */
  width: number;
  height: number;
}

/** Of a file beside its pixels, such as colour profiles and thumbnails. */
const MOST_METADATA = 2 ** 26;
const SHARD = /^(.+?\.tar)\/(.+)$/i;

export class PictureFiles {
  readonly #root: string;
  readonly #maxPixels: number;
  readonly #tars = new Map<string, Promise<Map<string, TarMember>>>();

  private constructor(root: string, maxPixels: number) {
    this.#root = root;
    this.#maxPixels = maxPixels;
  }

  /** `maxPixels`: larger pictures are refused before they are decoded. @default 50 million */
  static async open(folder: string, maxPixels = 50_000_000): Promise<PictureFiles> {
    const root = await realpath(folder).catch(() => null);
    if (!root || !(await stat(root)).isDirectory())
      throw new FoveaError(`The picture folder "${folder}" cannot be read: no such folder; check the path.`);
    return new PictureFiles(root, maxPixels);
  }

  /**
   * A picture's bytes; the member of a tar is `shard.tar/name.jpg`. `limit`: most bytes of what is no picture. Throws a
   * {@link FoveaError} that names it where it is missing, no file or too large, and a {@link LeadsOut} where its name or a
   * link leads out of the folder.
   */
  async read(name: string, limit?: number): Promise<Uint8Array> {
    checkName(name);
    const fail = (why: string): never => {
      throw new FoveaError(`The picture ${quote(name)} cannot be read: ${why}; mend or remove it.`);
    };
    // 16 bits of four channels.
    const most = limit ?? 8 * this.#maxPixels + MOST_METADATA;
    const bounded = (size: number): number => (size <= most ? size : fail(`it has ${size} bytes, more than ${most}`));
    const [, shard, member] = SHARD.exec(name) ?? [];
    const isMember = shard !== undefined && (await this.#isFile(shard));
    if (!isMember) return this.#with(name, fail, (handle, size) => readAt(handle, 0, bounded(size), fail));
    const found = (await this.tar(shard)).get(member);
    if (!found) return fail(`the tar has no such member`);
    return this.#with(shard, fail, (handle) => readAt(handle, found.offset, bounded(found.size), fail));
  }

  /** A picture's hash and sides; it is decoded whole, so that a damaged one is found. Throws as {@link read} does. */
  async look(name: string): Promise<Look> {
    const bytes = await this.read(name);
    const { width, height } = await decodePicture(bytes, { where: name, maxPixels: this.#maxPixels });
    return { sha256: sha256Hex(bytes), width, height };
  }

  /** The members of a tar below the folder, by name. */
  async tar(name: string): Promise<Map<string, TarMember>> {
    const known = this.#tars.get(name);
    if (known) return known;
    const fail = (why: string): never => {
      throw new FoveaError(`The tar ${quote(name)} cannot be read: ${why}; make it anew.`);
    };
    checkName(name);
    const index = this.#with(name, fail, (handle, size) => indexTar(handle, size, fail, checkName));
    this.#tars.set(name, index);
    return index;
  }

  async #isFile(name: string): Promise<boolean> {
    const info = await stat(path.join(this.#root, name)).catch(() => null);
    return info?.isFile() === true;
  }

  /** Opens a regular file inside the folder, and never waits on a pipe. */
  async #with<T>(
    name: string,
    fail: (why: string) => never,
    use: (handle: FileHandle, size: number) => Promise<T>,
  ): Promise<T> {
    const file = await realpath(path.join(this.#root, name)).catch(() => fail('there is no such file'));
    if (!file.startsWith(this.#root + path.sep))
      throw new LeadsOut(`The link ${quote(name)} leads out of its folder; put the file itself there.`);
    const failed = ({ code }: NodeJS.ErrnoException) => fail(`${code}`);
    const handle = await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)).catch(failed);
    try {
      const info = await handle.stat();
      if (!info.isFile()) return fail('it is no file');
      return await use(handle, info.size);
    } finally {
      await handle.close();
    }
  }
}

async function readAt(handle: FileHandle, at: number, size: number, fail: (why: string) => never) {
  const bytes = new Uint8Array(size);
  for (let done = 0; done < size; ) {
    const { bytesRead } = await handle.read(bytes, done, size - done, at + done);
    if (bytesRead === 0) return fail('it is cut short');
    done += bytesRead;
  }
  return bytes;
}

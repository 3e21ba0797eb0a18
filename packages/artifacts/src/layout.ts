// How a store is laid out, in a folder and in a bucket alike, so that a copy of the one is the other: blobs/ab/<sha256>,
// the same under trash/ for what is about to go, and refs/<ref>. Names are checked here, before any store sees them.

import { sha256Hex } from './canonical.ts';
import { FoveaError } from './errors.ts';

/** Where a blob lies: in its place, or where garbage waits for a second look. */
export type BlobArea = 'blobs' | 'trash';

export const SHA256 = /^[0-9a-f]{64}$/;
export const SEGMENT = /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/;

/** The sentence that something the store should hold is not there, or not as it was written. */
export class StoreDamage extends FoveaError {}

/** `blobs/ab/abcd…`; TypeError for what is no hash. */
export function blobName(sha256: string, area: BlobArea = 'blobs'): string {
  if (!SHA256.test(sha256)) throw new TypeError(`not a SHA-256: ${sha256}`);
  return `${area}/${sha256.slice(0, 2)}/${sha256}`;
}

/** `refs/a/b.json`; TypeError for what is no ref. */
export function refName(ref: string): string {
  if (!ref.endsWith('.json')) throw new TypeError(`a ref ends with .json: ${ref}`);
  return refFolder(ref);
}

/** `refs/a/b`, and `refs` for the empty prefix. */
export function refFolder(prefix: string): string {
  const segments = prefix.split('/').filter((segment) => segment !== '');
  if (segments.some((segment) => !SEGMENT.test(segment))) throw new TypeError(`not a ref: ${prefix}`);
  return ['refs', ...segments].join('/');
}

export function encodeRef(json: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(json, null, 2)}\n`);
}

export function parseRef(text: string, ref: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new StoreDamage(
      `The file refs/${ref} in the store is damaged: it is not JSON; put back a good copy or delete it.`,
    );
  }
}

const MEND = 'put back a good copy, or delete that file and run `fovea train --resume` to make it again';

/** Bytes that were read for a blob, null where there are none; throws {@link StoreDamage} unless they are that blob. */
export function checkBlob(sha256: string, bytes: Uint8Array | null): Uint8Array {
  const name = blobName(sha256);
  if (bytes === null) throw new StoreDamage(`A blob is missing from the store: ${name} does not exist; ${MEND}.`);
  const actual = sha256Hex(bytes);
  if (actual === sha256) return bytes;
  throw new StoreDamage(
    `A blob in the store is damaged: the ${bytes.byteLength} bytes of ${name} hash to ${actual.slice(0, 12)}…; ${MEND}.`,
  );
}

/** Calls `work` on every item, at most `limit` at a time, and gives the results in order. The first error stops the rest. */
export async function inParallel<T, R>(items: Iterable<T>, limit: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const queue = [...items].entries();
  let failed = false;
  const lane = async () => {
    for (const [index, item] of queue) {
      if (failed) return;
      try {
        results[index] = await work(item);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: limit }, lane));
  for (const each of lanes) if (each.status === 'rejected') throw each.reason;
  return results;
}

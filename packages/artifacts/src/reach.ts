// What the refs of a store name, and what that names in turn: the one walk that verifying and collecting garbage share.
// A blob is named by {sha256, size} anywhere in a ref, or by its hash alone; checkpoints name blobs and their parents.

import { inParallel, SHA256 } from './layout.ts';
import { type BlobArea, type BlobRef, type Store, StoreDamage, type StoredBlob } from './store.ts';

/** Refs and small blobs read at a time. */
export const READS_AT_ONCE = 8;
/** Larger blobs are weights and pictures, not JSON that names others. */
const JSON_BYTES = 1 << 20;
/** Fields in which a bare hash must be a blob's. Elsewhere (`recipeHash`) it may be a hash of something else. */
const FIELDS = new Set(['sha256', 'checkpoint', 'checkpoints', 'scorecard', 'base', 'parent', 'report', 'summary']);

/** Whether weights and optimiser state of a checkpoint must stay. Its manifest and its parent's always do. */
export type Keep = (checkpoint: string) => boolean;

export interface Reach {
  refs: number;
  /** Blobs that are named and exist: hash, and the first place that names it. */
  named: Map<string, string>;
  /** Those of them that have been read and checked, or are among the faults. */
  seen: Set<string>;
  /** A sentence for each ref that cannot be read, each name of nothing, and each small blob that is damaged. */
  faults: Set<string>;
  /** Whether what a fault is about could itself have named blobs, so that not all names are known. */
  blind: boolean;
}

interface Name {
  sha256: string;
  /** In bytes; null where only the hash stands. */
  size: number | null;
  /** Whether it surely names a blob. */
  sure: boolean;
  from: string;
}

/** Every blob of the store by its hash. */
export async function listed(store: Store, area?: BlobArea): Promise<Map<string, StoredBlob>> {
  const blobs = new Map<string, StoredBlob>();
  for await (const blob of store.listBlobs(area)) blobs.set(blob.sha256, blob);
  return blobs;
}

/** Follows every name in the store; `sizes` are the blobs that were there before, in bytes. */
export async function reach(store: Store, sizes: ReadonlyMap<string, number>, keep: Keep = () => true): Promise<Reach> {
  const found: Reach = { refs: 0, named: new Map(), seen: new Set(), faults: new Set(), blind: false };
  let names: Name[] = [];
  await inParallel(await store.listRefs(''), READS_AT_ONCE, async (ref) => {
    const value = await readOr(found, `refs/${ref}`, () => store.readRef(ref));
    if (value === null) return;
    found.refs++;
    names.push(...namesIn(value, `refs/${ref}`));
  });
  while (names.length > 0) {
    const fresh = (await inParallel(names, READS_AT_ONCE, (name) => note(store, found, sizes, name))).flat();
    names = [];
    await inParallel(fresh, READS_AT_ONCE, async ({ sha256, from }) => {
      found.seen.add(sha256);
      const bytes = await readOr(found, from, () => store.get(sha256));
      if (bytes) names.push(...namesInBlob(sha256, bytes, keep));
    });
  }
  return found;
}

/** The sentence of a fault, with the place that it matters to. */
export function faultOf(error: Error, from: string): string {
  return from.startsWith('refs/') && error.message.includes(from)
    ? error.message
    : `${error.message.replace(/\.$/, '')} (${from} needs it).`;
}

async function readOr<T>(found: Reach, from: string, read: () => Promise<T>): Promise<T | null> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof StoreDamage)) throw error;
    found.faults.add(faultOf(error, from));
    found.blind = true;
    return null;
  }
}

/** Notes a name, and gives it back if it is the first of a blob that may itself name others. */
async function note(store: Store, found: Reach, sizes: ReadonlyMap<string, number>, name: Name): Promise<Name[]> {
  const { sha256, size, sure, from } = name;
  if (found.named.has(sha256)) return [];
  const actual = sizes.get(sha256) ?? ((await store.has(sha256)) ? (size ?? 0) : null);
  if (actual === null) {
    if (!sure) return [];
    found.faults.add(`A blob is missing from the store: blobs/${sha256.slice(0, 2)}/${sha256} (${from} needs it).`);
    found.blind ||= size === null || size <= JSON_BYTES;
    return [];
  }
  if (found.named.has(sha256)) return [];
  found.named.set(sha256, from);
  return actual <= JSON_BYTES ? [name] : [];
}

function* namesIn(value: unknown, from: string, field = ''): Generator<Name> {
  if (typeof value === 'string') {
    if (SHA256.test(value)) yield { sha256: value, size: null, sure: FIELDS.has(field), from };
  } else if (Array.isArray(value)) {
    for (const each of value) yield* namesIn(each, from, field);
  } else if (isBlobRef(value)) {
    yield { sha256: value.sha256, size: value.size, sure: true, from };
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, each] of Object.entries(value)) yield* namesIn(each, from, key);
  }
}

/** A checkpoint names its parent and its blobs; other JSON only what it names by {sha256, size}. */
function namesInBlob(sha256: string, bytes: Uint8Array, keep: Keep): Name[] {
  if (bytes[0] !== 0x7b) return [];
  let json: Record<string, unknown>;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return [];
  }
  const blobs = () => [...namesIn(json, `blob ${sha256.slice(0, 12)}`)].filter(({ size }) => size !== null);
  if (!isBlobRef(json.weights) || !('parent' in json)) return blobs();
  const from = `checkpoint ${sha256.slice(0, 12)}`;
  return [...namesIn(json.parent, from, 'parent'), ...(keep(sha256) ? blobs().map((name) => ({ ...name, from })) : [])];
}

function isBlobRef(value: unknown): value is BlobRef {
  const { sha256, size } = (value ?? {}) as Partial<BlobRef>;
  return typeof sha256 === 'string' && SHA256.test(sha256) && Number.isSafeInteger(size);
}

// The content-addressed store: blobs named by their SHA-256 and small JSON refs that name them. A reader never sees half
// of anything, and a writer that dies leaves only garbage. It lies in a folder (file-store.ts) or a bucket (s3-store.ts),
// and knows no checkpoint and no run.

import { FileStore } from './file-store.ts';
import type { BlobArea } from './layout.ts';

export { type BlobArea, StoreDamage } from './layout.ts';

/** A blob by name: SHA-256 in hexadecimal and size in bytes. */
export interface BlobRef {
  sha256: string;
  size: number;
}

/** A blob as it is listed. */
export interface StoredBlob extends BlobRef {
  /** When it was last put or moved, in milliseconds since 1970, by the clock of the store's keeper. */
  storedAt: number;
}

export interface Store {
  /** What opens it again: an absolute folder, or `s3://bucket/prefix`. Holds no credentials. */
  readonly root: string;
  /** Stores bytes under their hash. Storing them again makes the blob young again, and mends a damaged copy. */
  put(bytes: Uint8Array): Promise<BlobRef>;
  /** The bytes of a blob, checked against its name; a {@link StoreDamage} if missing or damaged. Finds it in the trash too. */
  get(sha256: string): Promise<Uint8Array>;
  /** Whether a blob of that name exists, in its place or in the trash; its bytes are not read. */
  has(sha256: string): Promise<boolean>;
  /** Writes or replaces a ref (`a/b/c.json`) in one atomic step. */
  writeRef(ref: string, json: unknown): Promise<void>;
  /** Writes a ref only if there is none; false if another was first. The store's compare-and-set. */
  createRef(ref: string, json: unknown): Promise<boolean>;
  /** The value of a ref, or null where there is none. */
  readRef(ref: string): Promise<unknown | null>;
  /** Removes a ref; nothing happens where there is none. */
  removeRef(ref: string): Promise<void>;
  /** Paths of the refs under a folder (`runs/x`), sorted; empty where there is no such folder. */
  listRefs(prefix: string): Promise<string[]>;

  // What only garbage.ts and verify.ts use.

  /** Every blob, in no order; one that comes or goes meanwhile may be among them or not. */
  listBlobs(area?: BlobArea): AsyncIterable<StoredBlob>;
  /** Moves a blob to the trash or back; at every instant it is in one of the two. Nothing happens where there is none. */
  moveBlob(sha256: string, to: BlobArea): Promise<void>;
  /** Removes a blob that is in the trash for good. */
  removeBlob(sha256: string): Promise<void>;
  /** Removes what writers that died before `before` (milliseconds since 1970) left behind, and says how much. */
  tidy(before: number): Promise<number>;
}

/**
 * Opens the store in a folder, making it if need be, or in a bucket that exists: `s3://bucket/prefix`, where
 * FOVEA_S3_ENDPOINT and FOVEA_S3_REGION say which server, and the AWS_* variables who is asking.
 */
export async function openStore(where: string, env: NodeJS.ProcessEnv = process.env): Promise<Store> {
  if (/^s3:/i.test(where)) return (await import('./s3-store.ts')).openS3Store(where, env);
  return FileStore.open(where);
}

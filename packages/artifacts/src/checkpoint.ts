// A checkpoint: immutable weights, optimiser state, data cursor and lineage. Its manifest is a blob of canonical JSON,
// so a checkpoint's id is a hash of everything it is; there is no clock and no machine in it.

import { z } from 'zod';
import { canonicalJson } from './canonical.ts';
import { FoveaError } from './errors.ts';
import type { BlobRef, Store } from './store.ts';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'a SHA-256 in lower-case hexadecimal');

export const blobRefSchema = z.strictObject({ sha256, size: z.int().min(0) });

export const checkpointSchema = z.strictObject({
  version: z.literal(1),
  /** Id of the checkpoint that this one was trained from; null for the first of a run. */
  parent: sha256.nullable(),
  /** `trunk` or a role. */
  track: z.string().min(1),
  stage: z.string().min(1),
  /** Position in its track, from 0. */
  round: z.int().min(0),
  /** Optimiser steps since the first checkpoint of the chain. */
  step: z.int().min(0),
  /** A safetensors blob. */
  weights: blobRefSchema,
  /** A safetensors blob; null where nothing was trained. */
  optimizer: blobRefSchema.nullable(),
  /**
   * Safetensors blobs with the moments of each shard that the round was merged from, in order of their index; shard k of
   * the next round goes on from `inner[k % inner.length]`. Absent where the round was not cut: `optimizer` has them then.
   */
  inner: z.array(blobRefSchema).min(1).optional(),
  /** Where the next round of this stage goes on reading data: optimiser steps of the stage that are done. */
  cursor: z.strictObject({ step: z.int().min(0) }),
  seed: z.int().min(0),
  /** Hash of the recipe that trained it (`recipeHash` of @fovea/recipe). */
  recipe: sha256,
});

export type Checkpoint = z.infer<typeof checkpointSchema>;

/** Stores the manifest and returns the checkpoint's id. Blobs it names must be in the store already. */
export async function writeCheckpoint(store: Store, manifest: Checkpoint): Promise<string> {
  const checked = checkpointSchema.parse(manifest);
  const { sha256: id } = await store.put(new TextEncoder().encode(canonicalJson(checked)));
  return id;
}

/** The manifest of a checkpoint; a FoveaError if it is missing, damaged or no manifest. */
export async function readCheckpoint(store: Store, id: string): Promise<Checkpoint> {
  const bytes = await store.get(id);
  try {
    return checkpointSchema.parse(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)));
  } catch {
    throw new FoveaError(
      `The blob ${id.slice(0, 12)} in the store is no checkpoint of this version of Fovea: check the id with \`fovea runs\`.`,
    );
  }
}

/** Reads a checkpoint and every blob it names against their hashes; a FoveaError names the first that is damaged. */
export async function verifyCheckpoint(store: Store, id: string): Promise<Checkpoint> {
  const manifest = await readCheckpoint(store, id);
  for (const blob of blobsOf(manifest)) await store.get(blob.sha256);
  return manifest;
}

/** True if the manifest and all its blobs are in the store; their bytes are not read. */
export async function hasCheckpoint(store: Store, id: string): Promise<boolean> {
  if (!(await store.has(id))) return false;
  for (const blob of blobsOf(await readCheckpoint(store, id))) {
    if (!(await store.has(blob.sha256))) return false;
  }
  return true;
}

/** The blobs that a checkpoint names, each of which must be in the store while it is. */
export function blobsOf({ weights, optimizer, inner = [] }: Checkpoint): BlobRef[] {
  return [weights, ...(optimizer ? [optimizer] : []), ...inner];
}

// The kinds of store that there are, each with what a test needs to make a fresh one and to look behind its back.

import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { openStore, type Store } from '../src/store.ts';
import { BUCKET, provisionS3, S3Server } from './s3.ts';

/** Long enough for the S3 server to be built on a busy machine. */
export const START_MS = 1_200_000;

export interface Kind {
  name: string;
  /** Why it cannot be had here; null if it can. */
  missing: string | null;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** What `openStore` needs to know besides the address. */
  env(): NodeJS.ProcessEnv;
  /** A new store, and the folder in which its files lie. */
  fresh(): Promise<{ store: Store; files: string }>;
}

/** A folder and a bucket, under a folder that the caller removes. */
export function storeKinds(): { dir: string; kinds: Kind[]; server(): S3Server } {
  const dir = mkdtempSync(path.join(tmpdir(), 'fovea-stores-'));
  let server: S3Server | null = null;
  let count = 0;
  const folder: Kind = {
    name: 'a folder',
    missing: null,
    start: async () => undefined,
    stop: async () => undefined,
    env: () => ({}),
    async fresh() {
      const files = path.join(dir, `store-${count++}`);
      return { store: await openStore(files), files };
    },
  };
  const bucket: Kind = {
    name: 'a bucket',
    missing: null,
    async start() {
      const found = provisionS3();
      if ('reason' in found) {
        this.missing = found.reason;
        return console.warn(found.reason);
      }
      server = new S3Server(found.binary, dir);
      await server.start();
    },
    stop: async () => server?.kill(),
    env: () => server!.env(),
    async fresh() {
      const name = `store-${count++}`;
      return {
        store: await openStore(`s3://${BUCKET}/${name}`, server!.env()),
        files: path.join(server!.bucketDir, name),
      };
    },
  };
  return { dir, kinds: [folder, bucket], server: () => server! };
}

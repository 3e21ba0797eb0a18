// The store in a bucket of any S3-compatible server. A PUT is atomic there and listings are consistent, so refs need no
// rename; `createRef` is a conditional PUT (If-None-Match: *), and a server that does not honour it is refused. Loaded
// only where a store is an s3:// address.

import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { sha256Hex } from './canonical.ts';
import { FoveaError } from './errors.ts';
import {
  type BlobArea,
  blobName,
  checkBlob,
  encodeRef,
  inParallel,
  parseRef,
  refFolder,
  refName,
  SEGMENT,
  SHA256,
} from './layout.ts';
import { explainS3, type S3Address, statusOf } from './s3-errors.ts';
import type { BlobRef, Store, StoredBlob } from './store.ts';

// The SDK would say on every start of a Node 20 that its next versions want Node 22; ours is pinned.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';

const MiB = 1 << 20;
/** Blobs above this travel in parts, so that a broken connection costs one part. S3 takes 10,000 parts of ≥ 5 MiB. */
const PART_BYTES = 16 * MiB;
const PARTS_AT_ONCE = 4;
/** Tries of one request, with exponential backoff between them (some 5 s in all, 15 s where the server asks for less), and of a body that broke off. */
const ATTEMPTS = 6;
const CONNECT_MS = 5_000;
/** A connection on which nothing moved for so long is taken for dead. */
const IDLE_MS = 30_000;
/** Looks, in this order: a blob moves from the one to the other and back. */
const LOOKS: readonly BlobArea[] = ['blobs', 'trash', 'blobs'];

/** Opens the store in a bucket; see `openStore`. The bucket must exist. */
export async function openS3Store(where: string, env: NodeJS.ProcessEnv): Promise<Store> {
  const match = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/(.*))?$/.exec(where);
  const segments = (match?.[2] ?? '').split('/').filter((segment) => segment !== '');
  if (!match || segments.some((segment) => !SEGMENT.test(segment))) {
    throw new FoveaError(
      'That is no address of a store in S3: it is written s3://bucket/prefix, with the server in FOVEA_S3_ENDPOINT and the credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.',
    );
  }
  const endpoint = endpointOf(env.FOVEA_S3_ENDPOINT);
  const region = env.FOVEA_S3_REGION || env.AWS_REGION || env.AWS_DEFAULT_REGION || 'us-east-1';
  const client = new S3Client({
    region,
    ...(endpoint && { endpoint, forcePathStyle: true }),
    ...credentialsOf(env),
    maxAttempts: ATTEMPTS,
    requestHandler: { connectionTimeout: CONNECT_MS, socketTimeout: IDLE_MS },
    responseChecksumValidation: 'WHEN_REQUIRED',
  });
  const store = new S3Store(client, { bucket: match[1], server: endpoint ?? `Amazon S3 in ${region}` }, segments);
  await store.look();
  return store;
}

function endpointOf(text: string | undefined): string | undefined {
  if (!text) return undefined;
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url && /^https?:$/.test(url.protocol) && !url.username && !url.password && !url.search)
    return url.href.replace(/\/$/, '');
  throw new FoveaError(
    'FOVEA_S3_ENDPOINT is no address of an S3 server: it is written http://host:port or https://host, without credentials.',
  );
}

/** The variables that were given to `openStore`; without them the SDK's own search (profiles, roles) takes place. */
function credentialsOf(env: NodeJS.ProcessEnv) {
  const {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: sessionToken,
  } = env;
  return accessKeyId && secretAccessKey ? { credentials: { accessKeyId, secretAccessKey, sessionToken } } : {};
}

class S3Store implements Store {
  readonly root: string;
  private readonly client: S3Client;
  private readonly address: S3Address;
  private readonly prefix: string;
  private honest: Promise<void> | null = null;

  constructor(client: S3Client, address: S3Address, segments: string[]) {
    this.root = ['s3:/', address.bucket, ...segments].join('/');
    this.client = client;
    this.address = address;
    this.prefix = segments.map((segment) => `${segment}/`).join('');
  }

  /** Asks for one name, so that a wrong address or credential is known at once. */
  async look(): Promise<void> {
    await this.page({ Prefix: this.prefix, MaxKeys: 1 });
  }

  async put(bytes: Uint8Array): Promise<BlobRef> {
    const sha256 = sha256Hex(bytes);
    const at = this.at(blobName(sha256));
    await this.guard(`write blob ${sha256.slice(0, 12)}`, async () => {
      if (bytes.byteLength > 2 * PART_BYTES) return this.putParts(at, bytes);
      await this.client.send(new PutObjectCommand({ ...at, Body: bytes, ChecksumSHA256: base64(sha256) }));
    });
    return { sha256, size: bytes.byteLength };
  }

  async get(sha256: string): Promise<Uint8Array> {
    const bytes = await this.guard(`read blob ${sha256.slice(0, 12)}`, async () => {
      for (const area of LOOKS) {
        const found = await this.download(blobName(sha256, area));
        if (found !== null) return found;
      }
      return null;
    });
    return checkBlob(sha256, bytes);
  }

  async has(sha256: string): Promise<boolean> {
    return this.guard('look into', async () => {
      for (const area of LOOKS) {
        if (await this.client.send(new HeadObjectCommand(this.at(blobName(sha256, area)))).catch(absent)) return true;
      }
      return false;
    });
  }

  async writeRef(ref: string, json: unknown): Promise<void> {
    const at = this.at(refName(ref));
    await this.guard(`write ${ref}`, () => this.client.send(new PutObjectCommand({ ...at, Body: encodeRef(json) })));
  }

  async createRef(ref: string, json: unknown): Promise<boolean> {
    const name = refName(ref);
    return this.guard(`write ${ref}`, async () => {
      this.honest ??= this.probe();
      await this.honest.catch((error) => {
        this.honest = null;
        throw error;
      });
      return this.create(name, encodeRef(json));
    });
  }

  async readRef(ref: string): Promise<unknown | null> {
    const bytes = await this.guard(`read ${ref}`, () => this.download(refName(ref)));
    return bytes === null ? null : parseRef(new TextDecoder().decode(bytes), ref);
  }

  async removeRef(ref: string): Promise<void> {
    await this.guard(`remove ${ref}`, () => this.delete(this.at(refName(ref))));
  }

  async listRefs(prefix: string): Promise<string[]> {
    const refs: string[] = [];
    for await (const { name } of this.list(`${refFolder(prefix)}/`)) {
      if (name.endsWith('.json')) refs.push(name.slice('refs/'.length));
    }
    return refs.sort();
  }

  async *listBlobs(area: BlobArea = 'blobs'): AsyncIterable<StoredBlob> {
    for await (const { name, size, storedAt } of this.list(`${area}/`)) {
      const sha256 = name.slice(name.lastIndexOf('/') + 1);
      if (SHA256.test(sha256) && name === blobName(sha256, area)) yield { sha256, size, storedAt };
    }
  }

  async moveBlob(sha256: string, to: BlobArea): Promise<void> {
    const from = this.at(blobName(sha256, to === 'trash' ? 'blobs' : 'trash'));
    const CopySource = `${from.Bucket}/${from.Key}`;
    await this.guard(`move blob ${sha256.slice(0, 12)}`, async () => {
      const copy = new CopyObjectCommand({ ...this.at(blobName(sha256, to)), CopySource });
      if ((await this.client.send(copy).catch(absent)) !== null) await this.delete(from);
    });
  }

  async removeBlob(sha256: string): Promise<void> {
    await this.guard(`remove blob ${sha256.slice(0, 12)}`, () => this.delete(this.at(blobName(sha256, 'trash'))));
  }

  async tidy(before: number): Promise<number> {
    return this.guard('clear broken uploads', async () => {
      const old: { Key: string; UploadId: string }[] = [];
      for (let markers = {}; ; ) {
        const page = await this.client.send(
          new ListMultipartUploadsCommand({ Bucket: this.address.bucket, Prefix: this.prefix, ...markers }),
        );
        for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
          if (Key && UploadId && Initiated && Initiated.getTime() < before) old.push({ Key, UploadId });
        }
        if (!page.IsTruncated) break;
        markers = { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker };
      }
      const { bucket: Bucket } = this.address;
      for (const each of old)
        await this.client.send(new AbortMultipartUploadCommand({ Bucket, ...each })).catch(absent);
      return old.length;
    });
  }

  /** What is gone is gone: some servers say 404 to the second of two who delete at once. */
  private async delete(at: { Bucket: string; Key: string }): Promise<void> {
    await this.client.send(new DeleteObjectCommand(at)).catch(absent);
  }

  private at(name: string): { Bucket: string; Key: string } {
    return { Bucket: this.address.bucket, Key: this.prefix + name };
  }

  private async page(asked: { Prefix: string; MaxKeys?: number; ContinuationToken?: string }) {
    return this.guard('be listed', async () => {
      const page = await this.client.send(new ListObjectsV2Command({ Bucket: this.address.bucket, ...asked }));
      // A web page reads as a list of nothing; taken for one, everything would seem to be garbage.
      if (page.Name === this.address.bucket) return page;
      throw Object.assign(new Error('no listing'), { name: 'SyntaxError', $metadata: page.$metadata });
    });
  }

  private async *list(folder: string): AsyncIterable<{ name: string; size: number; storedAt: number }> {
    let ContinuationToken: string | undefined;
    do {
      const page = await this.page({ Prefix: this.prefix + folder, ContinuationToken });
      for (const { Key = '', Size = 0, LastModified } of page.Contents ?? []) {
        yield { name: Key.slice(this.prefix.length), size: Size, storedAt: LastModified?.getTime() ?? Date.now() };
      }
      ContinuationToken = page.NextContinuationToken;
    } while (ContinuationToken);
  }

  /** The bytes of an object, null where there is none. A body that breaks off is asked for again from there on. */
  private async download(name: string): Promise<Uint8Array | null> {
    let bytes: Uint8Array | null = null;
    let filled = 0;
    let version: string | undefined;
    for (let attempt = 1; ; attempt++) {
      const rest: { Range?: string; IfMatch?: string } =
        bytes === null ? {} : { Range: `bytes=${filled}-`, IfMatch: version };
      const answer: GetObjectCommandOutput | null = await this.client
        .send(new GetObjectCommand({ ...this.at(name), ...rest }))
        .catch(absent);
      if (answer === null) return null;
      bytes ??= new Uint8Array(answer.ContentLength ?? 0);
      version = answer.ETag;
      try {
        for await (const chunk of answer.Body as AsyncIterable<Uint8Array>) {
          bytes.set(chunk, filled);
          filled += chunk.byteLength;
        }
        if (filled === bytes.byteLength) return bytes;
      } catch (error) {
        if (attempt === ATTEMPTS) throw error;
      }
      if (attempt === ATTEMPTS) throw Object.assign(new Error('the body broke off'), { code: 'ECONNRESET' });
      await sleep(100 * 2 ** attempt);
    }
  }

  private async putParts(at: { Bucket: string; Key: string }, bytes: Uint8Array): Promise<void> {
    const { UploadId } = await this.client.send(
      new CreateMultipartUploadCommand({ ...at, ChecksumAlgorithm: 'SHA256' }),
    );
    try {
      const starts = Array.from({ length: Math.ceil(bytes.byteLength / PART_BYTES) }, (_, i) => i * PART_BYTES);
      const Parts = await inParallel(starts, PARTS_AT_ONCE, async (start) => {
        const Body = bytes.subarray(start, start + PART_BYTES);
        const ChecksumSHA256 = base64(sha256Hex(Body));
        const PartNumber = start / PART_BYTES + 1;
        const part = new UploadPartCommand({ ...at, UploadId, PartNumber, Body, ChecksumSHA256 });
        const { ETag } = await this.client.send(part);
        return { ETag, PartNumber, ChecksumSHA256 };
      });
      await this.client.send(new CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload: { Parts } }));
    } catch (error) {
      // One try only: where the server is gone, `tidy` does it later.
      const abort = new AbortMultipartUploadCommand({ ...at, UploadId });
      await this.client.send(abort, { requestTimeout: CONNECT_MS }).catch(() => undefined);
      throw error;
    }
  }

  /** Creates an object if there is none. A lost answer and the retry that then meets our own object count as ours. */
  private async create(name: string, Body: Uint8Array): Promise<boolean> {
    const at = this.at(name);
    const writer = randomUUID();
    for (let attempt = 1; ; attempt++) {
      try {
        await this.client.send(new PutObjectCommand({ ...at, Body, IfNoneMatch: '*', Metadata: { writer } }));
        return true;
      } catch (error) {
        if (statusOf(error) === 412) {
          const first = await this.client.send(new HeadObjectCommand(at)).catch(absent);
          return first?.Metadata?.writer === writer;
        }
        // Another's conditional put is under way; S3 asks to try again.
        if (statusOf(error) !== 409 || attempt === ATTEMPTS) throw error;
        await sleep(50 * 2 ** attempt);
      }
    }
  }

  /** Throws unless the server keeps the second of two conditional puts out, as commits depend on it. */
  private async probe(): Promise<void> {
    const name = `tmp/probe-${randomUUID()}`;
    try {
      const won = [await this.create(name, new Uint8Array(1)), await this.create(name, new Uint8Array(1))];
      if (won[0] && !won[1]) return;
    } finally {
      await this.client.send(new DeleteObjectCommand(this.at(name))).catch(() => undefined);
    }
    throw new FoveaError(
      `The S3 server ${this.address.server} does not honour If-None-Match, which keeps two commits from overwriting each other: use a newer server.`,
    );
  }

  private async guard<T>(what: string, action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      throw explainS3(error, `The store at ${this.root} cannot ${what}`, this.address);
    }
  }
}

/** For `.catch`: null where the object is not there, else throws on. */
function absent(error: unknown): null {
  const { name } = error as { name?: string };
  if (statusOf(error) === 404 && name !== 'NoSuchBucket') return null;
  throw error;
}

function base64(hex: string): string {
  return Buffer.from(hex, 'hex').toString('base64');
}

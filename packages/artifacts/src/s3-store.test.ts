// What only a bucket can suffer: servers that are killed, slow, overloaded or lie, answers that get lost, and addresses
// and credentials that are wrong. A real server, with a real proxy before it where the way itself is at fault.

import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { START_MS, storeKinds } from '../test-fixtures/kinds.ts';
import { BUCKET, FaultProxy, type S3Server } from '../test-fixtures/s3.ts';
import { sha256Hex } from './canonical.ts';
import { FoveaError, isAway } from './errors.ts';
import { openStore, type Store } from './store.ts';

const { dir, kinds, server: serverOf } = storeKinds();
const bucket = kinds[1];
let server: S3Server;
let proxy: FaultProxy;
/** The same store by the straight way, and by the proxy's. */
let straight: Store;
let behind: Store;

beforeAll(async () => {
  await bucket.start();
  if (bucket.missing) return;
  server = serverOf();
  proxy = await FaultProxy.start(() => server.endpoint);
}, START_MS);
afterAll(async () => {
  await proxy?.stop();
  await bucket.stop();
  await rm(dir, { recursive: true, force: true });
});
beforeEach(async (context) => {
  if (bucket.missing) return context.skip(bucket.missing);
  ({ store: straight } = await bucket.fresh());
  behind = await openStore(straight.root, server.env(proxy.endpoint));
});
afterEach(() => {
  vi.useRealTimers();
  if (proxy) proxy.fault = () => null;
});

const bytes = Uint8Array.from({ length: 200_000 }, (_, i) => i % 251);
const large = new Uint8Array(50 << 20);
for (let i = 0; i < large.length; i += 4096) large[i] = i >> 12;

async function sentenceOf(action: Promise<unknown>): Promise<string> {
  const error = await action.then(
    () => new Error('it went well'),
    (caught) => caught,
  );
  expect(error).toBeInstanceOf(FoveaError);
  expect(error.message).not.toContain('\n');
  for (const secret of [server.accessKey, server.secretKey]) expect(error.message).not.toContain(secret);
  expect(error.cause).toBeUndefined();
  return error.message;
}

describe('what is wrong is said in a sentence without the credentials', () => {
  const open = (env: NodeJS.ProcessEnv, where = `s3://${BUCKET}/x`) =>
    sentenceOf(openStore(where, { ...server.env(), ...env }));

  test('no such bucket', async () => {
    expect(await open({}, 's3://no-such-bucket')).toMatch(
      /^The store at s3:\/\/no-such-bucket cannot be listed: there is no bucket no-such-bucket on http:.*; make it, or correct FOVEA_STORE/,
    );
  });
  test('wrong credentials', async () => {
    expect(await open({ AWS_SECRET_ACCESS_KEY: 'wrong' })).toMatch(
      /does not know these credentials; correct AWS_ACCESS_KEY_ID/,
    );
    expect(await open({ AWS_ACCESS_KEY_ID: 'wrong' })).toMatch(/does not know these credentials/);
  });
  test('nobody listens', async () => {
    expect(await open({ FOVEA_S3_ENDPOINT: 'http://127.0.0.1:1' })).toMatch(
      /http:\/\/127\.0\.0\.1:1 cannot be reached/,
    );
    expect(await open({ FOVEA_S3_ENDPOINT: 'http://no-such-host.invalid' })).toMatch(/cannot be reached/);
  });
  test('what waiting may mend is told from what it may not', async () => {
    const fault = (env: object) =>
      openStore(`s3://${BUCKET}/x`, { ...server.env(), ...env }).then(
        () => null,
        (caught) => caught,
      );
    expect(isAway(await fault({ FOVEA_S3_ENDPOINT: 'http://127.0.0.1:1' }))).toBe(true);
    expect(isAway(await fault({ AWS_SECRET_ACCESS_KEY: 'wrong' }))).toBe(false);
  });
  test('another region', async () => {
    expect(await open({ FOVEA_S3_REGION: 'eu-west-9' })).toMatch(/in another region; set FOVEA_S3_REGION/);
  });
  test('credentials in an address are refused and not repeated', async () => {
    const { accessKey, secretKey } = server;
    expect(await open({}, `s3://${accessKey}:${secretKey}@${BUCKET}/x`)).toMatch(/it is written s3:\/\/bucket\/prefix/);
    expect(await open({ FOVEA_S3_ENDPOINT: `http://${accessKey}:${secretKey}@127.0.0.1:1` })).toMatch(
      /without credentials/,
    );
  });
  test.each(['s3://', 's3://UPPER/x', 's3://ab', 's3://bucket/../x', 's3://bucket/x?y=1'])(
    'the address %s',
    async (where) => {
      expect(await open({}, where)).toMatch(/^That is no address of a store in S3/);
    },
  );
  test.each([
    [
      { status: 200, body: '<html><body>Welcome</body></html>' },
      /does not answer as an S3 server does; check FOVEA_S3_ENDPOINT/,
    ],
    [
      { status: 403, body: '<Error><Code>RequestTimeTooSkewed</Code></Error>' },
      /the clocks of this machine and of .* differ/,
    ],
    [
      { status: 403, body: '<Error><Code>AccessDenied</Code><Message>AKIA…</Message></Error>' },
      /these credentials may not do that/,
    ],
    [{ status: 400, body: '<Error><Code>ExpiredToken</Code></Error>' }, /the credentials have expired/],
    [{ status: 418, body: '' }, /answered 418/],
    [{ status: 507, body: '<Error><Code>InsufficientStorage</Code></Error>' }, /no space left/],
  ])('an answer of %j', async (answer, sentence) => {
    proxy.fault = () => ({ kind: 'answer', ...answer });
    expect(await sentenceOf(behind.listRefs(''))).toMatch(sentence);
  });
});

test('a clock that is an hour off is made up for', async () => {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 3600_000 });
  const skewed = await openStore(straight.root, server.env());
  const { sha256 } = await skewed.put(bytes);
  expect(await skewed.get(sha256)).toEqual(bytes);
});

test('answers of 503 are tried again, and a sentence where they do not end', async () => {
  let count = 0;
  proxy.fault = () =>
    ++count % 3 === 0 ? null : { kind: 'answer', status: 503, body: '<Error><Code>SlowDown</Code></Error>' };
  const { sha256 } = await behind.put(bytes);
  expect(await behind.get(sha256)).toEqual(bytes);
  expect(await behind.createRef('a.json', { n: 1 })).toBe(true);
  expect(count).toBeGreaterThanOrEqual(9);
  proxy.fault = () => ({ kind: 'answer', status: 500, body: '<Error><Code>InternalError</Code></Error>' });
  expect(await sentenceOf(behind.put(bytes))).toMatch(
    /cannot write blob .*: http:.* keeps answering 500 \(InternalError\); try again later/,
  );
  expect(await straight.get(sha256)).toEqual(bytes);
});

test('the answer to a conditional put gets lost: whoever wrote the ref still knows it', async () => {
  await behind.createRef('warm.json', {});
  let lost = 0;
  proxy.fault = (method, url) =>
    method === 'PUT' && url.includes('/refs/') && lost++ === 0 ? { kind: 'lose-answer' } : null;
  expect(await behind.createRef('a.json', { mine: true })).toBe(true);
  expect(lost).toBeGreaterThan(1);
  expect(await straight.createRef('a.json', { mine: false })).toBe(false);
  expect(await behind.createRef('a.json', { mine: true })).toBe(false);
  expect(await straight.readRef('a.json')).toEqual({ mine: true });
});

test('a body that breaks off is read on from there; one that always does is a sentence', async () => {
  const { sha256 } = await straight.put(bytes);
  const reads = () => proxy.seen.filter((each) => each.startsWith('GET') && each.includes(sha256)).length;
  proxy.seen.length = 0;
  let cuts = 0;
  proxy.fault = (method) => (method === 'GET' && cuts++ < 3 ? { kind: 'cut-body', after: 50_000 } : null);
  expect(await behind.get(sha256)).toEqual(bytes);
  expect(reads()).toBe(4);
  proxy.fault = (method) => (method === 'GET' ? { kind: 'cut-body', after: 0 } : null);
  expect(await sentenceOf(behind.get(sha256))).toMatch(/cannot read blob .* cannot be reached/);
});

test('a put that breaks off is tried again', async () => {
  let cuts = 0;
  proxy.fault = (method) => (method === 'PUT' && cuts++ < 2 ? { kind: 'cut-request', after: 1000 } : null);
  const { sha256 } = await behind.put(bytes);
  expect(await straight.get(sha256)).toEqual(bytes);
});

test('a slow way is slow and nothing else', async () => {
  proxy.fault = () => ({ kind: 'slow', ms: 50 });
  const { sha256 } = await behind.put(bytes);
  expect(await behind.get(sha256)).toEqual(bytes);
  expect(await behind.createRef('a.json', 1)).toBe(true);
});

test('a server that does not honour If-None-Match is refused before anything is committed', async () => {
  proxy.fault = (method, url) =>
    method === 'PUT' && url.includes('/tmp/probe-') ? { kind: 'answer', status: 200 } : null;
  expect(await sentenceOf(behind.createRef('a.json', {}))).toMatch(/does not honour If-None-Match/);
  expect(await straight.readRef('a.json')).toBeNull();
  proxy.fault = () => null;
  expect(await behind.createRef('a.json', {})).toBe(true);
});

describe('kill -9 of the server in the middle of a put in parts', () => {
  const sha256 = sha256Hex(large);
  /** Kills the server as the third part comes in. */
  const killing = () => {
    let dead: Promise<void> | null = null;
    proxy.fault = async (method, url) => {
      if (method === 'PUT' && /partNumber=3/.test(url) && !dead) await (dead = server.kill());
      return null;
    };
    return () => dead;
  };

  test('down for good: a sentence and no blob; up again: the put goes through, and the broken upload is cleared', async () => {
    const died = killing();
    expect(await sentenceOf(behind.put(large))).toMatch(/cannot write blob .*: http:.* cannot be reached/);
    expect(died()).not.toBeNull();
    await server.start();
    expect(await straight.has(sha256)).toBe(false);
    await expect(straight.get(sha256)).rejects.toThrow(/is missing from the store/);
    expect(await straight.tidy(Date.now() - 3600_000)).toBe(0);
    expect(await straight.tidy(Date.now() + 3600_000)).toBe(1);
    expect(await straight.tidy(Date.now() + 3600_000)).toBe(0);
    await behind.put(large);
    expect(Buffer.compare(await straight.get(sha256), large)).toBe(0);
  });

  test('up again within the retries: the same put goes through', async () => {
    const died = killing();
    const put = behind.put(large);
    put.catch(() => undefined);
    while (!died()) await sleep(20);
    await died();
    await server.start();
    await put;
    expect(Buffer.compare(await straight.get(sha256), large)).toBe(0);
    expect(await straight.tidy(Date.now() + 3600_000)).toBe(0);
  });
});

// Input of every kind over real HTTP: whatever it is, the answer is no fault of the server's, an error is one sentence
// without a stack, and the run that was there before is there afterwards.

import { request } from 'node:http';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type TestApi, testApi } from '../test-fixtures/api.ts';
import { RECIPE_TEXT, recipe } from '../test-fixtures/fleet.ts';

let api: TestApi;
beforeAll(async () => {
  api = await testApi();
});
afterAll(() => api.close());

const RUNS = 300;

interface Asked {
  method: string;
  path: string;
  headers?: Record<string, string>;
  body?: string | Uint8Array;
}

/** Sends a path as it is: fetch would mend it. */
function ask({ method, path, headers = {}, body }: Asked): Promise<{ status: number; text: string; type: string }> {
  return new Promise((resolve, reject) => {
    const sent = request(
      api.url,
      { method, path, headers: { authorization: `Bearer ${api.tokens.admin}`, ...headers } },
      (answer) => {
        let text = '';
        answer.on('data', (chunk) => (text += chunk));
        answer.on('end', () =>
          resolve({ status: answer.statusCode!, text, type: answer.headers['content-type'] ?? '' }),
        );
        answer.on('error', reject);
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

async function expectSane(asked: Asked): Promise<number> {
  const { status, text } = await ask(asked);
  expect(status, `${asked.method} ${asked.path}: ${text.slice(0, 300)}`).toBeLessThan(500);
  // The queue's own UI reads its errors by keys of its own.
  if (status >= 400 && !(asked.path.startsWith('/queues/api/') && text.includes('"key"'))) {
    const body = JSON.parse(text);
    expect(Object.keys(body)).toEqual(['error']);
    expect(body.error).toMatch(/\S.*[.?]$/s);
    expect(body.error).not.toMatch(/\n\s+at |node_modules|\.ts:/);
    expect(body.error.length).toBeLessThan(2000);
  }
  return status;
}

/** Parts of an address that have broken servers. */
const part = fc.oneof(
  fc.constantFrom(
    '..',
    '.',
    '',
    '%2e%2e',
    '%2e%2e%2f',
    '..%2f..%2fetc%2fpasswd',
    '%00',
    'x%00',
    '%',
    '%zz',
    '%ff',
    '%c0%af',
  ),
  fc.constantFrom(
    '__proto__',
    'constructor',
    'toString',
    '-',
    'a-',
    '~',
    ';',
    'run.json',
    'latest',
    '0'.repeat(64),
    'x'.repeat(500),
  ),
  fc.string({ unit: 'binary', maxLength: 40 }).map(encodeURIComponent_),
  fc.stringMatching(/^[!-~]{1,40}$/).filter((text) => !/[\s#]/.test(text)),
);
function encodeURIComponent_(text: string): string {
  return [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
}

test('any part of any address, in place of an id or a query', async () => {
  const query = fc.array(
    fc.tuple(fc.constantFrom('limit', 'before', 'after', 'status', 'metrics', 'follow', 'x', '__proto__'), part),
    {
      maxLength: 3,
    },
  );
  const asked = fc.tuple(fc.constantFrom(...api.app.access), fc.infiniteStream(part), query);
  await fc.assert(
    fc.asyncProperty(asked, async ([{ method, url }, parts, pairs]) => {
      const path = url.replace(/:\w+|\*/g, () => parts.next().value!);
      // A stream that is followed has no end to wait for.
      const known = path.includes('/events') && !path.includes('follow') ? ['follow=false'] : [];
      const search = [
        ...pairs.filter(([key]) => key !== 'follow').map(([key, value]) => `${key}=${value}`),
        ...known,
      ].join('&');
      await expectSane({ method, path: search ? `${path}?${search}` : path });
    }),
    { numRuns: RUNS },
  );
}, 120_000);

test('ids that would lead elsewhere in the store are refused and read nothing', async () => {
  const { id } = api.fleet.run;
  for (const path of [
    `..%2f${id}`,
    `${id}%2f..%2f${id}`,
    `${id}%00`,
    `${id}%2frun.json`,
    '..',
    '.',
    '%2e%2e',
    id.toUpperCase(),
  ]) {
    const status = await expectSane({ method: 'GET', path: `/v1/runs/${path}/summary` });
    expect([path, status]).toEqual([path, expect.toSatisfy((code: number) => code === 400 || code === 404)]);
  }
  // As browsers and proxies do before sending, `..` in the raw path is not resolved here.
  expect((await ask({ method: 'GET', path: `/v1/x/../runs/${id}` })).status).toBe(404);
});

test('any bytes as a body, of any type, for every route that takes one', async () => {
  const routes = api.app.access.filter(({ method, url }) => method !== 'GET' && url.startsWith('/v1/'));
  const type = fc.constantFrom(
    'application/json',
    'application/json; charset=utf-16',
    'text/plain',
    'application/x-yaml',
    'multipart/form-data',
    '',
    'x',
  );
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.json().map((text) => Buffer.from(text)),
    fc
      .constantFrom('{"__proto__":{}}', '[', 'null', '""', '{"priority":1e999}', '{"deadline":"0000"}')
      .map((text) => Buffer.from(text)),
  );
  const seen = new Set<number>();
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...routes), type, body, async ({ method, url }, kind, bytes) => {
      const path = url.replace(':id', api.fleet.run.id);
      const headers: Record<string, string> = kind ? { 'content-type': kind } : {};
      seen.add(await expectSane({ method, path, headers, body: bytes }));
    }),
    { numRuns: RUNS },
  );
  expect([...seen]).toEqual(expect.arrayContaining([400, 415]));
}, 120_000);

/** A recipe with something else in one place. */
const mutated = fc.tuple(fc.nat(), fc.anything({ maxDepth: 2 })).map(([at, value]) => {
  const copy = structuredClone(recipe) as unknown as Record<string, unknown>;
  const places: [Record<string, unknown>, string][] = [];
  const walk = (holder: Record<string, unknown>) => {
    for (const key of Object.keys(holder)) {
      places.push([holder, key]);
      if (typeof holder[key] === 'object' && holder[key] !== null) walk(holder[key] as Record<string, unknown>);
    }
  };
  walk(copy);
  const [holder, key] = places[at % places.length];
  holder[key] = value;
  return copy;
});

test('recipes with a fault anywhere, as documents and as text with bytes changed', async () => {
  const json = (value: unknown) => JSON.stringify(value, (_key, each) => (typeof each === 'bigint' ? `${each}` : each));
  const scrambled = fc
    .tuple(fc.nat(RECIPE_TEXT.length - 1), fc.nat(20), fc.string({ unit: 'binary', maxLength: 20 }))
    .map(([at, length, text]) => ({ recipe: RECIPE_TEXT.slice(0, at) + text + RECIPE_TEXT.slice(at + length) }));
  const submission = fc.oneof(
    mutated.map((document) => ({ recipe: document })),
    scrambled,
    fc.record({ preset: fc.constant('smoke'), set: fc.array(fc.string({ unit: 'binary' }), { maxLength: 3 }) }),
    fc
      .tuple(fc.stringMatching(/^[\w.]{1,30}$/), fc.string())
      .map(([key, value]) => ({ preset: 'smoke', set: [`${key}=${value}`] })),
  );
  const seen = new Set<number>();
  await fc.assert(
    fc.asyncProperty(submission, async (body) => {
      const headers = { 'content-type': 'application/json' };
      seen.add(await expectSane({ method: 'POST', path: '/v1/runs', headers, body: json(body) }));
    }),
    { numRuns: RUNS },
  );
  expect([...seen].sort()).toEqual([201, 400]);
}, 120_000);

test('after all of it the server answers, and the run is as it was', async () => {
  const { run } = api.fleet;
  expect(await (await api.call('/readyz')).json()).toEqual({ status: 'ok' });
  const shown = (await (await api.call(`/v1/runs/${run.id}`)).json()) as { recipe: object };
  expect(shown.recipe).toEqual(run.recipe);
  expect(Object.keys({}.constructor.prototype)).toEqual([]);
  expect(api.log.filter((line) => JSON.parse(line).level >= 50)).toEqual([]);
});

import { writeFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { connect as connectSocket } from 'node:net';
import path from 'node:path';
import { isUserError } from '@fovea/artifacts';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type TestApi, testApi } from '../test-fixtures/api.ts';
import { createApi, makeToken, parseTokens, SCOPES, serveApi, tokensOf } from './index.ts';

let api: TestApi;
beforeAll(async () => {
  api = await testApi();
});
afterAll(() => api.close());

const json = async (answer: Response) => [answer.status, ((await answer.json()) as { error: string }).error];

/** A route's address with its parameters filled in. */
function filled(url: string): string {
  const id = /checkpoints|scorecards\/:id/.test(url) && !url.includes('runs') ? '0'.repeat(64) : api.fleet.run.id;
  return `${url.replace(':id', id).replace('*', 'css/x.css').replace(/:\w+/g, 'x')}${url.endsWith('/events') ? '?follow=false' : ''}`;
}

test('every route lets in who has its scope or admin, and nobody else', async () => {
  const board = { queues: () => [api.fleet.queue], writable: true };
  const served = await serveApi({
    backend: api.fleet.backend,
    auth: { tokens: parseTokens(lines().join('\n'), 'x') },
    port: 0,
    limits: { perIp: 1e9, perToken: 1e9 },
    board,
  });
  const table = served.app.access;
  expect(table.length).toBeGreaterThan(60);
  const seen: Record<string, number> = {};
  for (const { method, url, scope } of table) {
    const ask = async (token: string | null) => {
      const headers: Record<string, string> = token === null ? {} : { authorization: `Bearer ${token}` };
      const answer = await fetch(served.url + filled(url), { method, headers });
      await answer.arrayBuffer();
      return answer.status;
    };
    const open = scope === 'anybody';
    const expected = (holder: string) => open || holder === scope || holder === 'admin';
    for (const [holder, token] of Object.entries(made)) {
      const status = await ask(token);
      const what = `${method} ${url} with ${holder}: ${status}`;
      if (expected(holder)) expect([401, 403], what).not.toContain(status);
      else expect(status, what).toBe(403);
    }
    for (const stranger of [null, 'fovea_unknown', '']) {
      const status = await ask(stranger);
      if (open) expect(status).toBe(200);
      else expect(status, `${method} ${url} with ${stranger}`).toBe(401);
    }
    seen[scope] = (seen[scope] ?? 0) + 1;
  }
  expect(Object.keys(seen).sort()).toEqual(['admin', 'anybody', 'operate', 'read', 'submit']);
  expect(seen.anybody).toBe(2);
  await served.close();
}, 120_000);

const made: Record<string, string> = {};
function lines(): string[] {
  return SCOPES.map((scope) => {
    const { token, line } = makeToken(`m-${scope}`, [scope]);
    made[scope] = token;
    return line;
  });
}

test('a route that does not say who may call it keeps the server from starting', async () => {
  const app = await createApi({ backend: api.fleet.backend, auth: { tokens: [] } });
  expect(() => app.get('/oops', async () => 'x')).toThrow(/GET \/oops does not say/);
  await app.close();
});

describe('tokens', () => {
  test('one that is made is known by its line alone, until it expires', async () => {
    const { token, line } = makeToken('ci', ['read'], '2027-01-31');
    expect(line).not.toContain(token.slice(6));
    let now = Date.parse('2027-01-30T23:59:59Z');
    const served = await api.another({ auth: { tokens: parseTokens(line, 'x') }, now: () => now });
    const ask = () => fetch(`${served.url}/v1/recipes`, { headers: { authorization: `Bearer ${token}` } });
    expect((await ask()).status).toBe(200);
    now += 1000;
    expect(await json(await ask())).toEqual([401, expect.stringMatching(/not known here, or it has expired/)]);
    await served.close();
  });

  test('a browser sends one as the password of Basic, and is asked for it under /queues', async () => {
    const basic = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString('base64')}` });
    const ask = (headers: Record<string, string>) => fetch(`${api.url}/queues/`, { headers });
    expect((await ask(basic(`me:${api.tokens.read}`))).status).toBe(200);
    expect((await ask(basic(`${api.tokens.read}:x`))).status).toBe(401);
    expect((await ask({})).headers.get('www-authenticate')).toBe('Basic realm="fovea"');
    expect((await fetch(`${api.url}/v1/runs`)).headers.get('www-authenticate')).toBe('Bearer realm="fovea"');
  });

  test.each([
    ['x:read', /third field/],
    ['x:dance:' + '0'.repeat(64), /scopes must be/],
    ['x::' + '0'.repeat(64), /scopes must be/],
    ['x y:read:' + '0'.repeat(64), /name must be/],
    ['x:read:' + '0'.repeat(64) + ':soon', /fourth field/],
    ['x:read:' + '0'.repeat(64) + '\nx:read:' + '1'.repeat(64), /stands there twice/],
    ['x:read:fovea_secretsecret', /third field/],
  ])('%j is refused by its line and not repeated', (line, sentence) => {
    const refuse = () => parseTokens(`# ours\n${line}`, 'tokens.txt');
    expect(refuse).toThrow(sentence);
    expect(refuse).toThrow(/^Line [23] of tokens.txt/);
    expect(refuse).not.toThrow(/secretsecret/);
  });

  test('they come from the environment and from a file', async () => {
    const [a, b] = [makeToken('a', ['read']), makeToken('b', ['submit', 'operate'])];
    const file = path.join(api.dir, 'tokens');
    await writeFile(file, `# people\n\n${b.line}\n`);
    const tokens = await tokensOf({ FOVEA_API_TOKENS: `${a.line};`, FOVEA_API_TOKENS_FILE: file });
    expect(tokens.map(({ name, scopes }) => [name, scopes])).toEqual([
      ['a', ['read']],
      ['b', ['submit', 'operate']],
    ]);
    expect(await tokensOf({})).toEqual([]);
    const missing = await tokensOf({ FOVEA_API_TOKENS_FILE: '/no/such' }).catch((error) => error);
    expect(isUserError(missing) && missing.message).toMatch(/"\/no\/such", cannot be read: ENOENT/);
  });
});

test('the log knows who did what, and never a token', async () => {
  const { id } = api.fleet.run;
  await api.send('POST', `/v1/runs/${id}/pause`, undefined, api.tokens.operate);
  await api.call(`/v1/runs?token=${api.tokens.read}`);
  await api.call('/v1/runs', { token: 'fovea_wrong-guess' });
  await api.call('/v1/runs', { token: '', headers: { cookie: `t=${api.tokens.read}` } });
  const text = api.log.join('');
  expect(text).toContain(`"caller":"a-operate","run":"${id}","msg":"pause"`);
  for (const secret of [...Object.values(api.tokens), 'wrong-guess']) expect(text).not.toContain(secret);
});

test('it listens elsewhere only with tokens, and an address that is taken is a sentence', async () => {
  const base = { backend: api.fleet.backend, port: 0 };
  const { line } = makeToken('a', ['read']);
  const tokens = parseTokens(line, 'x');
  for (const host of ['0.0.0.0', '::', '192.0.2.1', 'example.org', ''])
    await expect(serveApi({ ...base, auth: { tokens: [] }, host })).rejects.toThrow(
      /does not listen on .* while there are no tokens/,
    );
  await expect(serveApi({ ...base, auth: { tokens, anonymous: ['read'] }, host: '0.0.0.0' })).rejects.toThrow(/let in/);
  const open = await serveApi({ ...base, auth: { tokens }, host: '0.0.0.0' });
  await open.close();
  const { port } = new URL(api.url);
  await expect(serveApi({ ...base, auth: { tokens }, port: Number(port) })).rejects.toThrow(/EADDRINUSE/);
});

/** A GET whose Host header fetch would not let us choose. */
function askAs(url: string, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    httpRequest(url, { headers: { host } }, (answer) => {
      answer.resume();
      resolve(answer.statusCode!);
    })
      .on('error', reject)
      .end();
  });
}

test('without a token nothing is let in by default; what is let in must call it localhost', async () => {
  const closed = await api.another({ auth: { tokens: [] } });
  expect((await fetch(`${closed.url}/v1/runs`)).status).toBe(401);
  await closed.close();
  const open = await api.another({ auth: { tokens: [], anonymous: ['read'] } });
  expect((await fetch(`${open.url}/v1/runs`)).status).toBe(200);
  expect((await fetch(`${open.url}/v1/runs/${api.fleet.run.id}/pause`, { method: 'POST' })).status).toBe(401);
  const { port } = new URL(open.url);
  const statuses = await Promise.all(
    [`localhost:${port}`, '[::1]', 'evil.example', '127.0.0.1.evil.example', `localhost.evil:${port}`].map((host) =>
      askAs(`${open.url}/v1/runs`, host),
    ),
  );
  expect(statuses).toEqual([200, 200, 403, 403, 403]);
  await open.close();
});

test('a page of another site cannot send commands, and none is told that it may read', async () => {
  const pause = (headers: Record<string, string>) =>
    api.call(`/v1/runs/${api.fleet.run.id}/pause`, { method: 'POST', headers });
  expect((await pause({ origin: api.url })).status).toBe(202);
  for (const headers of [
    { origin: 'https://evil.example' },
    { origin: 'null' },
    { origin: api.url.replace('http', 'https') },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
  ] as Record<string, string>[])
    expect(await json(await pause(headers))).toEqual([403, expect.stringMatching(/another site/)]);
  const read = await api.call('/v1/runs', { headers: { origin: 'https://evil.example' } });
  expect(read.headers.get('access-control-allow-origin')).toBeNull();
  const preflight = await api.call('/v1/runs', {
    method: 'OPTIONS',
    headers: { origin: 'https://evil.example', 'access-control-request-method': 'POST' },
  });
  expect(preflight.headers.get('access-control-allow-origin')).toBeNull();
  for (const [name, value] of Object.entries({
    'content-security-policy': "default-src 'none';frame-ancestors 'none'",
    'x-content-type-options': 'nosniff',
    'cache-control': 'no-store',
    'x-powered-by': null,
  }))
    expect(read.headers.get(name)).toBe(value);
});

test('too many requests are refused for a token and for an address, and another token goes on', async () => {
  const served = await api.another({ limits: { perToken: 3, perIp: 12 } });
  const ask = async (token?: string) => {
    const answer = await fetch(`${served.url}/v1/recipes`, {
      headers: token ? { authorization: `Bearer ${token}` } : {},
    });
    return [answer.status, answer.headers.get('retry-after')];
  };
  const statuses = [];
  for (let i = 0; i < 5; i++) statuses.push((await ask(api.tokens.read))[0]);
  expect(statuses).toEqual([200, 200, 200, 429, 429]);
  expect((await ask(api.tokens.admin))[0]).toBe(200);
  for (let i = 0; i < 6; i++) await ask('wrong');
  const [status, retry] = await ask(api.tokens.admin);
  expect(status).toBe(429);
  expect(Number(retry)).toBeGreaterThan(0);
  expect((await fetch(`${served.url}/no/such/route`)).status).toBe(429);
  await served.close();
});

/** What the server says to bytes as they are. */
function raw(text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const { port } = new URL(api.url);
    const socket = connectSocket(Number(port), '127.0.0.1', () => socket.write(text));
    let answer = '';
    socket.on('data', (chunk) => (answer += chunk));
    socket.on('close', () => resolve(answer));
    socket.on('error', reject);
  });
}

test('what is no HTTP, or too much of it, is a sentence', async () => {
  const garbage = await raw('\x16\x03\x01hello\r\n\r\n');
  expect(garbage).toMatch(
    /^HTTP\/1.1 400 Bad Request\r\n[\s\S]*\{"error":"This is no HTTP request: check the client."\}$/,
  );
  const headers = await raw(`GET /healthz HTTP/1.1\r\nhost: x\r\nx-big: ${'x'.repeat(20_000)}\r\n\r\n`);
  expect(headers).toMatch(/^HTTP\/1.1 431/);
  const smuggled = await raw(
    'POST /v1/runs HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
  );
  expect(smuggled).toMatch(/^HTTP\/1.1 400/);
});

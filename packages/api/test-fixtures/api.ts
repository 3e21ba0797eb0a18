// A served API over the test fleet, and how tests call it.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Scope, type ServeOptions, serveApi } from '../src/index.ts';
import { type TestFleet, testFleet, testTokens } from './fleet.ts';

export interface TestApi {
  dir: string;
  fleet: TestFleet;
  url: string;
  app: Awaited<ReturnType<typeof serveApi>>['app'];
  tokens: Record<Scope, string>;
  /** Lines of the server's log. */
  log: string[];
  /** Calls with the admin token unless another is given; an empty one for none. */
  call(url: string, init?: RequestInit & { token?: string }): Promise<Response>;
  send(method: string, url: string, body?: unknown, token?: string): Promise<Response>;
  /** Another server over the same fleet. */
  another(options: Partial<ServeOptions>): Promise<{ url: string; close(): Promise<void> }>;
  close(): Promise<void>;
}

export async function testApi(options: Partial<ServeOptions> = {}): Promise<TestApi> {
  const dir = await mkdtemp(path.join(tmpdir(), 'fovea-api-'));
  const fleet = await testFleet(dir);
  const { tokens, auth } = testTokens();
  const log: string[] = [];
  const base: ServeOptions = {
    backend: fleet.backend,
    auth,
    port: 0,
    limits: { perIp: 1e9, perToken: 1e9, followersPerCaller: 100 },
    roots: [dir],
    board: { queues: () => [fleet.queue] },
    log: { write: (line) => void log.push(line) },
  };
  const api = await serveApi({ ...base, ...options });
  const call: TestApi['call'] = (url, { token = tokens.admin, ...init } = {}) =>
    fetch(api.url + url, {
      ...init,
      headers: { ...(token ? { authorization: `Bearer ${token}` } : {}), ...init.headers },
    });
  const send: TestApi['send'] = (method, url, body, token) => {
    if (body === undefined) return call(url, { method, token });
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    return call(url, { method, token, body: text, headers: { 'content-type': 'application/json' } });
  };
  const close = async () => {
    await api.close();
    await fleet.close();
    await rm(dir, { recursive: true, force: true });
  };
  const another: TestApi['another'] = (changes) => serveApi({ ...base, ...changes });
  return { dir, fleet, url: api.url, app: api.app, tokens, log, call, send, another, close };
}

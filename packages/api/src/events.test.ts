import { connect as connectSocket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { keys, publishEvent, type RunEvent } from '@fovea/jobs';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type TestApi, testApi } from '../test-fixtures/api.ts';
import { PREFIX, testRun } from '../test-fixtures/fleet.ts';
import { redisEvents } from './events.ts';

let api: TestApi;
let id: string;
let published = 0;
beforeAll(async () => {
  api = await testApi({ limits: { pollMs: 10, heartbeatMs: 200, stallMs: 300, followers: 6, followersPerCaller: 4 } });
});
afterAll(() => api.close());
beforeEach(async () => {
  ({
    run: { id },
  } = await testRun(api.fleet.store.root));
  published = 0;
});

const event = (n: number, size = 0): RunEvent => ({ type: 'failed', message: `${n}:${'x'.repeat(size)}`, user: false });
const publish = async (count: number, size = 0) => {
  for (let i = 0; i < count; i++)
    await publishEvent({ redis: api.fleet.redis, prefix: PREFIX }, id, event(published++, size));
};

interface Sent {
  id: string;
  event: string;
  data: { message?: string; after?: string };
}

/** Reads a stream until `enough`, then goes away in the middle of whatever comes. */
async function follow(
  options: { after?: string; query?: string; token?: string },
  enough: (sent: Sent[], text: string) => boolean,
): Promise<{ sent: Sent[]; text: string; status: number }> {
  const away = new AbortController();
  const headers: Record<string, string> = options.after ? { 'last-event-id': options.after } : {};
  const answer = await api.call(`/v1/runs/${id}/events${options.query ?? ''}`, {
    token: options.token,
    headers,
    signal: away.signal,
  });
  let text = '';
  const decoder = new TextDecoder();
  try {
    for await (const chunk of answer.body!) {
      text += decoder.decode(chunk, { stream: true });
      if (enough(parse(text), text)) break;
    }
  } finally {
    away.abort();
  }
  return { sent: parse(text), text, status: answer.status };
}

/** What a browser's EventSource would have handed on: only blocks that are whole. */
function parse(text: string): Sent[] {
  return text
    .split('\n\n')
    .slice(0, -1)
    .filter((block) => block.includes('data:'))
    .map((block) => {
      const fields = Object.fromEntries(
        block.split('\n').map((line) => [line.split(': ')[0], line.slice(line.indexOf(': ') + 2)]),
      );
      return { id: fields.id, event: fields.event, data: JSON.parse(fields.data) };
    });
}

const numbers = (sent: Sent[]) => sent.map(({ data }) => Number(data.message?.split(':')[0]));
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i);

test('events come in order with what a client needs to come back, those to come too', async () => {
  await publish(450);
  const reading = follow({}, (sent) => sent.length === 460);
  await sleep(300);
  await publish(10);
  const { sent, text } = await reading;
  expect(numbers(sent)).toEqual(upTo(460));
  expect(text).toMatch(/^retry: 2000\n\nid: \d+-\d+\nevent: failed\ndata: \{/);
  expect(new Set(sent.map((each) => each.id)).size).toBe(460);
});

test('a client that is cut off anywhere and comes back loses nothing and sees nothing twice', async () => {
  const TOTAL = 600;
  const publishing = publish(TOTAL, 300);
  const seen: number[] = [];
  let after: string | undefined;
  let visits = 0;
  while (seen.length < TOTAL) {
    const most = 1 + ((visits++ * 37) % 90);
    const { sent } = await follow({ after }, (all) => all.length >= Math.min(most, TOTAL - seen.length));
    // Whoever dies in the middle of a batch has handled only a part of what arrived.
    const handled = sent.slice(0, most);
    seen.push(...numbers(handled));
    after = handled.at(-1)?.id ?? after;
  }
  await publishing;
  expect(visits).toBeGreaterThan(10);
  expect(seen).toEqual(upTo(TOTAL));
});

test('?after starts behind an event, Last-Event-ID wins over it, and follow=false ends', async () => {
  await publish(5);
  const all = await follow({ query: '?follow=false' }, () => false);
  expect(numbers(all.sent)).toEqual(upTo(5));
  const [, second, , fourth] = all.sent.map((each) => each.id);
  const behind = await follow({ query: `?after=${second}&follow=false` }, () => false);
  expect(numbers(behind.sent)).toEqual([2, 3, 4]);
  const header = await follow({ after: fourth, query: `?after=${second}&follow=false` }, () => false);
  expect(numbers(header.sent)).toEqual([4]);
});

test('events that were dropped since the last visit are told as a gap, none where none were', async () => {
  await publish(10);
  const { sent } = await follow({ query: '?follow=false' }, () => false);
  await api.fleet.redis.xtrim(keys.events(PREFIX, id), 'MAXLEN', 4);
  const [late, current] = await Promise.all(
    [sent[2].id, sent[7].id].map((after) => follow({ after, query: '?follow=false' }, () => false)),
  );
  expect(late.sent[0]).toMatchObject({ event: 'gap', data: { after: sent[2].id } });
  expect(late.sent[0].id).toBeUndefined();
  expect(numbers(late.sent.slice(1))).toEqual([6, 7, 8, 9]);
  expect(numbers(current.sent)).toEqual([8, 9]);
});

test('a quiet stream says that it is still there', async () => {
  const { text } = await follow({}, (_sent, so) => so.split(': still here').length > 3);
  expect(text).toBe('retry: 2000\n\n: still here\n\n: still here\n\n: still here\n\n');
});

test.each(['x', '1-', '$', '+', '-1', '1-2-3', '9'.repeat(40), '0 COUNT 5'])(
  'the Last-Event-ID %j is a sentence',
  async (after) => {
    const answer = await api.call(`/v1/runs/${id}/events?follow=false`, { headers: { 'last-event-id': after } });
    expect(answer.status).toBe(400);
    expect(await answer.json()).toEqual({ error: expect.stringMatching(/^The Last-Event-ID is no id/) });
    const query = await api.call(`/v1/runs/${id}/events?follow=false&after=${encodeURIComponent(after)}`);
    expect(query.status).toBe(400);
  },
);

test('so many follow and no more, for one caller and in all; whoever leaves makes room', async () => {
  const open = async (token: string) => {
    const away = new AbortController();
    const { status } = await api.call(`/v1/runs/${id}/events`, { token, signal: away.signal });
    return { status, leave: () => away.abort() };
  };
  const first = [];
  for (let i = 0; i < 5; i++) first.push(await open(api.tokens.read));
  expect(first.map(({ status }) => status)).toEqual([200, 200, 200, 200, 429]);
  const second = [];
  for (let i = 0; i < 3; i++) second.push(await open(api.tokens.admin));
  expect(second.map(({ status }) => status)).toEqual([200, 200, 503]);
  for (const { leave } of [...first, ...second]) leave();
  await expect.poll(async () => (await open(api.tokens.read)).status).toBe(200);
});

test('a client that stops reading is let go, and holds no more than a batch meanwhile', async () => {
  await publish(1200, 8000);
  const { port } = new URL(api.url);
  const stalled = connectSocket(Number(port), '127.0.0.1');
  stalled.write(`GET /v1/runs/${id}/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${api.tokens.read}\r\n\r\n`);
  stalled.pause();
  const before = process.memoryUsage().rss;
  await expect
    .poll(() => api.log.filter((line) => line.includes('stopped reading')).length, { timeout: 10_000 })
    .toBe(1);
  expect(process.memoryUsage().rss - before).toBeLessThan(50e6);
  stalled.destroy();
}, 60_000);

test('a Redis that is gone is a sentence with 503, and no run at all is 404', async () => {
  expect((await api.call('/v1/runs/nope/events')).status).toBe(404);
  const gone = new Redis({
    path: '/nowhere/redis.sock',
    lazyConnect: true,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  gone.on('error', () => undefined);
  const other = await api.another({
    backend: { ...api.fleet.backend, events: redisEvents({ redis: gone, prefix: PREFIX }) },
  });
  const answer = await fetch(`${other.url}/v1/runs/${id}/events`, {
    headers: { authorization: `Bearer ${api.tokens.read}` },
  });
  expect([answer.status, await answer.json()]).toEqual([
    503,
    { error: expect.stringMatching(/^Redis does not answer/) },
  ]);
  await other.close();
});

test('a Redis that hangs is given up in time, and answers again when it is back', async () => {
  const other = await api.another({ limits: { answerMs: 300 } });
  const ask = async (path: string) => {
    const answer = await fetch(other.url + path, { headers: { authorization: `Bearer ${api.tokens.read}` } });
    return [answer.status, (await answer.json()) as object];
  };
  const pid = api.fleet.server.ownedPid!;
  process.kill(pid, 'SIGSTOP');
  try {
    const late = { error: 'Redis or the store did not answer in time: nothing is lost; try again later.' };
    expect(await ask(`/v1/runs/${id}/events?follow=false`)).toEqual([503, late]);
    expect(await ask('/readyz')).toEqual([503, late]);
    expect((await ask(`/v1/runs/${id}/rounds`))[0]).toBe(200);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  await expect.poll(() => ask('/readyz'), { timeout: 5000 }).toEqual([200, { status: 'ok' }]);
  await other.close();
});

test('closing the server ends every stream at once', async () => {
  const other = await api.another({});
  const answer = await fetch(`${other.url}/v1/runs/${id}/events`, {
    headers: { authorization: `Bearer ${api.tokens.read}` },
  });
  const reading = answer.text().catch(() => 'cut');
  const began = performance.now();
  await other.close();
  await reading;
  expect(performance.now() - began).toBeLessThan(3000);
});

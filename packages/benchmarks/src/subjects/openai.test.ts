// The OpenAI-compatible subject against a real HTTP server that speaks the protocol around our own tiny language models, and
// that is busy, broken, slow or hostile when told to be.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text as textOf } from 'node:stream/consumers';
import { decodePicture } from '@fovea/data';
import { type LanguageModel, openLanguageModel } from '@fovea/models';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { languageModelSubject } from './language-model.ts';
import { serverSubject } from './openai.ts';
import { promptIds } from './prompt.ts';
import type { Request, Subject } from './subject.ts';
import { about, folderOf, pictureOf, requestOf, suiteOf } from './testing.ts';

const KEY = 'sk-secret-0123456789';
const NAME = 'tiny';
type Handler = (request: IncomingMessage, response: ServerResponse) => void;

let model: LanguageModel;
let base: string;
/** What to do with the next requests for completions, before answering properly. */
let faults: Handler[] = [];
let asked: { url?: string; authorization?: string; pictures: number }[] = [];
let reports = { models: true, logprobs: true, name: NAME };

const json = (response: ServerResponse, value: unknown, status = 200, headers = {}) =>
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));

/** One after the other: the model reads one text at a time. */
let queue = Promise.resolve();

const server = createServer((request, response) => {
  const { url, headers } = request;
  if (url === '/v1/models') {
    asked.push({ url, authorization: headers.authorization, pictures: 0 });
    return reports.models
      ? json(response, { object: 'list', data: [{ id: NAME, object: 'model', created: Date.now(), owned_by: 'us' }] })
      : json(response, {}, 404);
  }
  queue = queue
    .then(() => complete(request, response))
    .catch((error) => void json(response, { error: String(error) }, 500));
});

async function complete(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = JSON.parse(await textOf(request));
  const parts: { type: string; text?: string; image_url?: { url: string } }[] = body.messages.at(-1).content;
  const picture = parts.find(({ type }) => type === 'image_url')!.image_url!.url;
  const { width, height, data } = await decodePicture(Buffer.from(picture.split(',')[1], 'base64'), {
    where: 'request',
  });
  const isOurs = [0, 1, 2].some(
    (i) =>
      Buffer.compare(pictureOf(i).data, data) === 0 && pictureOf(i).width === width && pictureOf(i).height === height,
  );
  asked.push({ url: request.url, authorization: request.headers.authorization, pictures: isOurs ? 1 : 0 });
  const fault = faults.shift();
  if (fault) return fault(request, response);
  const reader = model.reader(400);
  let logits = await reader.read(promptIds(model, parts.at(-1)!.text!, null));
  const all = Math.log(logits.reduce((sum, x) => sum + Math.exp(x), 0));
  const top = [...logits.keys()].sort((a, b) => logits[b] - logits[a]).slice(0, body.top_logprobs);
  // As servers do: the text of each token.
  const top_logprobs = top.map((id) => ({ token: model.tokenizer.decode([id]), logprob: logits[id] - all }));
  const said: number[] = [];
  for (;;) {
    said.push(logits.indexOf(Math.max(...logits)));
    if (said.length === body.max_tokens) break;
    logits = await reader.step(said[said.length - 1]);
  }
  json(response, {
    model: reports.name,
    choices: [
      {
        index: 0,
        finish_reason: 'length',
        message: { role: 'assistant', content: model.tokenizer.decode(said) },
        ...(body.logprobs && reports.logprobs ? { logprobs: { content: [{ ...top_logprobs[0], top_logprobs }] } } : {}),
      },
    ],
    usage: { completion_tokens: said.length },
  });
}

const requests: Request[] = about.llama
  .slice(0, 3)
  .map(({ question }, i) => requestOf(`${i}`, { kind: 'yesno', question, gold: 'yes' }, i));
const suite = suiteOf(requests);
const waits: number[] = [];

async function open(options: Partial<Parameters<typeof serverSubject>[0]> = {}): Promise<Subject> {
  const wait = async (ms: number) => waits.push(ms);
  const subject = await serverSubject({
    baseUrl: base,
    model: NAME,
    maxTokens: 6,
    env: {},
    timeoutMs: 20_000,
    wait,
    ...options,
  });
  await subject.prepare(suite, {});
  return subject;
}

describe('a language model behind a server', () => {
  beforeAll(async () => {
    model = await openLanguageModel(folderOf('llama'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  });
  afterAll(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await model.dispose();
  });
  beforeEach(() => {
    [faults, asked, waits.length] = [[], [], 0];
    reports = { models: true, logprobs: true, name: NAME };
  });

  it('is scored as the same model is that we run ourselves', async () => {
    const subject = await open({ topLogprobs: 1000 });
    const answers = await subject.answer(requests, {});
    const own = await languageModelSubject(folderOf('llama'));
    await own.prepare(suite, {});
    const wanted = await own.answer(requests, {});
    await own.dispose();
    answers.forEach((answer, i) => {
      const [a, b] = [answer, wanted[i]].map((each) => (each.kind === 'scores' ? each.scores : []));
      expect(a.length).toBe(2);
      for (const [j, score] of a.entries()) expect(score).toBeCloseTo(b[j], 4);
    });
    expect(asked.filter(({ pictures }) => pictures === 1).length).toBe(3);
  });

  it('answers in words where neither yes nor no is among the likeliest, or there are no log-probabilities', async () => {
    const wanted = { kind: 'text', tokens: 6, finish: 'length' };
    expect(await (await open({ topLogprobs: 2 })).answer(requests, {})).toMatchObject([wanted, wanted, wanted]);
    reports.logprobs = false;
    const said = await (await open()).answer(requests, {});
    expect(said).toMatchObject([wanted, wanted, wanted]);
    expect(await (await open({ answers: 'text' })).answer(requests, {})).toEqual(said);
  });

  it('is asked again after 429, 500, garbage and half an answer, ever later, and no later than the server says', async () => {
    faults = [
      (_, response) => json(response, { error: 'slow down' }, 429, { 'retry-after': '7' }),
      (_, response) => json(response, { error: 'oops' }, 500),
      (_, response) => response.end('<html>not JSON'),
    ];
    const subject = await open({ concurrency: 1, topLogprobs: 1000, delayMs: 100 });
    const [answer] = await subject.answer([requests[0]], {});
    expect(answer.kind).toBe('scores');
    expect(waits.length).toBe(3);
    expect(waits[0]).toBe(7000);
    expect(waits[1]).toBeGreaterThanOrEqual(100);
    expect(waits[1]).toBeLessThan(300);
    expect(waits[2]).toBeGreaterThanOrEqual(200);
    expect(waits[2]).toBeLessThan(600);
    faults = [(_, response) => json(response, { choices: [] })];
    expect((await subject.answer([requests[1]], {}))[0].kind).toBe('scores');
    // The same question waits the same.
    const before = waits.slice(1, 3);
    [faults, waits.length] = [Array<Handler>(2).fill((_, response) => json(response, {}, 503)), 0];
    await subject.answer([requests[0]], {});
    expect(waits[1]).toBe(before[0]);
  });

  it.each<[string, Handler, RegExp, object]>([
    [
      'is too long',
      (_, response) => void response.end(`"${'x'.repeat(200_000)}"`),
      /more than 100000 bytes/,
      { maxBytes: 100_000 },
    ],
    ['never comes', () => undefined, /gave no answer in 300 ms/, { timeoutMs: 300 }],
    ['is no JSON', (_, response) => void response.end('hello'), /not JSON/, {}],
    ['has no choices', (_, response) => void json(response, { choices: [] }), /choices/, {}],
    [
      'is a fault of the question',
      (_, response) => void json(response, { error: 'too long' }, 400),
      /400 \(.*too long/,
      {},
    ],
  ])('is an error row where an answer %s, and the others go on', async (_name, fault, message, options) => {
    const subject = await open({ concurrency: 1, attempts: 2, topLogprobs: 1000, ...options });
    faults = [fault, fault];
    if (/400/.test(message.source)) faults.pop();
    const [bad, good] = await subject.answer([requests[0], requests[1]], {});
    expect(bad).toMatchObject({ kind: 'error', message: expect.stringMatching(message) });
    expect(good.kind).toBe('scores');
  });

  it('keeps its key to itself, even where the server says it aloud', async () => {
    const subject = await open({ env: { OPENAI_API_KEY: KEY } });
    faults = [(_, response) => json(response, { error: `wrong key ${KEY}` }, 401)];
    const failure = await subject.answer([requests[0]], {}).catch((error: Error) => error);
    expect(String(failure)).toMatch(/401 .*wrong key ….*check the key/);
    expect(JSON.stringify([failure, String(failure), (failure as Error).stack, subject.identity])).not.toContain(KEY);
    expect(asked.every(({ authorization }) => authorization === `Bearer ${KEY}`)).toBe(true);
    await (await open()).answer([requests[0]], {});
    expect(asked.at(-1)?.authorization).toBeUndefined();
    await expect(open({ env: { OPENAI_API_KEY: `${KEY}\nx: y` } })).rejects.toThrow(/^(?!.*secret).*holds spaces/);
  });

  it('does not follow elsewhere, does not mix two models, and ends where nobody answers', async () => {
    const subject = await open({ attempts: 2 });
    faults = Array<Handler>(2).fill(
      (_, response) => void response.writeHead(307, { location: 'http://example.invalid/' }).end(),
    );
    await expect(subject.answer([requests[0]], {})).rejects.toThrow(/cannot be reached/);
    faults = [];
    const steady = await open({ concurrency: 1 });
    await steady.answer([requests[0]], {});
    reports.name = 'other';
    await expect(steady.answer([requests[0]], {})).rejects.toThrow(/as "tiny" and now as "other"/);
    await expect(open({ baseUrl: 'http://127.0.0.1:9/v1', attempts: 2 })).rejects.toThrow(/cannot be reached/);
  });

  it('stops when it is told to', async () => {
    const subject = await open();
    faults = [() => undefined];
    const stop = new AbortController();
    setTimeout(() => stop.abort(new Error('enough')), 100);
    await expect(subject.answer([requests[0]], { signal: stop.signal })).rejects.toThrow();
  });

  it('is known by its name, what the server says of it, and how it is asked', async () => {
    const { identity } = await open();
    expect(identity).toMatchObject({
      model: NAME,
      reported: { id: NAME, ownedBy: 'us' },
      weights: expect.stringMatching(/not hashed/),
    });
    expect(JSON.stringify(identity)).not.toMatch(/127\.0\.0\.1|created/);
    expect((await open({ maxTokens: 7 })).identity).not.toEqual(identity);
    reports.models = false;
    expect((await open()).identity).toMatchObject({ reported: null });
    reports.models = true;
    await expect(open({ model: 'large' })).rejects.toThrow(/no model "large"; it has "tiny"/);
  });

  it.each(['ftp://x/v1', 'http://user:pw@x/v1', 'http://x/v1?key=1', 'nothing'])('cannot be at %s', async (baseUrl) => {
    await expect(open({ baseUrl })).rejects.toThrow(/^(?!.*pw).*address of the server/);
  });
});

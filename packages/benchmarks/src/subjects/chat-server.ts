// Asking a server that may be slow, busy, broken or hostile: time-outs, repetition with growing waits, bounded answers,
// and a key that comes from the environment and goes nowhere else. What is asked is openai.ts.

import { setTimeout as sleep } from 'node:timers/promises';
import { FoveaError } from '@fovea/artifacts';
import type { z } from 'zod';

export interface ServerOptions {
  /** Such as `http://localhost:8000/v1`. */
  baseUrl: string;
  /** Name of the environment variable that holds the key; without it, none is sent. @default 'OPENAI_API_KEY' */
  keyVariable?: string;
  /** @default process.env */
  env?: Record<string, string | undefined>;
  /** How long one attempt may take. @default 120,000 */
  timeoutMs?: number;
  /** How often a request is made in all. @default 4 */
  attempts?: number;
  /** Wait before the second attempt; twice as long before the third, and so on. @default 500 */
  delayMs?: number;
  /** Waits so long; for tests. */
  wait?(ms: number, signal?: AbortSignal): Promise<unknown>;
  /** Longer answers are refused. @default 4 MiB */
  maxBytes?: number;
}

/** Longest wait that a server can ask for. */
const LONGEST_WAIT = 60_000;
/** What no repetition mends: the key or the address is wrong. */
const FINAL: Record<number, string> = {
  401: 'check the key',
  403: 'check the key',
  404: 'check its address and the name of the model',
};
const BUSY = new Set([408, 409, 425, 429]);

/** An attempt that failed and may be repeated. */
class Passing extends Error {
  readonly afterMs: number;
  /** Whether the server said anything at all. */
  readonly isAway: boolean;

  constructor(message: string, { afterMs = 0, isAway = false } = {}) {
    super(message);
    this.afterMs = afterMs;
    this.isAway = isAway;
  }
}

export class ChatServer {
  readonly #base: string;
  readonly #key: string | undefined;
  readonly #options: ServerOptions;

  /** Throws a FoveaError for an address that cannot be asked, or a key that no header can carry. */
  constructor(options: ServerOptions) {
    const { baseUrl, keyVariable = 'OPENAI_API_KEY', env = process.env } = options;
    this.#base = checkedBase(baseUrl);
    this.#key = env[keyVariable] || undefined;
    if (this.#key !== undefined && !/^[\x21-\x7e]+$/.test(this.#key))
      throw new FoveaError(`The key in ${keyVariable} holds spaces or other signs that no key has; set it anew.`);
    this.#options = options;
  }

  /**
   * The answer to GET, or to POST where there is a body. Throws a FoveaError once attempts are used up, a
   * {@link ServerFault} where other questions would fare no better.
   */
  async ask<T>(
    what: string,
    body: object | undefined,
    schema: z.ZodType<T>,
    jitter: () => number,
    signal?: AbortSignal,
  ): Promise<T> {
    const { attempts = 4, delayMs = 500, wait = (ms, by) => sleep(ms, undefined, { signal: by }) } = this.#options;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#attempt(what, body, schema, signal);
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof Passing)) throw error;
        if (attempt >= attempts) throw this.#failed(error, attempts);
        await wait(Math.max(error.afterMs, delayMs * 2 ** (attempt - 1) * (0.5 + jitter())), signal);
      }
    }
  }

  async #attempt<T>(what: string, body: object | undefined, schema: z.ZodType<T>, signal?: AbortSignal): Promise<T> {
    const { timeoutMs = 120_000 } = this.#options;
    const late = AbortSignal.timeout(timeoutMs);
    try {
      const response = await fetch(`${this.#base}/${what}`, {
        method: body ? 'POST' : 'GET',
        headers: {
          accept: 'application/json',
          ...(body ? { 'content-type': 'application/json' } : {}),
          ...(this.#key ? { authorization: `Bearer ${this.#key}` } : {}),
        },
        body: body && JSON.stringify(body),
        // Elsewhere, the key and the pictures would go to whoever the server names.
        redirect: 'error',
        signal: signal ? AbortSignal.any([signal, late]) : late,
      });
      const text = await this.#bounded(response);
      if (!response.ok) throw this.#refused(response, text);
      return parsed(text, schema);
    } catch (error) {
      if (late.aborted) throw new Passing(`gave no answer in ${timeoutMs} ms`);
      if (error instanceof TypeError) throw new Passing(`cannot be reached (${reasonOf(error)})`, { isAway: true });
      throw error;
    }
  }

  async #bounded(response: Response): Promise<string> {
    const { maxBytes = 4 * 2 ** 20 } = this.#options;
    const parts: Uint8Array[] = [];
    let size = 0;
    for await (const part of (response.body ?? []) as AsyncIterable<Uint8Array>) {
      size += part.byteLength;
      // Leaving the loop ends the connection.
      if (size > maxBytes) throw new Passing(`answers with more than ${maxBytes} bytes`);
      parts.push(part);
    }
    return Buffer.concat(parts).toString('utf8');
  }

  #refused(response: Response, text: string): Error {
    const { status } = response;
    const said = `answers with ${status}${this.#quoted(text)}`;
    if (status in FINAL) return new ServerFault(`The server ${said}; ${FINAL[status]}.`, status);
    if (status < 500 && !BUSY.has(status)) return new FoveaError(`The server ${said}; mend what is asked.`);
    const seconds = Number(response.headers.get('retry-after') ?? 0);
    return new Passing(said, { afterMs: seconds > 0 ? Math.min(1000 * seconds, LONGEST_WAIT) : 0 });
  }

  /** The start of what a server says, which may hold the key. */
  #quoted(text: string): string {
    const plain = this.#key ? text.replaceAll(this.#key, '…') : text;
    const short = plain.replaceAll(/\s+/g, ' ').trim().slice(0, 200);
    return short === '' ? '' : ` (${short})`;
  }

  #failed({ message, isAway }: Passing, attempts: number): FoveaError {
    const sentence = `The server ${message}, ${attempts} times in a row; see what it does, and go on.`;
    return isAway ? new ServerFault(sentence) : new FoveaError(sentence);
  }
}

/** A fault that other questions would meet as well. */
export class ServerFault extends FoveaError {
  /** Of the answer, where there was one. */
  readonly status: number | null;

  constructor(message: string, status: number | null = null) {
    super(message);
    this.status = status;
  }
}

/** Names no host: an address may be a secret. */
const reasonOf = (error: TypeError): string =>
  (error.cause as { code?: string } | undefined)?.code ?? 'the connection failed';

function checkedBase(baseUrl: string): string {
  const url = URL.canParse(baseUrl) ? new URL(baseUrl) : null;
  const isPlain = url && url.username === '' && url.password === '' && url.search === '' && url.hash === '';
  if (!isPlain || !/^https?:$/.test(url.protocol))
    throw new FoveaError(
      'The address of the server cannot be used: give one such as http://localhost:8000/v1, without name, password or query; a key goes into an environment variable.',
    );
  return url.href.replace(/\/+$/, '');
}

function parsed<T>(text: string, schema: z.ZodType<T>): T {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new Passing('answers with what is not JSON');
  }
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const [{ path, message }] = result.error.issues;
  throw new Passing(`gives an answer that is not what chat completions are (${path.join('.') || 'it'} — ${message})`);
}

// Who may call: tokens with scopes, known to the server by their SHA-256 alone. A token has 256 random bits, so a plain
// hash is enough to keep it: there is nothing to guess.

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { FoveaError } from '@fovea/artifacts';

/** `read` asks, `submit` adds runs, `operate` changes them, `admin` may do all and writes in the queue's own UI. */
export const SCOPES = ['read', 'submit', 'operate', 'admin'] as const;
export type Scope = (typeof SCOPES)[number];

export interface Token {
  /** For the log and the limits; not secret. */
  name: string;
  scopes: readonly Scope[];
  /** SHA-256 of the token. */
  hash: Buffer;
  /** Milliseconds since 1970; null for never. */
  expires: number | null;
}

export interface Auth {
  tokens: readonly Token[];
  /** What a caller without a token may do. Only a server of this machine alone may give anything. @defaultValue none */
  anonymous?: readonly Scope[];
}

/** Who a request comes from. */
export interface Caller {
  /** A token's name; null without one. */
  name: string | null;
  scopes: readonly Scope[];
}

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();

/** Makes a token, and the line that lets a server know it. The token itself is kept nowhere. */
export function makeToken(name: string, scopes: readonly Scope[], expires?: string): { token: string; line: string } {
  const token = `fovea_${randomBytes(32).toString('base64url')}`;
  const line = [name, scopes.join(','), sha256(token).toString('hex'), ...(expires ? [expires] : [])].join(':');
  parseTokens(line, 'the new token');
  return { token, line };
}

/**
 * Reads `name:scope,scope:sha256[:YYYY-MM-DD]` lines; empty ones and those that start with # are passed over. Throws a
 * FoveaError that names the line, never what stands in it.
 */
export function parseTokens(text: string, where: string): Token[] {
  const tokens: Token[] = [];
  for (const [i, raw] of text.split(/[\n;]/).entries()) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) continue;
    const refuse = (why: string): never => {
      throw new FoveaError(
        `Line ${i + 1} of ${where} is no token: ${why}; write name:scopes:sha256, as \`fovea token\` prints it.`,
      );
    };
    const [name, list, hash, until, ...rest] = line.split(':');
    const scopes = (list ?? '').split(',') as Scope[];
    if (!/^[\w.-]{1,64}$/.test(name)) refuse('its name must be 1 to 64 letters, digits, dots and dashes');
    if (tokens.some((token) => token.name === name)) refuse('its name stands there twice');
    if (!scopes.every((scope) => SCOPES.includes(scope))) refuse(`its scopes must be some of ${SCOPES.join(', ')}`);
    if (!/^[0-9a-f]{64}$/.test(hash ?? '')) refuse('its third field must be a SHA-256 in lower-case hexadecimal');
    const expires = until === undefined ? null : Date.parse(`${until}T00:00:00Z`);
    if (Number.isNaN(expires) || rest.length > 0) refuse('its fourth field must be a day such as 2027-01-31');
    tokens.push({ name, scopes, hash: Buffer.from(hash, 'hex'), expires });
  }
  return tokens;
}

/** Tokens of the environment: lines in FOVEA_API_TOKENS (`;` for a new line), and a file in FOVEA_API_TOKENS_FILE. */
export async function tokensOf(env: NodeJS.ProcessEnv = process.env): Promise<Token[]> {
  const texts = [env.FOVEA_API_TOKENS ?? ''];
  const file = env.FOVEA_API_TOKENS_FILE;
  if (file) {
    const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
      throw new FoveaError(
        `The file of FOVEA_API_TOKENS_FILE, "${file}", cannot be read: ${error.code}; mend the path.`,
      );
    });
    texts.push(text);
  }
  return parseTokens(texts.join('\n'), 'the tokens');
}

/**
 * The caller that an Authorization header names: `Bearer TOKEN`, or `Basic` with the token as the password, which is what
 * a browser can send by itself. Null for a header that names nobody. Every hash is compared, each in constant time.
 */
export function callerOf(auth: Auth, header: string | undefined, now: number): Caller | null {
  if (header === undefined) return { name: null, scopes: auth.anonymous ?? [] };
  const presented = sha256(tokenIn(header));
  let found: Token | null = null;
  for (const token of auth.tokens) if (timingSafeEqual(token.hash, presented)) found = token;
  if (found === null || (found.expires !== null && now >= found.expires)) return null;
  return { name: found.name, scopes: found.scopes };
}

function tokenIn(header: string): string {
  const [, scheme, value] = /^(bearer|basic) +([\w\-.~+/=]+)$/i.exec(header) ?? ['', '', ''];
  if (scheme.toLowerCase() !== 'basic') return value;
  const pair = Buffer.from(value, 'base64').toString('utf8');
  return pair.slice(pair.indexOf(':') + 1);
}

export const allows = ({ scopes }: Caller, scope: Scope): boolean => scopes.includes(scope) || scopes.includes('admin');

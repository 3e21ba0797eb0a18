// One spelling for every JSON value (keys sorted, no spaces), so that equal documents have equal hashes: checkpoints,
// scores and recipes are named by it. A subset of RFC 8785: what JSON cannot say exactly is refused, not rounded.

import { createHash } from 'node:crypto';

/**
 * JSON with keys in code-unit order and no white space; keys whose value is undefined are left out.
 * Throws TypeError for what JSON cannot hold: NaN, infinities, functions, undefined in arrays, class instances.
 */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new TypeError(`canonicalJson: ${value} has no JSON form`);
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value === 'object') return canonicalObject(value);
  throw new TypeError(`canonicalJson: a value of type ${typeof value} has no JSON form`);
}

function canonicalObject(value: object): string {
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    throw new TypeError(`canonicalJson: an instance of ${prototype.constructor?.name ?? 'a class'} has no JSON form`);
  }
  const fields = Object.entries(value)
    .filter(([, field]) => field !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([key, field]) => `${JSON.stringify(key)}:${canonicalJson(field)}`);
  return `{${fields.join(',')}}`;
}

/** SHA-256 as 64 lower-case hexadecimal digits. Strings are hashed as UTF-8. */
export function sha256Hex(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

// Where the members of a tar lie, so that one is read without reading the others: ustar with GNU's and POSIX's long names
// (POSIX.1-2001 pax). Only headers are read. Not an unpacker: nothing is written, links and devices are passed over.

import type { FileHandle } from 'node:fs/promises';

export interface TarMember {
  /** Of its first byte in the tar. */
  offset: number;
  /** In bytes. */
  size: number;
}

const BLOCK = 512;
const MOST_MEMBERS = 2_000_000;
/** Of a long name's or pax header's own data. */
const MOST_EXTENSION = 2 ** 20;
const REGULAR = new Set(['0', '\0', '7']);

type Fail = (why: string) => never;

/**
 * Regular members by name, without a leading "./". `fail` makes the error of a tar that is compressed, cut short or damaged,
 * or that has two members of one name; `check` refuses names.
 */
export async function indexTar(
  handle: FileHandle,
  total: number,
  fail: Fail,
  check: (name: string) => void,
): Promise<Map<string, TarMember>> {
  const members = new Map<string, TarMember>();
  const read = async (at: number, size: number) => {
    const bytes = Buffer.alloc(size);
    const { bytesRead } = await handle.read(bytes, 0, size, at);
    return bytesRead === size ? bytes : fail('it is cut short');
  };
  let extension: Extension = {};
  for (let at = 0; ; ) {
    const block = await read(at, BLOCK);
    if (at === 0 && block[0] === 0x1f && block[1] === 0x8b)
      fail('it is compressed, and single pictures are read from it');
    if (block.every((byte) => byte === 0)) return members;
    const header = headerOf(block, fail);
    const { name = header.name, size = header.size } = REGULAR.has(header.type) ? extension : {};
    const offset = at + BLOCK;
    if (offset + size > total) fail('it is cut short');
    at = offset + Math.ceil(size / BLOCK) * BLOCK;
    if (header.type === 'L' || header.type === 'x') {
      if (size > MOST_EXTENSION) fail('it has a name that is too long');
      const bytes = await read(offset, size);
      extension = header.type === 'L' ? { ...extension, name: text(bytes) } : { ...extension, ...paxOf(bytes, fail) };
      continue;
    }
    extension = {};
    if (!REGULAR.has(header.type) || name.endsWith('/')) continue;
    const plain = name.replace(/^(\.\/+)+/, '');
    check(plain);
    if (members.has(plain)) fail(`it has two members ${JSON.stringify(plain.slice(0, 200))}`);
    if (members.size === MOST_MEMBERS) fail(`it has more than ${MOST_MEMBERS} members`);
    members.set(plain, { offset, size });
  }
}

/** What stands before a member and holds for it. */
interface Extension {
  name?: string;
  size?: number;
}

const text = (bytes: Buffer): string => {
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end < 0 ? bytes.length : end);
};

function headerOf(block: Buffer, fail: Fail) {
  let sum = 8 * 0x20;
  for (let i = 0; i < BLOCK; i++) if (i < 148 || i >= 156) sum += block[i];
  if (sum !== numberOf(block.subarray(148, 156))) fail('it is no tar or is damaged');
  const size = numberOf(block.subarray(124, 136));
  if (!Number.isSafeInteger(size) || size < 0) fail('a member has no size');
  const isPosix = block.toString('latin1', 257, 263) === 'ustar\0';
  const prefix = isPosix ? text(block.subarray(345, 500)) : '';
  const name = text(block.subarray(0, 100));
  return { name: prefix === '' ? name : `${prefix}/${name}`, size, type: String.fromCharCode(block[156]) };
}

/** Octal digits, or GNU's binary form for what is too large for them; NaN for neither. */
function numberOf(field: Buffer): number {
  if (field[0] === 0x80) return field.subarray(1).reduce((value, byte) => value * 256 + byte, 0);
  const digits = field
    .toString('latin1')
    .replace(/[\0 ]+$/, '')
    .trimStart();
  return /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number.NaN;
}

/** Records "length key=value\n", the length being that of the whole record in bytes. */
function paxOf(bytes: Buffer, fail: Fail): Extension {
  const found: Extension = {};
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at);
    const length = space < 0 ? Number.NaN : Number(bytes.toString('latin1', at, space));
    const end = at + length;
    if (!(length > 3) || !Number.isInteger(length) || end > bytes.length || bytes[end - 1] !== 0x0a)
      return fail('a long name in it is damaged');
    const record = bytes.toString('utf8', space + 1, end - 1);
    const [key, value] = [record.slice(0, record.indexOf('=')), record.slice(record.indexOf('=') + 1)];
    if (key.startsWith('GNU.sparse')) fail('it has a sparse member');
    if (key === 'path') found.name = value;
    if (key === 'size') {
      found.size = /^\d{1,15}$/.test(value) ? Number(value) : fail('a member has no size');
    }
    at = end;
  }
  return found;
}

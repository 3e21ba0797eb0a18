// What counts in a folder as `from_pretrained` takes it: the small files by their names, and the weights. For whoever opens
// one and for whoever only has to know whether it is still the same.

import { stat } from 'node:fs/promises';
import path from 'node:path';
import { ParamStore } from './params.ts';

export const OPEN_CLIP = 'open_clip_config.json';
const OPEN_CLIP_WEIGHTS = 'open_clip_model.safetensors';

/** What says which network it is, how pictures are made ready for it, and how texts are. */
const SMALL = [
  ...['config.json', OPEN_CLIP, 'preprocessor_config.json', 'tokenizer.json', 'tokenizer_config.json'],
  ...['special_tokens_map.json', 'vocab.json', 'merges.txt'],
];

const isFile = async (file: string) => (await stat(file).catch(() => null))?.isFile() === true;

/** Where {@link ParamStore.open} finds a folder's weights: open_clip names a file of its own beside its configuration. */
export async function weightsIn(folder: string): Promise<string> {
  const own = path.join(folder, OPEN_CLIP_WEIGHTS);
  return (await isFile(path.join(folder, OPEN_CLIP))) && (await isFile(own)) ? own : folder;
}

/** Every file of a folder that is read, by its name: configurations, tokenizers, and the weights unless they do not count. */
export async function filesOf(folder: string, { weights = true } = {}): Promise<Map<string, string>> {
  const files = new Map(weights ? (await ParamStore.open(await weightsIn(folder))).files : []);
  for (const name of SMALL) {
    const file = path.join(folder, name);
    if (await isFile(file)) files.set(name, file);
  }
  return files;
}

// The embedding of one prompt by a text encoder of Stable Diffusion, computed once when a run's networks open: the text
// tower never learns, and every picture is told the same.

import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import { clipText, clipTextSpecs, mapFolder, readClipTextConfig, readJson, readTokenizer } from '@fovea/models';
import { compile, type Frozen } from '@fovea/tensor';

const known = new Map<string, Promise<Frozen>>();

/** From a pipeline's folder, with `text_encoder` and `tokenizer` in it: [1, T, D], after the final norm. */
export function embedPrompt(folder: string, prompt: string): Promise<Frozen> {
  const key = JSON.stringify([folder, prompt]);
  let found = known.get(key);
  if (!found) {
    found = compute(folder, prompt);
    known.set(key, found);
    found.catch(() => known.delete(key));
  }
  return found;
}

async function compute(folder: string, prompt: string): Promise<Frozen> {
  const encoder = path.join(folder, 'text_encoder');
  const json = await readJson(encoder, 'config.json');
  if (json === null)
    throw new FoveaError(
      `The text encoder of "${folder}" has no text_encoder/config.json; give the pipeline's folder, such as stable-diffusion-2-1-base.`,
    );
  const c = readClipTextConfig(json, '"text_encoder/config.json"');
  const ids = readTokenizer(path.join(folder, 'tokenizer')).encode([prompt], c.positions);
  const program = await compile(
    ({ ids: given }, _state, p) => ({ outputs: { embedding: clipText(p, given, c).normed } }),
    {
      inputs: { ids: { shape: [1, c.positions], dtype: 'int32' } },
      constants: await mapFolder(encoder, clipTextSpecs(c)),
    },
  );
  const { embedding } = await program.run({ ids });
  const data = embedding.slice();
  await program.dispose();
  return { shape: [1, c.positions, c.width], dtype: 'float32', data };
}

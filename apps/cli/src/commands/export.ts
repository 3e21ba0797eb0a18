// `fovea export`: the encoder of a checkpoint as Hugging Face safetensors and as ONNX, checked against the checkpoint.

import path from 'node:path';
import { checkpointWeights, EncoderSubject, exportedFiles, writeExport } from '@fovea/alignment';
import { FoveaError } from '@fovea/artifacts';
import { runOnnx } from '@fovea/tensor';
import { philox } from '@fovea/tensor/random';
import { defineCommand } from 'citty';
import { wholeNumber } from '../arguments.ts';
import { findCheckpoint } from '../checkpoints.ts';
import { findHome, openHomeStore, shown } from '../home.ts';

/** Largest difference between the exported graph's features and the checkpoint's own that is let through. */
const TOLERANCE = 1e-4;

export default defineCommand({
  meta: { name: 'export', description: 'Write a checkpoint’s encoder as safetensors (Hugging Face) and ONNX' },
  args: {
    checkpoint: {
      type: 'string',
      default: 'aligned',
      valueHint: 'ID',
      description: 'Checkpoint id or its first characters, a role, or latest',
    },
    run: { type: 'string', valueHint: 'RUN', description: 'Look only in this run' },
    out: { type: 'string', valueHint: 'FOLDER', description: 'Where to write; runs/<run>/export by default' },
    batch: { type: 'string', default: '1', valueHint: 'N', description: 'Pictures per call of the ONNX graph' },
    json: { type: 'boolean', description: 'Print one JSON document' },
  },
  async run({ args }) {
    const batch = wholeNumber('--batch', args.batch, 1, 4096);
    const home = findHome();
    const store = await openHomeStore(home);
    const checkpoint = await findCheckpoint(store, args.checkpoint, args.run);
    const { recipe } = checkpoint.run;
    const file = await checkpointWeights(store, checkpoint.id, recipe);
    const files = exportedFiles(file, recipe, checkpoint.id, batch);
    const onnx = files.find(({ name }) => name === 'encoder.onnx');
    const size = recipe.data.imageSize;
    const rng = philox(0, 'export');
    const pixels = Float32Array.from({ length: batch * 3 * size * size }, () => rng.uniform());
    const { features } = await runOnnx(onnx!.bytes, { pixels: { data: pixels, shape: [batch, 3, size, size] } });
    const subject = await EncoderSubject.open(file, recipe);
    const expected = await subject.imageFeatures(pixels, batch);
    await subject.dispose();
    const difference = features.reduce((worst, value, i) => Math.max(worst, Math.abs(value - expected[i])), 0);
    if (!(difference <= TOLERANCE))
      throw new Error(`the exported graph's features differ from the checkpoint's by ${difference}`);
    const folder = path.resolve(
      process.env.INIT_CWD ?? process.cwd(),
      args.out ?? path.join(home.runsDir, checkpoint.run.id, 'export'),
    );
    const written = await writeExport(files, folder).catch((error: NodeJS.ErrnoException) => {
      throw new FoveaError(
        `The export cannot be written to ${shown(folder)}: ${error.code ?? error.message}; give a folder that can be written with --out.`,
      );
    });
    if (args.json) {
      console.log(
        JSON.stringify({ checkpoint: checkpoint.id, run: checkpoint.run.id, files: written, difference }, null, 2),
      );
      return;
    }
    console.log(`checkpoint ${checkpoint.id.slice(0, 12)}, ${checkpoint.role} of run ${checkpoint.run.id}`);
    for (const each of written) console.log(`  ${shown(each)}`);
    console.log(`encoder.onnx gives the checkpoint's features (largest difference ${difference.toExponential(1)})`);
  },
});

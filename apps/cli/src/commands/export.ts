// `fovea export`: the encoder of a checkpoint as Hugging Face safetensors and as ONNX, checked against the checkpoint.

import path from 'node:path';
import {
  adapterExport,
  checkpointWeights,
  EncoderSubject,
  type ExportedFile,
  encodeWeights,
  exportedFiles,
  mixedWeights,
  openNetworks,
  startOfAlign,
  trainedWeights,
  type WeightFile,
  writeExport,
} from '@fovea/alignment';
import { FoveaError, type Store } from '@fovea/artifacts';
import { type CommittedRound, committedRounds, type RunRecord } from '@fovea/jobs';
import { checkSources, type Recipe } from '@fovea/recipe';
import { runOnnx } from '@fovea/tensor';
import { philox } from '@fovea/tensor/random';
import { defineCommand } from 'citty';
import { wholeNumber } from '../arguments.ts';
import { type FoundCheckpoint, findCheckpoint } from '../checkpoints.ts';
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
    weights: {
      type: 'string',
      valueHint: 'FILE',
      description:
        'Write all networks as one fp16 safetensors file for a recipe’s `weights`, with the log beside it, instead',
    },
    alpha: {
      type: 'string',
      valueHint: 'A,B,…',
      description: 'Write the encoders between the start (0) and the checkpoint (1) instead, a folder each (WiSE-FT)',
    },
    adapters: { type: 'boolean', description: 'Write the LoRA adapters for PEFT instead' },
    json: { type: 'boolean', description: 'Print one JSON document' },
  },
  async run({ args }) {
    const batch = wholeNumber('--batch', args.batch, 1, 4096);
    const home = findHome();
    const store = await openHomeStore(home);
    const checkpoint = await findCheckpoint(store, args.checkpoint, args.run);
    const { recipe } = checkpoint.run;
    await checkSources(checkpoint.run, { cacheDir: home.cacheDir, hasBegun: true });
    const file = await checkpointWeights(store, checkpoint.id, recipe);
    if (args.weights) {
      const written = await exportWeights(store, checkpoint, file, resolved(args.weights));
      const found = { checkpoint: checkpoint.id, run: checkpoint.run.id, files: written };
      console.log(args.json ? JSON.stringify(found, null, 2) : written.map((each) => shown(each)).join('\n'));
      return;
    }
    const folder = resolved(args.out ?? path.join(home.runsDir, checkpoint.run.id, 'export'));
    const written: string[] = [];
    let difference = 0;
    if (args.adapters) {
      const trained = await trainedWeights(store, checkpoint.id, recipe);
      written.push(...(await writeOut(adapterExport(trained, recipe), folder)));
    } else {
      for (const [inside, mixed] of await encodersOf(store, checkpoint, file, args.alpha)) {
        const files = await exportedFiles(mixed, checkpoint.run, checkpoint.id, batch);
        difference = Math.max(difference, await differenceOf(files, mixed, checkpoint.run, batch));
        written.push(...(await writeOut(files, path.join(folder, inside))));
      }
    }
    if (args.json) {
      console.log(
        JSON.stringify({ checkpoint: checkpoint.id, run: checkpoint.run.id, files: written, difference }, null, 2),
      );
      return;
    }
    console.log(`checkpoint ${checkpoint.id.slice(0, 12)}, ${checkpoint.role} of run ${checkpoint.run.id}`);
    for (const each of written) console.log(`  ${shown(each)}`);
    if (!args.adapters)
      console.log(`encoder.onnx gives the encoder's features (largest difference ${difference.toExponential(1)})`);
  },
});

/** What to export, by the folder it goes to: the checkpoint itself, or encoders on the way to it. */
async function encodersOf(
  store: Store,
  { id, run }: FoundCheckpoint,
  file: WeightFile,
  alphas: string | undefined,
): Promise<[string, WeightFile][]> {
  if (alphas === undefined) return [['', file]];
  const given = alphas.split(',').map((text) => {
    const alpha = /^(0|1|0?\.\d+|1\.0+)$/.test(text.trim()) ? Number(text) : Number.NaN;
    if (!(alpha >= 0 && alpha <= 1))
      throw new FoveaError(`The flag --alpha takes numbers from 0 to 1 with commas between, not "${alphas}".`);
    return alpha;
  });
  const start = await checkpointWeights(store, await startOfAlign(store, id), run.recipe);
  const networks = await openNetworks(run.recipe, run.recipeDir, file.vocabulary);
  return given.map((alpha) => [`alpha-${alpha}`, mixedWeights(start, file, networks, alpha)]);
}

const resolved = (file: string) => path.resolve(process.env.INIT_CWD ?? process.cwd(), file);

/** Largest difference between the exported graph's features, in stock onnxruntime, and the checkpoint's own. */
async function differenceOf(
  files: ExportedFile[],
  file: WeightFile,
  { recipe, recipeDir }: RunRecord,
  batch: number,
): Promise<number> {
  const onnx = files.find(({ name }) => name === 'encoder.onnx') as ExportedFile;
  const size = recipe.data.imageSize;
  const rng = philox(0, 'export');
  const pixels = Float32Array.from({ length: batch * 3 * size * size }, () => rng.uniform());
  const { features } = await runOnnx(onnx.bytes, { pixels: { data: pixels, shape: [batch, 3, size, size] } });
  const subject = await EncoderSubject.open(file, recipe, recipeDir);
  const expected = await subject.imageFeatures(pixels, batch);
  await subject.dispose();
  const difference = features.reduce((worst, value, i) => Math.max(worst, Math.abs(value - expected[i])), 0);
  if (difference <= TOLERANCE) return difference;
  throw new Error(`the exported graph's features differ from the checkpoint's by ${difference}`);
}

/** All networks in one fp16 file that a recipe's `weights` can name, and the log of the rounds that made them. */
async function exportWeights(store: Store, { run }: FoundCheckpoint, file: WeightFile, target: string) {
  const rounds = [...(await committedRounds(store, run)).values()].flat();
  const name = path.basename(target);
  const parts = [
    { name, bytes: encodeWeights(trainedPart(file, run.recipe), 'F16') },
    { name: name.replace(/(\.safetensors)?$/, '.log.jsonl'), bytes: roundLog(run.recipe.name, rounds) },
  ];
  return writeOut(parts, path.dirname(target));
}

async function writeOut(files: ExportedFile[], folder: string): Promise<string[]> {
  return writeExport(files, folder).catch((error: NodeJS.ErrnoException) => {
    throw new FoveaError(
      `The export cannot be written to ${shown(folder)}: ${error.code ?? error.message}; give a folder that can be written.`,
    );
  });
}

/** Without the denoiser where no stage has trained it. */
function trainedPart({ weights, vocabulary }: WeightFile, recipe: Recipe): WeightFile {
  if (recipe.weights !== null || recipe.stages.some(({ stage }) => stage === 'projector'))
    return { weights, vocabulary };
  const kept = Object.entries(weights).filter(([name]) => !/^(denoiser|projector)\./.test(name));
  return { weights: Object.fromEntries(kept), vocabulary };
}

/** One line per round: what was trained, how fast, and the objective on the fixed probe batch. */
function roundLog(recipe: string, rounds: CommittedRound[]): Uint8Array {
  const lines = rounds
    .filter(({ record }) => record.metrics.steps > 0)
    .map(({ round, record: { step, stage, metrics } }) => {
      const { steps, seconds, imagesPerSecond, loss, gradNorm, probe } = metrics;
      const last = loss.slice(-50);
      const lossMean = last.reduce((sum, value) => sum + value, 0) / last.length;
      return JSON.stringify({
        recipe,
        track: round.track,
        round: round.round,
        stage,
        step,
        steps,
        seconds,
        imagesPerSecond,
        lossMean,
        gradNorm,
        probe,
      });
    });
  return new TextEncoder().encode(`${lines.join('\n')}\n`);
}

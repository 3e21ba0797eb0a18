// The end of a run: gathers its rounds and scorecards from the store, draws what the denoiser makes of the condition
// before and after, and puts the report and its summary into the store.

import { checkpointWeights, type RecipeData, reconstruct } from '@fovea/alignment';
import type { Store } from '@fovea/artifacts';
import {
  buildSummary,
  type Progress,
  parseScorecard,
  type ReconstructionGrid,
  type RoundData,
  type RunData,
  renderReport,
} from '@fovea/benchmarks';
import { emojiLicences, isEmojiWorld } from '@fovea/data';
import { committedRounds, type ReportRequest, type ReportResult, readRun } from '@fovea/jobs';
import type { Recipe } from '@fovea/recipe';
import sharp from 'sharp';

/** Pictures reconstructed in the report, and the sampler's steps. */
const PICTURES = 8;
const STEPS = 24;
/** Side that the report's pictures are enlarged to. */
const SHOWN = 144;

export async function writeReport(
  request: ReportRequest,
  store: Store,
  dataset: RecipeData,
  progress: (event: Progress) => void,
): Promise<ReportResult> {
  const { runId, recipe } = request;
  const run = await readRun(store, runId);
  const rounds: RoundData[] = [...(await committedRounds(store, run)).values()].flat().map(({ round, record }) => ({
    track: round.track,
    round: round.round,
    stage: record.stage,
    stageIndex: round.stageIndex,
    checkpoint: record.checkpoint,
    step: record.step,
    metrics: record.metrics,
  }));
  const scorecards = await Promise.all(
    request.scorecards.map(async ({ round, scorecard }) => ({
      round,
      scorecard: parseScorecard(
        JSON.parse(new TextDecoder().decode(await store.get(scorecard))),
        scorecard.slice(0, 12),
      ),
    })),
  );
  progress({ step: 0, steps: 2, text: 'reconstructing' });
  const data: RunData = {
    run: runId,
    recipe,
    recipeText: run.recipeText,
    status: 'completed',
    createdAt: run.createdAt,
    rounds,
    scorecards,
    reconstructions: await reconstructions(request, store, dataset, rounds),
    licences: isEmojiWorld(dataset)
      ? emojiLicences().map(({ title, licence, author, style }) => ({
          name: title,
          licence,
          author,
          use: useOf(request, style),
        }))
      : [],
    report: 'report.html',
  };
  progress({ step: 1, steps: 2, text: 'writing the report' });
  const put = (text: string) => store.put(new TextEncoder().encode(text));
  const report = await put(renderReport(data));
  return { report, summary: await put(`${JSON.stringify(buildSummary(data), null, 2)}\n`) };
}

function useOf({ recipe: { data } }: ReportRequest, style: string): string {
  if (data.kind !== 'emoji-world') return 'not used';
  if (data.trainStyles.includes(style)) return 'trained on';
  if (data.redrawStyles.includes(style)) return 'V2: re-draws, never trained on';
  return data.heldOutStyles.includes(style) ? 'R: renditions, never trained on' : 'not used';
}

async function reconstructions(
  { recipe, recipeDir }: ReportRequest,
  store: Store,
  dataset: RecipeData,
  rounds: RoundData[],
): Promise<ReconstructionGrid | null> {
  const before = rounds.filter((round) => round.track === 'trunk').at(-1);
  const after = rounds.filter((round) => round.track === 'aligned').at(-1);
  if (!before) return null;
  const { pixels, samples } = await dataset.trainBatch({
    seed: recipe.seed,
    stream: 'report',
    first: 0,
    size: PICTURES,
  });
  const columns = [
    'picture',
    'before: from the start’s condition',
    ...(after ? ['after: from the aligned condition'] : []),
  ];
  const pictures = [pixels];
  for (const round of after ? [before, after] : [before]) {
    const file = await checkpointWeights(store, round.checkpoint, recipe);
    const options = { steps: STEPS, seed: recipe.seed, threads: 1, device: recipe.engine.device };
    const drawn = await reconstruct(file, recipe, recipeDir, pixels, PICTURES, options);
    if (drawn === null) return null;
    pictures.push(drawn);
  }
  const rows = await Promise.all(
    samples.map(async ({ label, style }, i) => ({
      caption: `${dataset.classes[label]} (${style})`,
      images: await Promise.all(pictures.map((all) => pngUri(all, i, recipe.data.imageSize))),
    })),
  );
  const note = `Drawn from the same noise in ${STEPS} steps by the frozen denoiser, which sees ${seen(recipe)}.`;
  return { columns, rows, note };
}

function seen({ denoiser, condition: { tokens } }: Recipe): string {
  const count = denoiser.kind === 'builtin' ? denoiser.conditionTokens : null;
  if (count === 1 || (count === null && tokens.mode === 'none')) return 'the class token alone';
  return count === null ? `the class token and patches (${tokens.mode})` : `${count} tokens`;
}

async function pngUri(pixels: Float32Array, row: number, size: number): Promise<string> {
  const plane = size * size;
  const rgb = new Uint8Array(3 * plane);
  for (let i = 0; i < plane; i++)
    for (let c = 0; c < 3; c++) rgb[3 * i + c] = Math.round(255 * pixels[(3 * row + c) * plane + i]);
  const image = sharp(rgb, { raw: { width: size, height: size, channels: 3 } });
  const png = await image.resize(SHOWN, SHOWN, { kernel: 'nearest' }).png({ palette: true, colours: 128 }).toBuffer();
  return `data:image/png;base64,${png.toString('base64')}`;
}

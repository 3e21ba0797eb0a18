import { writeFileSync } from 'node:fs';
import { openEmojiWorld } from '@fovea/data';
import { renderReport } from './report.ts';
import { planFor, scoreCheckpoint } from './score-checkpoint.ts';
import { buildSummary } from './summary.ts';
import { ProjectionSubject } from './testing.ts';
import { checkpointId, pngUri, runRecipe, sampleRun } from './testing-run.ts';

const recipe = runRecipe;
const world = await openEmojiWorld(recipe.data as never, '/tmp/fovea-zz2');
const { pixels, labels } = await world.trainBatch({ seed: 5, stream: 'examples', first: 0, size: 6000 });
const learned = (seed: number, dim: number, w?: (i: number) => number) =>
  new ProjectionSubject(seed, 48, dim, w).learn(world.classes, pixels, labels);
const foil = await learned(1, 64);
const plan = await planFor({ recipe, dataset: world, foil });
const cards: any[] = [];
const push = async (role: string, round: number, s: any) =>
  cards.push({
    round,
    scorecard: await scoreCheckpoint({
      recipe,
      dataset: world,
      subject: s,
      foil,
      checkpoint: checkpointId(role === 'baseline' ? 'trunk' : role, round),
      role,
    }),
  });
await push('baseline', 6, await learned(2, 64));
const mix = (a: number) => (i: number) => 1 + a * Math.sin(i * 1.7);
for (let r = 0; r < 3; r++) {
  await push(
    'aligned',
    r,
    await learned(2, 64, (i) => mix(0.05 * (r + 1))(i) * (i % 36 < 6 || i % 36 >= 30 ? 1 + 0.12 * (r + 1) : 1)),
  );
  await push('control', r, await learned(2, 64, mix(0.07 * (r + 1))));
  await push(
    'placebo',
    r,
    await learned(2, 64, (i) => mix(0.08 * (r + 1))(i + 3) * (i % 6 < 1 ? 1 - 0.15 * (r + 1) : 1)),
  );
}
const pics: string[][] = [];
const buf = new Float32Array(3 * 48 * 48);
for (let k = 0; k < 8; k++) {
  await plan.render(k * 37, 1, buf);
  const blur = (a: number) => buf.map((v) => v * a + (1 - a) * 0.55);
  pics.push([pngUri(buf, 48), pngUri(blur(0.25), 48), pngUri(blur(0.4), 48)]);
}
const data = sampleRun(cards, pics);
writeFileSync('/tmp/report.html', renderReport(data));
writeFileSync('/tmp/summary.json', JSON.stringify(buildSummary(data), null, 1));
console.log(
  cards
    .map((c) => c.scorecard.role + ' ' + c.scorecard.results.slice(0, 1).map((r: any) => r.value.toFixed(3)))
    .join('\n'),
);

// A whole run as the report sees it, made of what the tests of this package compute: real scorecards of projected
// drawings, and losses from closed forms. Nothing of it is exported from the package.

import { deflateSync } from 'node:zlib';
import type { RoundMetrics } from '@fovea/alignment';
import { planOf, recipeSchema } from '@fovea/recipe';
import { philox } from '@fovea/tensor/random';
import type { RoundData, RunData } from './run-data.ts';
import type { Scorecard } from './scorecard.ts';

export const runRecipe = recipeSchema.parse({
  name: 'sample',
  seed: 7,
  data: { kind: 'emoji-world', concepts: 60 },
  stages: [
    { stage: 'pretrain', steps: 1200, lr: 2e-3, roundSteps: 400 },
    { stage: 'projector', steps: 600, lr: 1e-3, roundSteps: 200 },
    { stage: 'align', steps: 300, lr: 5e-4, contrastive: 1, feedback: 100, retention: 0.5, roundSteps: 100 },
  ],
});

interface Shape {
  start: number;
  end: number;
  /** Steps after which the excess over `end` has fallen to a third. */
  pace: number;
  noise: number;
}

const SHAPES: Record<string, Record<string, Shape>> = {
  pretrain: { contrastive: { start: 4.3, end: 0.32, pace: 260, noise: 0.12 } },
  projector: { feedback: { start: 0.21, end: 0.047, pace: 110, noise: 0.004 } },
  align: {
    contrastive: { start: 0.36, end: 0.31, pace: 90, noise: 0.05 },
    feedback: { start: 0.047, end: 0.043, pace: 100, noise: 0.003 },
    retention: { start: 0, end: 0.021, pace: 80, noise: 0.001 },
  },
};
const WEIGHTS: Record<string, number> = { contrastive: 1, feedback: 10, retention: 0.5 };

function metricsOf(stage: string, role: string, first: number, steps: number): RoundMetrics {
  const terms: Record<string, number[]> = {};
  const level = ({ start, end, pace }: Shape, step: number) => end + (start - end) * Math.exp(-step / pace);
  const present = Object.entries(SHAPES[stage]).filter(([term]) => role !== 'control' || term !== 'feedback');
  const rng = philox(3, `losses/${stage}/${role}`, first);
  for (const [term, shape] of present) {
    const lift = role === 'placebo' && term === 'feedback' ? 0.012 : 0;
    terms[term] = Array.from({ length: steps }, (_, i) => level(shape, first + i) + lift + shape.noise * rng.normal());
  }
  const weight = (term: string) => (stage === 'align' ? WEIGHTS[term] : 1);
  const objective = (step: number) =>
    present.reduce((sum, [term, shape]) => sum + weight(term) * level(shape, step), 0);
  const end = first + steps;
  const gap = {
    pretrain: null,
    projector: 0.031 * (1 - Math.exp(-end / 150)),
    align: 0.031 + (role === 'aligned' ? 0.004 : role === 'placebo' ? -0.006 : 0.0005) * (end / 300),
  }[stage];
  return {
    steps,
    seconds: steps * (stage === 'align' ? 0.21 : 0.14),
    imagesPerSecond: 64 / (stage === 'align' ? 0.21 : 0.14),
    loss: Array.from({ length: steps }, (_, i) =>
      present.reduce((sum, [term]) => sum + weight(term) * terms[term][i], 0),
    ),
    terms,
    gradNorm: {
      encoder: stage === 'projector' ? 0 : 2.4 / (1 + first / 400),
      projector: 0.02,
      denoiser: stage === 'projector' ? 0.3 : 0,
    },
    probe: { before: objective(first), after: objective(end), gap: gap ?? null },
  };
}

/** All rounds of the sample recipe; checkpoint ids are the track and round padded to a hash's length. */
export function sampleRounds(): RoundData[] {
  const ends = new Map<string, number>();
  return [...planOf(runRecipe)].flatMap(([track, rounds]) => {
    let step = track === 'trunk' ? 0 : (ends.get('trunk') as number);
    return rounds.map(({ round, stage, stageIndex, firstStep, steps }): RoundData => {
      step += steps;
      ends.set(track, step);
      const zero = {
        steps: 0,
        seconds: 0,
        imagesPerSecond: 0,
        loss: [],
        terms: {},
        gradNorm: {},
        probe: { before: 0, after: 0, gap: null },
      };
      const metrics = stage === 'init' ? zero : metricsOf(stage, track, firstStep, steps);
      return { track, round, stage, stageIndex, checkpoint: checkpointId(track, round), step, metrics };
    });
  });
}

export function checkpointId(track: string, round: number): string {
  return Buffer.from(`${track}-${round}`).toString('hex').padEnd(64, '0');
}

/** A run around some scorecards. */
export function sampleRun(scorecards: { round: number; scorecard: Scorecard }[], pictures: string[][] = []): RunData {
  return {
    run: '2025-01-31-sample-7f3a',
    recipe: runRecipe,
    status: 'completed',
    createdAt: '2025-01-31 10:42 UTC',
    rounds: sampleRounds(),
    scorecards,
    reconstructions:
      pictures.length === 0
        ? null
        : {
            columns: ['original', 'before', 'after'],
            rows: pictures.map((images, i) => ({ caption: `picture ${i + 1}`, images })),
            note: 'Sample of the tests: faded copies of the originals, not drawn by a denoiser.',
          },
    licences: [
      { name: 'Noto Emoji', author: 'Google', licence: 'Apache-2.0', use: 'training' },
      { name: 'Twemoji', author: 'Twitter', licence: 'CC-BY-4.0', use: 'training' },
      { name: 'OpenMoji', author: 'OpenMoji', licence: 'CC-BY-SA-4.0', use: 'held out' },
    ],
    report: 'runs/2025-01-31-sample-7f3a/report.html',
  };
}

/** A small RGB PNG as a data URI, from pixels [3, side, side] in [0, 1]. */
export function pngUri(pixels: Float32Array, side: number): string {
  const raw = Buffer.alloc(side * (1 + 3 * side));
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      for (let c = 0; c < 3; c++)
        raw[y * (1 + 3 * side) + 1 + 3 * x + c] = Math.round(255 * pixels[(c * side + y) * side + x]);
    }
  }
  const head = Buffer.alloc(13);
  head.writeUInt32BE(side, 0);
  head.writeUInt32BE(side, 4);
  head.set([8, 2, 0, 0, 0], 8);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  const bytes = Buffer.concat([
    signature,
    chunk('IHDR', head),
    chunk('IDAT', deflateSync(raw)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
  return `data:image/png;base64,${bytes.toString('base64')}`;
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const out = Buffer.alloc(body.length + 8);
  out.writeUInt32BE(data.length, 0);
  body.copy(out, 4);
  out.writeUInt32BE(crc32(body), body.length + 4);
  return out;
}

function crc32(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}

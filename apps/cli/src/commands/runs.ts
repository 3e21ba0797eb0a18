// `fovea runs`: what the store knows of every run. It asks no Redis, so it works while a run is going, after a crash,
// and on a copy of the store.

import { committedRounds, listRuns, type RunRecord } from '@fovea/jobs';
import { planOf } from '@fovea/recipe';
import { defineCommand } from 'citty';
import { findHome, type Home, isDriven, openHomeStore } from '../home.ts';
import { table } from '../summary.ts';

interface Listed {
  id: string;
  recipe: string;
  seed: number;
  status: string;
  error: string | null;
  createdAt: string;
  updatedAt: string;
  tracks: { track: string; stage: string; round: number; rounds: number; step: number; checkpoint: string | null }[];
  checkpoints: { id: string; track: string; stage: string; round: number; step: number }[];
}

export default defineCommand({
  meta: { name: 'runs', description: 'List the runs in the store and how far they are' },
  args: {
    json: { type: 'boolean', description: 'Print one JSON document' },
  },
  async run({ args }) {
    const home = findHome();
    const store = await openHomeStore(home);
    const runs: Listed[] = [];
    for (const run of await listRuns(store)) runs.push(await describe(run, home, store));
    console.log(args.json ? JSON.stringify(runs, null, 2) : text(runs));
  },
});

async function describe(run: RunRecord, home: Home, store: Awaited<ReturnType<typeof openHomeStore>>): Promise<Listed> {
  const committed = await committedRounds(store, run);
  const tracks = [...planOf(run.recipe)].map(([track, rounds]) => {
    const done = committed.get(track) ?? [];
    const last = done.at(-1)?.record;
    const stage = rounds[Math.min(done.length, rounds.length - 1)].stage;
    return {
      track,
      stage,
      round: done.length,
      rounds: rounds.length,
      step: last?.step ?? 0,
      checkpoint: last?.checkpoint ?? null,
    };
  });
  const checkpoints = [...committed].flatMap(([track, rounds]) =>
    rounds.map(({ round, record }) => ({
      id: record.checkpoint,
      track,
      stage: record.stage,
      round: round.round,
      step: record.step,
    })),
  );
  // A record that says "running" while nobody holds its lock was left by a process that was killed.
  const status = run.status === 'running' && !(await isDriven(home, run.id)) ? 'interrupted' : run.status;
  return {
    id: run.id,
    recipe: run.recipeSource,
    seed: run.recipe.seed,
    status,
    error: run.error?.message ?? null,
    createdAt: run.createdAt,
    updatedAt: run.updatedAt,
    tracks,
    checkpoints,
  };
}

function text(runs: Listed[]): string {
  if (runs.length === 0) return 'There is no run yet; `npx fovea train` starts one.';
  const rows = runs.map((run) => {
    const at = run.tracks.filter((track) => track.round > 0).at(-1);
    const where = at ? `${at.track === 'trunk' ? at.stage : at.track} ${at.round}/${at.rounds}` : '–';
    const last = run.checkpoints.at(-1)?.id.slice(0, 12) ?? '–';
    return [run.id, run.recipe, run.status, where, String(run.checkpoints.length), last];
  });
  const failed = runs.filter((run) => run.error !== null).map((run) => `${run.id}: ${run.error}`);
  return [table(['run', 'recipe', 'status', 'round', 'checkpoints', 'last'], rows), ...failed].join('\n');
}

// `fovea runs`: what the store knows of every run. Listing asks no Redis, so it works while a run is going, after a crash,
// and on a copy of the store; the other actions steer the runs of a fleet.

import { FoveaError, openStore } from '@fovea/artifacts';
import {
  cancelRun,
  committedRounds,
  listRuns,
  MAX_PRIORITY,
  pauseRun,
  prunedRef,
  prunedRounds,
  type RunRecord,
  rankRun,
  readControl,
  readLog,
  rebuildRuns,
  resumeRun,
} from '@fovea/jobs';
import { planOf } from '@fovea/recipe';
import { defineCommand } from 'citty';
import { deadlineOf, wholeNumber } from '../arguments.ts';
import { withFleet } from '../fleet.ts';
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
  checkpoints: {
    id: string;
    track: string;
    stage: string;
    round: number;
    step: number;
    /** Whether the run has let its weights go, as its recipe's `keep` says. */
    pruned: boolean;
  }[];
}

export default defineCommand({
  meta: { name: 'runs', description: 'List the runs in the store and how far they are, or steer those of a fleet' },
  args: {
    action: {
      type: 'positional',
      required: false,
      valueHint: 'list|pause|resume|cancel|rank|rebuild|log',
      description: 'What to do; rebuild takes runs up from the store alone, rank sets priority and deadline',
    },
    run: { type: 'positional', required: false, valueHint: 'RUN', description: 'Id of the run' },
    priority: { type: 'string', valueHint: 'number', description: `For rank: 1 to ${MAX_PRIORITY}, lower goes first` },
    deadline: { type: 'string', valueHint: 'hours|time', description: 'For rank: when the run must have ended' },
    json: { type: 'boolean', description: 'Print one JSON document' },
  },
  async run({ args }) {
    const home = findHome();
    const { action = 'list', run: id } = args;
    if (action !== 'list') return console.log(await steer(home, action, id, args));
    const store = process.env.FOVEA_STORE ? await openStore(process.env.FOVEA_STORE) : await openHomeStore(home);
    const runs: Listed[] = [];
    for (const run of await listRuns(store, complain)) runs.push(await describe(run, home, store));
    console.log(args.json ? JSON.stringify(runs, null, 2) : text(runs));
  },
});

/** Tells of a run that is left out; the command ends as one that met a fault of the user's, since it did not do all. */
function complain(_run: string, error: FoveaError): void {
  console.error(error.message);
  process.exitCode = 2;
}

const ACTIONS = ['list', 'pause', 'resume', 'cancel', 'rank', 'rebuild', 'log'];

/** Does one of the actions on a fleet's run; what it returns is for the user. */
async function steer(
  home: Home,
  action: string,
  id: string | undefined,
  wish: { priority?: string; deadline?: string },
): Promise<string> {
  if (!ACTIONS.includes(action))
    throw new FoveaError(`\`fovea runs\` knows ${ACTIONS.join(', ')}; it does not "${action}".`);
  if (id === undefined && action !== 'rebuild')
    throw new FoveaError(`\`fovea runs ${action}\` needs a run: its id, as \`fovea runs\` lists them.`);
  const run = id ?? '';
  const changes = {
    ...(wish.priority !== undefined && { priority: wholeNumber('priority', wish.priority, 1, MAX_PRIORITY) }),
    ...(wish.deadline !== undefined && { deadline: deadlineOf(wish.deadline, new Date()) }),
  };
  if (action === 'rank' && Object.keys(changes).length === 0)
    throw new FoveaError('`fovea runs rank` needs what to change: --priority, --deadline or both.');
  return withFleet(home, async (fleet) => {
    if (action === 'rebuild') return rebuilt(await rebuildRuns(fleet, id, complain));
    if (action === 'log')
      return (await readLog(fleet, run, '0', 5000)).lines.map(({ at, text }) => `${at} ${text}`).join('\n');
    if (action === 'pause') await pauseRun(fleet, run);
    if (action === 'resume') await resumeRun(fleet, run);
    if (action === 'cancel') await cancelRun(fleet, run);
    if (action === 'rank') await rankRun(fleet, run, changes);
    return `${action}: the fleet's coordinator was told of ${run}`;
  });
}

function rebuilt(runs: { run: string; dropped: string[] }[]): string {
  if (runs.length === 0) return 'The store holds no run that has not ended.';
  return runs
    .map(
      ({ run, dropped }) => `${run}: taken up${dropped.length > 0 ? `; ${dropped.length} rounds had lost data` : ''}`,
    )
    .join('\n');
}

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
  const pruned = await prunedRounds(store, run.id);
  const checkpoints = [...committed].flatMap(([track, rounds]) =>
    rounds.map(({ round, record }) => ({
      id: record.checkpoint,
      track,
      stage: record.stage,
      round: round.round,
      step: record.step,
      pruned: pruned.has(prunedRef(run.id, track, round.round)),
    })),
  );
  // A record that says "running" while nobody holds its lock was left by a process that was killed.
  const isOwn = (await readControl(store, run.id)) === null;
  const isLeft = isOwn && run.status === 'running' && !(await isDriven(home, run.id));
  const status = isLeft ? 'interrupted' : run.status;
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
    const kept = run.checkpoints.filter(({ pruned }) => !pruned);
    const last = kept.at(-1)?.id.slice(0, 12) ?? '–';
    return [run.id, run.recipe, run.status, where, String(kept.length), last];
  });
  const failed = runs.filter((run) => run.error !== null).map((run) => `${run.id}: ${run.error}`);
  return [table(['run', 'recipe', 'status', 'round', 'checkpoints', 'last'], rows), ...failed].join('\n');
}

// `fovea sweep FILE`: hands a sweep to a fleet; its coordinator starts, promotes and ends the runs. `list`, `show` and
// `cancel` look at sweeps and end them; looking asks the store alone.

import { FoveaError, openStore, type Store } from '@fovea/artifacts';
import { cancelSweep, listSweeps, readSweep, type SweepWish, submitSweep } from '@fovea/jobs';
import { assignmentsOf, checkPoint, loadSweep, pointsOf, rungsOf, type Sweep, type SweepPoint } from '@fovea/recipe';
import { defineCommand } from 'citty';
import { describeRun } from '../describe-run.ts';
import { withFleet } from '../fleet.ts';
import { findHome, type Home, openHomeStore } from '../home.ts';
import { table } from '../summary.ts';
import { summarizeSweep, sweepText } from '../sweep-summary.ts';

const ACTIONS = ['list', 'show', 'cancel'];

export default defineCommand({
  meta: { name: 'sweep', description: "Vary a recipe's fields over a fleet's runs: grid, random search, ASHA, seeds" },
  args: {
    action: {
      type: 'positional',
      required: true,
      valueHint: 'file|list|show|cancel',
      description: 'A sweep file to submit; or what to do with those that were',
    },
    sweep: { type: 'positional', required: false, valueHint: 'SWEEP', description: 'For show and cancel: its id' },
    json: { type: 'boolean', description: 'Print one JSON document' },
  },
  async run({ args }) {
    const home = findHome();
    const { action, sweep: id } = args;
    const print = (value: unknown, text: string) => console.log(args.json ? JSON.stringify(value, null, 2) : text);
    if (!ACTIONS.includes(action)) {
      if (id !== undefined)
        throw new FoveaError(
          `\`fovea sweep\` takes one file to submit, or ${ACTIONS.join(', ')}; "${id}" is too much.`,
        );
      const { id: sweep, points, seeds } = await submit(home, action);
      return print({ sweep, points: points.length, runs: points.length * seeds.length }, sweep);
    }
    if (action === 'list') return list(await sweepStore(home), print);
    if (id === undefined)
      throw new FoveaError(`\`fovea sweep ${action}\` needs a sweep: its id, as \`fovea sweep list\` lists them.`);
    if (action === 'cancel') {
      await withFleet(home, (fleet) => cancelSweep(fleet, id));
      return print({ sweep: id, wants: 'cancel' }, `cancel: the fleet's coordinator was told of ${id}`);
    }
    const store = await sweepStore(home);
    const summary = await summarizeSweep(store, await readSweep(store, id));
    print(summary, sweepText(summary));
  },
});

const sweepStore = (home: Home): Promise<Store> =>
  process.env.FOVEA_STORE ? openStore(process.env.FOVEA_STORE) : openHomeStore(home);

/** Checks every point before anything is submitted. */
async function submit(home: Home, file: string) {
  const sweep = await loadSweep(file);
  const points: SweepWish['points'] = [];
  let seeds = sweep.seeds;
  let rungs: number[] = [];
  for (const point of pointsOf(sweep)) {
    const resolved = await resolve(home, sweep, point);
    const own = rungsOf(sweep, resolved.recipe);
    if (points.length > 0 && sweep.search.kind === 'asha' && own.join() !== rungs.join())
      throw new FoveaError(
        `The sweep "${sweep.name}" varies how many rounds the align stage has, so that its points cannot be judged together; set search.max, or leave steps and roundSteps out of its space.`,
      );
    rungs = points.length === 0 ? own : rungs;
    seeds ??= [resolved.recipe.seed];
    points.push({ ...point, resolved });
  }
  return withFleet(home, (fleet) => submitSweep(fleet, { sweep, seeds: seeds!, rungs, points }, new Date()));
}

async function resolve(home: Home, sweep: Sweep, { values }: SweepPoint) {
  const wish = { recipe: sweep.recipe, set: assignmentsOf(sweep, values) };
  const { recipeHash: _hash, ...resolved } = await describeRun(home, wish, (text) => console.error(text));
  checkPoint(sweep, resolved.recipe);
  return resolved;
}

async function list(store: Store, print: (value: unknown, text: string) => void): Promise<void> {
  const sweeps = (await listSweeps(store)).map(({ sweep: { id, sweep, points, seeds, createdAt }, status }) => ({
    id,
    status,
    recipe: sweep.recipe,
    search: sweep.search.kind,
    points: points.length,
    runs: points.length * seeds.length,
    createdAt,
  }));
  const rows = sweeps.map((each) => [each.id, each.status, each.search, String(each.points), String(each.runs)]);
  const none = 'There is no sweep yet; `fovea sweep FILE` submits one.';
  print(sweeps, rows.length === 0 ? none : table(['sweep', 'status', 'search', 'points', 'runs'], rows));
}

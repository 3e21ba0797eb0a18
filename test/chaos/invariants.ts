// What must hold of a completed run, as sentences for what does not: of its rounds and checkpoints, of its scores, and of
// the queues. Whether the store is whole, `verifyStore` says.

import { JobBook, keys, type RunRecord, readScores } from '@fovea/jobs';
import { planOf } from '@fovea/recipe';
import { type Reference, until, type World } from './world.ts';

/** Every round of the plan is committed once and is what it must be, and nobody names another. */
export async function faultsOfRounds(world: World, run: RunRecord, reference: Reference): Promise<string[]> {
  const { store } = world.fleet;
  const found = await world.checkpoints(run);
  const planned = [...planOf(run.recipe)].flatMap(([track, rounds]) => rounds.map(({ round }) => `${track}/${round}`));
  const faults = planned
    .filter((place) => found[place] === undefined || found[place] !== reference[place])
    .map((place) => `${place} is ${found[place]}, not ${reference[place]}`);
  for (const event of await world.events(run)) {
    if (event.type !== 'committed') continue;
    const place = `${event.track}/${event.round}`;
    if (event.checkpoint !== found[place]) faults.push(`${place} was once committed as ${event.checkpoint}`);
  }
  for (const { place, id } of await manifests(world)) {
    if (id !== found[place]) faults.push(`${place} has another manifest, ${id}`);
  }
  for (const part of ['shards', 'partial'])
    for (const ref of await store.listRefs(`runs/${run.id}/${part}`)) faults.push(`${ref} was left behind`);
  return faults;
}

/** Every manifest in the store, named or not: what is computed twice must be the same bytes. */
async function manifests(world: World): Promise<{ place: string; id: string }[]> {
  const found: { place: string; id: string }[] = [];
  for await (const { sha256, size } of world.fleet.store.listBlobs()) {
    if (size > 4096) continue;
    const text = new TextDecoder().decode(await world.fleet.store.get(sha256));
    if (!text.startsWith('{') || !text.includes('"cursor"')) continue;
    const { track, round } = JSON.parse(text);
    found.push({ place: `${track}/${round}`, id: sha256 });
  }
  return found;
}

/** Every checkpoint that is to be scored has one score, the same for whoever asks. */
export async function faultsOfScores(world: World, run: RunRecord): Promise<string[]> {
  const { store } = world.fleet;
  const found = await world.checkpoints(run);
  const due = [...planOf(run.recipe)].flatMap(([track, rounds]) =>
    rounds.flatMap(({ round, scored }) => (scored ? [found[`${track}/${round}`]] : [])),
  );
  const scores = await readScores(store, run.id);
  const faults: string[] = [];
  const refs = await store.listRefs('scores');
  const cards = await Promise.all(refs.map(async (ref) => (await store.readRef(ref)) as { scorecard: string }));
  if (refs.length !== new Set(due).size) faults.push(`${new Set(due).size} scores were due, ${refs.length} are there`);
  for (const checkpoint of due) {
    const own = scores.filter((score) => score.checkpoint === checkpoint);
    if (own.length !== 1) faults.push(`the run has ${own.length} scores of ${checkpoint}`);
    if (own.some(({ scorecard }) => !cards.some((card) => card.scorecard === scorecard)))
      faults.push(`the run's score of ${checkpoint} is not the one that is remembered`);
  }
  for (const event of await world.events(run)) {
    if (event.type === 'scored' && !cards.some(({ scorecard }) => scorecard === event.scorecard))
      faults.push(`${event.role} ${event.round} was once scored as ${event.scorecard}`);
  }
  return faults;
}

/** Jobs that are still somewhere a while after the run has ended. */
export async function leftJobs(world: World, run: RunRecord): Promise<string[]> {
  const { redis, prefix } = world.fleet.fleet;
  const book = new JobBook(world.fleet.fleet, () => undefined);
  let left: string[] = [];
  const look = async () => {
    const counts = await book.counts();
    const jobs = await Promise.all(counts.map(async ({ queue }) => book.queue(queue).getJobs()));
    left = await Promise.all(
      jobs.flat().map(async (job) => `${job.id} was left ${await job.getState()}: ${job.failedReason ?? ''}`),
    );
    if ((await redis.exists(keys.jobs(prefix, run.id))) > 0) left.push(`the list of the jobs of ${run.id} is there`);
    return left.length === 0;
  };
  await until(look, 'the queues to be empty', 10_000).catch(() => undefined);
  await book.close();
  return left;
}

// `fovea train`: makes a run from a recipe, or takes up one that was stopped, and drives it to its report.

import { rm } from 'node:fs/promises';
import path from 'node:path';
import { explainDisk, FoveaError, type Store } from '@fovea/artifacts';
import {
  committedRounds,
  createRun,
  ensureRedis,
  listRuns,
  type RunRecord,
  readRound,
  readRun,
  recoverRun,
  runRef,
  updateRun,
} from '@fovea/jobs';
import { checkSources } from '@fovea/recipe';
import { type ArgsDef, defineCommand } from 'citty';
import { listOf, wholeNumber } from '../arguments.ts';
import { describeRun, reading } from '../describe-run.ts';
import { driveRun, type End, lockRun, prepareRunDir, runDirOf, type Watcher } from '../drive.ts';
import { findHome, type Home, openHomeStore, shown } from '../home.ts';
import { LiveView } from '../live.ts';
import { RunProgress } from '../progress.ts';
import { readSummary, scoreTable, stageTable } from '../summary.ts';

const args = {
  recipe: { type: 'string', description: 'Name of a preset, or a recipe file', valueHint: 'name|file' },
  'from-scratch': { type: 'boolean', description: "Train from random weights, not from the recipe's" },
  resume: {
    type: 'string',
    description: 'Go on with a stopped run; the last one if no id is given',
    valueHint: 'run',
    optionalValue: true,
  },
  set: {
    type: 'string',
    multiple: true,
    description: 'Set one field of the recipe, such as stages.align.lr=1e-5; may be given several times',
    valueHint: 'field=value',
  },
  seed: { type: 'string', description: "Seed of the run, in place of the recipe's", valueHint: 'number' },
  name: { type: 'string', description: "Name of the run, in place of the recipe's", valueHint: 'name' },
  json: { type: 'boolean', description: 'Print nothing but one JSON document at the end' },
  'redis-port': {
    type: 'string',
    description: 'Let the private Redis listen on this port of 127.0.0.1',
    valueHint: 'port',
  },
} satisfies ArgsDef & Record<string, { optionalValue?: boolean; multiple?: boolean }>;

interface Flags {
  recipe?: string;
  set: string[];
  fromScratch: boolean;
  resume?: string;
  seed?: number;
  name?: string;
  json: boolean;
  redisPort?: number;
}

const DEFAULT_RECIPE = 'emoji';
const INTERRUPTED = 130;
/** npm and turbo pass on the same Ctrl-C that the terminal sent; only one that comes later is a second one. */
const SAME_PRESS_MS = 1500;

export default defineCommand({
  meta: { name: 'train', description: 'Train, evaluate and report: from a recipe, or on from where a run was stopped' },
  args,
  async run({ args }) {
    const flags: Flags = {
      recipe: args.recipe,
      set: listOf(args.set),
      fromScratch: args['from-scratch'] === true,
      resume: args.resume,
      seed: args.seed === undefined ? undefined : wholeNumber('seed', args.seed, 0, 2 ** 32 - 1),
      name: args.name,
      json: args.json === true,
      redisPort: args['redis-port'] === undefined ? undefined : wholeNumber('redis-port', args['redis-port'], 1, 65535),
    };
    process.exitCode = await train(flags);
  },
});

async function train(flags: Flags): Promise<number> {
  const home = findHome();
  const store = await openHomeStore(home);
  const interrupt = listenForInterrupt();
  const view = flags.json ? null : new LiveView({ out: process.stdout });
  const watcher: Watcher = { event: (event) => view?.apply(event), say: (text) => view?.note(text) };
  const found =
    flags.resume === undefined ? await newRun(home, store, flags, watcher) : await runToResume(home, store, flags);
  if (found === null) return 0;
  const { run, lock, redis } = await prepare(home, store, found, flags, watcher);
  try {
    view?.start(new RunProgress(run, await committedRounds(store, run)));
    const end = await driveRun({ home, store, run, redis, watcher, signal: interrupt.signal }).finally(() =>
      view?.stop(),
    );
    return await tell(home, run, end, flags.json);
  } finally {
    await redis.stop();
    await lock.release();
    interrupt.end();
  }
}

/** Everything that can be refused before a run begins. A new run that is refused leaves nothing behind. */
async function prepare(home: Home, store: Store, found: RunRecord, flags: Flags, watcher: Watcher) {
  const undo: (() => Promise<unknown>)[] = [];
  const fresh = flags.resume === undefined;
  try {
    if (fresh)
      undo.push(
        () => store.removeRef(runRef(found.id)),
        () => rm(runDirOf(home, found.id), { recursive: true, force: true }),
      );
    const lock = await lockRun(home, found.id);
    undo.push(() => lock.release());
    for (const ref of fresh ? [] : await recoverRun(store, found))
      watcher.say(`${ref} had lost its data and is trained again`);
    if (!fresh) {
      const hasBegun = (await readRound(store, found.id, 'trunk', 0)) !== null;
      await reading(watcher.say, checkSources(found, { cacheDir: home.cacheDir, hasBegun }));
    }
    const redis = await ensureRedis({ root: home.dir, runId: found.id, port: flags.redisPort, say: watcher.say });
    undo.push(() => redis.stop());
    await prepareRunDir(home, found, commandLine(flags));
    const again = { session: found.session + 1, status: 'running', error: null } as const;
    const run = fresh ? found : await updateRun(store, found.id, again, new Date());
    return { run, lock, redis };
  } catch (error) {
    for (const step of undo.reverse()) await step().catch(() => undefined);
    throw explainDisk(error, `The run ${found.id} cannot be prepared in ${home.dir} and ${home.runsDir}`);
  }
}

async function newRun(home: Home, store: Store, flags: Flags, watcher: Watcher): Promise<RunRecord> {
  return createRun(
    store,
    await describeRun(home, { ...flags, recipe: flags.recipe ?? DEFAULT_RECIPE }, watcher.say),
    new Date(),
  );
}

/** The run to go on with; null if there is nothing left to do. */
async function runToResume(home: Home, store: Store, flags: Flags): Promise<RunRecord | null> {
  const fixed = Object.entries({
    recipe: flags.recipe,
    'from-scratch': flags.fromScratch || undefined,
    set: flags.set.length > 0 || undefined,
    seed: flags.seed,
    name: flags.name,
  });
  const changed = fixed.find(([, value]) => value !== undefined)?.[0];
  if (changed)
    throw new FoveaError(
      `--${changed} cannot be given together with --resume, because a run keeps the recipe it began with; leave it out, or start a new run.`,
    );
  let run: RunRecord | undefined;
  if (flags.resume) run = await readRun(store, flags.resume);
  else {
    const runs = await listRuns(store, (_run, error) => console.error(error.message));
    if (runs.length === 0) throw new FoveaError('There is no run to resume yet: start one with `fovea train`.');
    run = runs.find((each) => each.status !== 'completed') ?? runs[0];
  }
  if (run.status !== 'completed' || !(await readSummary(runDirOf(home, run.id)).catch(() => null))) return run;
  await tell(home, run, { status: 'completed' }, flags.json);
  return null;
}

async function tell(home: Home, run: RunRecord, end: End, json: boolean): Promise<number> {
  const dir = runDirOf(home, run.id);
  if (end.status === 'completed') {
    const summary = await readSummary(dir);
    if (json)
      console.log(
        JSON.stringify(
          { ...summary, status: 'completed', directory: dir, report: path.join(dir, 'report.html') },
          null,
          2,
        ),
      );
    else
      console.log(
        [
          '',
          summary.stages.length > 0 ? `${stageTable(summary)}\n` : null,
          scoreTable(summary),
          '',
          `Report: ${shown(path.join(dir, 'report.html'))}`,
        ]
          .filter((part) => part !== null)
          .join('\n'),
      );
    return 0;
  }
  const resume = `npx fovea train --resume ${run.id}`;
  if (json) {
    const error = end.status === 'failed' ? { message: end.message, user: end.user } : null;
    console.log(JSON.stringify({ run: run.id, status: end.status, error, directory: dir, resume }, null, 2));
  }
  if (end.status === 'stopped') {
    if (!json) console.log(`Stopped; every committed round is kept. Go on with: ${resume}`);
    return INTERRUPTED;
  }
  console.error(
    end.user
      ? end.message
      : `The run ${run.id} failed: ${end.message} (log: ${shown(path.join(dir, 'log'))}); go on with: ${resume}`,
  );
  return end.user ? 2 : 1;
}

/** The first Ctrl-C stops in good order; a second one at once. */
function listenForInterrupt(): { signal: AbortSignal; end: () => void } {
  const controller = new AbortController();
  let first = 0;
  const onSignal = () => {
    if (!controller.signal.aborted) {
      first = performance.now();
      controller.abort(new Error('interrupted'));
    } else if (performance.now() - first > SAME_PRESS_MS) {
      process.exit(INTERRUPTED);
    }
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const name of signals) process.on(name, onSignal);
  return { signal: controller.signal, end: () => signals.forEach((name) => void process.off(name, onSignal)) };
}

function commandLine(flags: Flags): string {
  const parts = ['fovea train', `--recipe ${flags.recipe ?? DEFAULT_RECIPE}`];
  for (const each of flags.set) parts.push(`--set '${each}'`);
  if (flags.fromScratch) parts.push('--from-scratch');
  if (flags.seed !== undefined) parts.push(`--seed ${flags.seed}`);
  if (flags.name !== undefined) parts.push(`--name ${flags.name}`);
  return parts.join(' ');
}

// Drives a run from its record to its end: the lock, the three processes, the events for whoever watches, and a clean
// way out whatever happens. It computes nothing and decides nothing about the run: the coordinator does.

import { mkdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type FileLock, FoveaError, type Store, takeLock } from '@fovea/artifacts';
import {
  connect,
  type OwnedRedis,
  privatePrefix,
  purge,
  type RunEvent,
  type RunRecord,
  readEvents,
  readReport,
  readRun,
  updateRun,
} from '@fovea/jobs';
import { type Home, runLock } from './home.ts';
import { type Failure, Processes } from './processes.ts';

export interface Watcher {
  event(event: RunEvent): void;
  /** A sentence that is worth showing and needs no answer. */
  say(text: string): void;
}

export interface DriveOptions {
  home: Home;
  store: Store;
  run: RunRecord;
  redis: OwnedRedis;
  watcher: Watcher;
  /** Aborted by Ctrl-C. */
  signal: AbortSignal;
}

export type End = { status: 'completed' } | { status: 'stopped' } | ({ status: 'failed' } & Failure);

/** The eval worker waits for the first event, or this long: until then training needs the cores to get going. */
const EVAL_DELAY_MS = 5000;

/** The folder runs/<id>. */
export const runDirOf = (home: Home, runId: string) => path.join(home.runsDir, runId);

/** Takes the run's lock; a FoveaError if another process drives it. */
export async function lockRun(home: Home, runId: string): Promise<FileLock> {
  const lock = await takeLock(runLock(home, runId));
  if ('release' in lock) return lock;
  throw new FoveaError(
    `The run ${runId} is being driven by process ${lock.heldBy.pid} on ${lock.heldBy.host}: wait for it, or stop it there before you resume it here.`,
  );
}

/** Makes runs/<id> with the recipe as it was written, and points runs/latest at it. */
export async function prepareRunDir(home: Home, run: RunRecord, command: string): Promise<string> {
  const dir = runDirOf(home, run.id);
  await mkdir(dir, { recursive: true });
  const recipe = `# Run ${run.id}, made by: ${command}\n${run.recipeText}`;
  if (!(await stat(path.join(dir, 'recipe.yaml')).catch(() => null)))
    await writeFile(path.join(dir, 'recipe.yaml'), recipe);
  const latest = path.join(home.runsDir, 'latest');
  const fresh = path.join(home.runsDir, `.latest-${process.pid}`);
  await rm(fresh, { force: true });
  await symlink(run.id, fresh);
  await rename(fresh, latest);
  return dir;
}

/** Runs the processes until the run has an end, and leaves none of them running. The run's lock must be held. */
export async function driveRun(options: DriveOptions): Promise<End> {
  const { store, run, redis, signal } = options;
  if (signal.aborted) return conclude(store, run, { status: 'stopped' });
  if (redis.ownedPid === null) await forget(redis.url, run.id);
  const processes = startProcesses(options);
  const end = await watch(options, processes).finally(() => processes.stop());
  if (end.status === 'completed') await unpackReport(store, run.id, runDirOf(options.home, run.id));
  return conclude(store, run, end);
}

/** Writes a completed run's report.html and summary.json into its folder; a reader sees whole files only. */
export async function unpackReport(store: Store, runId: string, dir: string): Promise<void> {
  const record = await readReport(store, runId);
  if (!record) throw new FoveaError(`The run ${runId} has no report in the store; go on with it to make one.`);
  await mkdir(dir, { recursive: true });
  for (const [name, { sha256 }] of [
    ['report.html', record.report],
    ['summary.json', record.summary],
  ] as const) {
    await writeFile(path.join(dir, `.${name}`), await store.get(sha256));
    await rename(path.join(dir, `.${name}`), path.join(dir, name));
  }
}

function startProcesses({ home, store, run, redis, watcher }: DriveOptions): Processes {
  const runDir = runDirOf(home, run.id);
  const env = {
    FOVEA_REDIS_URL: redis.url,
    FOVEA_STORE: home.storeDir,
    FOVEA_CACHE: home.cacheDir,
    FOVEA_PREFIX: privatePrefix(run.id),
    FOVEA_RUN: run.id,
  };
  const processes = new Processes({ log: path.join(runDir, 'log'), env, say: watcher.say });
  const app = (name: string) => new URL(`../../${name}/src/main.ts`, import.meta.url);
  processes.keep('train-0', app('train-worker'));
  processes.keep('coordinator', app('coordinator'), async () => hasEnded(await readRun(store, run.id)));
  processes.keepLater('eval-0', app('eval-worker'), EVAL_DELAY_MS);
  return processes;
}

const hasEnded = (run: RunRecord) => run.status !== 'running';

/** Passes events on until the run has ended, a process cannot go on, or Ctrl-C. */
async function watch({ store, run, redis: server, watcher, signal }: DriveOptions, processes: Processes): Promise<End> {
  const redis = connect(server.url, { onError: () => undefined });
  const events = { redis, prefix: privatePrefix(run.id) };
  let watching = true;
  /** Shows events until the store says that the run has ended. */
  const follow = async (): Promise<End> => {
    for (let after = '0'; watching; ) {
      const { events: heard, last } = await readEvents(events, run.id, after, 1000).catch(() => pause(after));
      after = last;
      if (heard.length > 0) processes.startLate();
      for (const event of heard) watcher.event(event);
      const end = endOf(await readRun(store, run.id));
      if (end) return end;
    }
    return { status: 'stopped' };
  };
  const broken = processes.failed.then((failure): End => ({ status: 'failed', ...failure }));
  const lost = server.lost.then((message): End => ({ status: 'failed', message, user: true }));
  const stopped = new Promise<End>((resolve) => {
    const stop = () => resolve({ status: 'stopped' });
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([follow(), broken, lost, stopped]);
  } finally {
    watching = false;
    redis.disconnect();
  }
}

function endOf(run: RunRecord): End | null {
  if (run.status === 'completed') return { status: 'completed' };
  return run.status === 'failed' ? { status: 'failed', ...run.error! } : null;
}

async function pause(after: string): Promise<{ events: RunEvent[]; last: string }> {
  await new Promise((resolve) => setTimeout(resolve, 200));
  return { events: [], last: after };
}

/** Writes how it ended, as far as the disk lets us: the sentence matters more than its record. */
async function conclude(store: Store, run: RunRecord, end: End): Promise<End> {
  if (end.status === 'stopped') {
    // The last act may have been over before Ctrl-C was heard.
    const ended = endOf(await readRun(store, run.id));
    if (ended) return ended;
  }
  const { status } = end;
  const error = status === 'failed' ? { message: end.message, user: end.user } : null;
  await updateRun(store, run.id, { status, error }, new Date()).catch(() => undefined);
  return end;
}

/** In somebody else's Redis the keys of an earlier session may still be there. */
async function forget(url: string, runId: string): Promise<void> {
  const redis = connect(url, { mode: 'hasty' });
  await purge(redis, privatePrefix(runId)).finally(() => redis.disconnect());
}

// Where things are: the repository (or the folder that the user works in), runs/ with what a person looks at, and
// .fovea/ with the store, caches, locks and the private Redis.

import { realpathSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { isLocked, openStore, type Store } from '@fovea/artifacts';

const REPOSITORY = fileURLToPath(new URL('../../../', import.meta.url));

export interface Home {
  /** The folder that holds runs/ and, unless FOVEA_HOME says otherwise, .fovea/. */
  root: string;
  /** .fovea/ */
  dir: string;
  runsDir: string;
  cacheDir: string;
  storeDir: string;
}

/**
 * Everything lies under the repository when the user stands anywhere in it, and under the folder they stand in
 * otherwise. npm, npx and turbo change the working folder and say in INIT_CWD where the user was.
 */
export function findHome(env: NodeJS.ProcessEnv = process.env): Home {
  const repository = path.resolve(REPOSITORY);
  const stand = env.INIT_CWD ? resolved(env.INIT_CWD) : repository;
  const inside = stand === repository || stand.startsWith(repository + path.sep);
  const root = inside ? repository : stand;
  const dir = env.FOVEA_HOME ? path.resolve(stand, env.FOVEA_HOME) : path.join(root, '.fovea');
  return {
    root,
    dir,
    runsDir: path.join(root, 'runs'),
    cacheDir: path.join(dir, 'cache'),
    storeDir: path.join(dir, 'store'),
  };
}

/**
 * turbo and `npm run -w` start us in our own package and leave no word of where the user stood; that was the root in
 * all likelihood, and paths on the command line are meant from there.
 */
export function standAtRoot(env: NodeJS.ProcessEnv = process.env): void {
  const own = path.resolve(REPOSITORY, 'apps/cli');
  if (env.INIT_CWD && resolved(env.INIT_CWD) === own) env.INIT_CWD = path.resolve(REPOSITORY);
}

function resolved(folder: string): string {
  try {
    return realpathSync(folder);
  } catch {
    return path.resolve(folder);
  }
}

/** Opens the store of the home, making it if need be. */
export function openHomeStore(home: Home): Promise<Store> {
  return openStore(home.storeDir);
}

/** The lock that whoever drives the run holds. */
export function runLock(home: Home, runId: string): string {
  return path.join(home.dir, 'locks', `${runId}.lock`);
}

/** Whether a living process drives the run now. */
export function isDriven(home: Home, runId: string): Promise<boolean> {
  return isLocked(runLock(home, runId));
}

/** A path as a person at the user's working folder would write it. */
export function shown(file: string, env: NodeJS.ProcessEnv = process.env): string {
  const relative = path.relative(env.INIT_CWD ?? process.cwd(), file);
  return relative === '' ? '.' : relative.startsWith('..') ? file : relative;
}

// Finds the checkpoint that a person means: an id or its first characters, or a role of a run, newest first.

import { FoveaError, hasCheckpoint, type Store } from '@fovea/artifacts';
import { committedRounds, listRuns, prunedRef, prunedRounds, type RunRecord, readRun } from '@fovea/jobs';

export interface FoundCheckpoint {
  id: string;
  run: RunRecord;
  /** `baseline` for the start, else the branch. */
  role: string;
  step: number;
  /** Whether its run has let its weights go. */
  isPruned: boolean;
}

const ROLES = ['baseline', 'aligned', 'control', 'placebo'];

/**
 * `what` is an id, at least six of its first characters, a role (`aligned`: the newest of the newest run), or `latest`
 * for the newest checkpoint of all. `runId` narrows the search to one run.
 */
export async function findCheckpoint(store: Store, what: string, runId?: string): Promise<FoundCheckpoint> {
  const all = await allCheckpoints(store, runId);
  if (all.length === 0) {
    throw new FoveaError(
      `There is no checkpoint${runId ? ` of the run "${runId}"` : ''} yet; \`npx fovea train\` makes some, \`npx fovea runs\` lists them.`,
    );
  }
  if (what === 'latest') return all[all.length - 1];
  if (ROLES.includes(what)) {
    const ofRole = all.filter((each) => each.role === what).at(-1);
    if (ofRole) return ofRole;
    throw new FoveaError(`No run has a checkpoint of the role "${what}"; \`npx fovea runs\` lists what there is.`);
  }
  const matches = /^[0-9a-f]{6,64}$/.test(what) ? all.filter((each) => each.id.startsWith(what)) : [];
  const ids = [...new Set(matches.map((each) => each.id))];
  if (ids.length === 1) {
    const found = matches.find(({ isPruned }) => !isPruned) ?? matches[matches.length - 1];
    if (!found.isPruned || (await hasCheckpoint(store, found.id))) return found;
    throw new FoveaError(
      `The weights of checkpoint "${what}" are gone: the run ${found.run.id} keeps only what its recipe's "keep" says; take a later one, or train again with more kept.`,
    );
  }
  if (ids.length > 1)
    throw new FoveaError(`"${what}" begins ${ids.length} checkpoints' ids; give more of its characters.`);
  throw new FoveaError(
    `There is no checkpoint "${what}"; give an id of \`npx fovea runs\` (at least six characters), a role (${ROLES.join(', ')}) or "latest".`,
  );
}

/** All committed checkpoints, oldest run first, in the order of their tracks. */
async function allCheckpoints(store: Store, runId?: string): Promise<FoundCheckpoint[]> {
  const runs =
    runId === undefined
      ? await listRuns(store, (_run, error) => console.error(error.message))
      : [await readRun(store, runId)];
  runs.sort((a, b) => (a.createdAt < b.createdAt ? -1 : 1));
  const found: FoundCheckpoint[] = [];
  for (const run of runs) {
    const pruned = await prunedRounds(store, run.id);
    for (const [track, rounds] of await committedRounds(store, run)) {
      for (const { round, record } of rounds) {
        const isPruned = pruned.has(prunedRef(run.id, track, round.round));
        const role = track === 'trunk' ? 'baseline' : track;
        found.push({ id: record.checkpoint, run, role, step: record.step, isPruned });
      }
    }
  }
  return found;
}

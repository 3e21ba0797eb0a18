// Named points at which a test may end or hold this very process, by a file in the folder FOVEA_FAULTS; without that
// variable nothing happens. What no process can be asked to do politely (dying between two writes) is proved this way.

import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Every point that there is, in the order in which a round and a score reach them. */
export const FAULT_POINTS = [
  'shard-taken',
  'shard-computed',
  'shard-recorded',
  'merge-taken',
  'merge-claimed',
  'commit-checked',
  'commit-written',
  'commit-set',
  'commit-done',
  'score-taken',
  'score-computed',
  'score-remembered',
  'score-done',
  'plan-looked',
  'plan-queued',
  'plan-concluded',
] as const;
/** Those that only a sweep reaches, and only the sweeping of the store. */
export const OTHER_FAULT_POINTS = [
  'sweep-noted',
  'sweep-started',
  'sweep-promoted',
  'round-pruned',
  'store-collected',
] as const;
export type FaultPoint = (typeof FAULT_POINTS)[number] | (typeof OTHER_FAULT_POINTS)[number];

/**
 * Reaches a point: `kill` in its file ends the process, `stop` freezes it, `wait` holds it while the file is there, a
 * number delays it by so many milliseconds. All but `wait` happen once.
 */
export async function faultPoint(point: FaultPoint): Promise<void> {
  const folder = process.env.FOVEA_FAULTS;
  if (!folder) return;
  const file = path.join(folder, `at-${point}`);
  if (!existsSync(file)) return;
  let action: string;
  try {
    action = readFileSync(file, 'utf8').trim();
    if (action !== 'wait') rmSync(file);
  } catch {
    // Another process was at the point first and has taken it.
    return;
  }
  if (action === 'kill') process.kill(process.pid, 'SIGKILL');
  if (action === 'stop') process.kill(process.pid, 'SIGSTOP');
  if (action === 'wait') {
    writeFileSync(`${file}.pid`, String(process.pid));
    while (existsSync(file)) await sleep(20);
    return;
  }
  await sleep(Number(action) || 0);
}

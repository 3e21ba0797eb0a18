// Keeps processes of a fleet running until SIGTERM or Ctrl-C, and ends them in good order: what `fovea coordinator` and
// `fovea worker` are.

import { Processes } from './processes.ts';

export interface Kept {
  /** Unique in the fleet. */
  name: string;
  entry: URL;
  env?: Record<string, string>;
}

/** Returns the exit code: 0 after a stop, 2 where a process cannot go on by the user's fault, 1 by ours. */
export async function supervise(env: Record<string, string>, kept: Kept[]): Promise<number> {
  const processes = new Processes({ env, say: (text) => console.error(text) });
  const stopped = new Promise<null>((resolve) => {
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => resolve(null));
  });
  for (const { name, entry, env } of kept) processes.keep(name, entry, undefined, env);
  const failure = await Promise.race([processes.failed, stopped]);
  await processes.stop();
  if (failure === null) return 0;
  console.error(failure.message);
  return failure.user ? 2 : 1;
}

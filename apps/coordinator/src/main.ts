// The coordinator's process: looks whenever a job ends or an operator speaks, and once a second besides. A private
// fleet's ends with its run; a lasting one's when it is asked to.

import { isAway } from '@fovea/artifacts';
import { onControl, readRun, runProcess, timestamp } from '@fovea/jobs';
import { startTracing } from '@fovea/trackers/traces';
import { Bell } from './bell.ts';
import { Coordinator } from './coordinator.ts';
import { Ears } from './ears.ts';
import { Observer } from './observer.ts';

/** The coordinator looks at least this often, whatever Redis tells it. */
const POLL_MS = 1000;
/** Looks in a row that may go wrong altogether before the process gives up and is started anew. */
const PATIENCE = 30;

await runProcess(async (context) => {
  const { fleet, only, signal } = context;
  const bell = new Bell(POLL_MS);
  signal.addEventListener('abort', () => bell.ring(), { once: true });
  const scoreAfter = process.env.FOVEA_SCORE_AFTER === 'training' ? 'training' : 'commit';
  const tracing = await startTracing({ serviceName: 'fovea-coordinator', say: (text) => console.error(text) });
  const observer = new Observer(fleet);
  const coordinator = new Coordinator({ fleet, only, scoreAfter, observer });
  // A private fleet has one user, who sits before it.
  const endHttp =
    only === null ? await (await import('./http.ts')).serveHttp(context, coordinator.book, observer) : null;
  const control = context.open();
  await onControl(control, fleet.prefix, (message) => {
    if (message.type === 'run') coordinator.hear(message.run);
    if (message.type === 'workers' || message.type === 'sweep') coordinator.doubt();
    if (['run', 'workers', 'sweep'].includes(message.type)) bell.ring();
  });
  const ears = new Ears(context, coordinator, observer.metrics, () => bell.ring());
  const isOver = async () => only !== null && (await readRun(fleet.store, only)).status !== 'running';
  const ended = (async () => {
    for (let faults = 0; !signal.aborted; await bell.wait()) {
      try {
        if (only !== null) coordinator.hear(only);
        const began = performance.now();
        await coordinator.look();
        const seconds = (performance.now() - began) / 1000;
        const pools = await coordinator.book.counts(coordinator.workers);
        await observer.looked(pools, coordinator.workers, coordinator.running, seconds);
        ears.open(pools);
        if (await isOver()) return;
        faults = 0;
      } catch (error) {
        const away = isAway(error);
        if (!away && ++faults > PATIENCE) throw error;
        coordinator.doubt();
        console.error(`${timestamp()} look: ${away ? (error as Error).message : (error as Error).stack}`);
      }
    }
  })();
  const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  await Promise.race([ended, stopped]);
  await Promise.all([endHttp?.(), observer.close()]);
  await tracing.close();
  if (signal.aborted) return;
  control.disconnect();
  await Promise.all([ears.close(), coordinator.close()]);
});

// `fovea workers`: who works in the fleet, on what, and what waits for whom; and how many may work on a kind at once.

import { FoveaError } from '@fovea/artifacts';
import { JobBook, listWorkers, poolOf } from '@fovea/jobs';
import { defineCommand } from 'citty';
import { wholeNumber } from '../arguments.ts';
import { withFleet } from '../fleet.ts';
import { findHome } from '../home.ts';
import { table } from '../summary.ts';

export default defineCommand({
  meta: { name: 'workers', description: "List a fleet's workers and queues" },
  args: {
    limit: {
      type: 'string',
      valueHint: 'QUEUE=N',
      description: 'Let at most N jobs of a queue be worked on at once; QUEUE=none takes the limit away',
    },
    json: { type: 'boolean', description: 'Print one JSON document' },
  },
  async run({ args }) {
    const { workers, pools } = await withFleet(findHome(), async (fleet) => {
      const book = new JobBook(fleet, () => undefined);
      if (args.limit) await book.limit(...limitOf(args.limit));
      const workers = await listWorkers(fleet);
      const pools = await book.counts(workers);
      await book.close();
      return { workers, pools };
    });
    if (args.json) return console.log(JSON.stringify({ workers, pools }, null, 2));
    const size = (memory: number) => `${memory} GiB`;
    console.log(
      table(
        ['worker', 'role', 'device', 'memory', 'job'],
        workers.map(({ name, role, device, memory, job }) => [name, role, device, size(memory), job?.id ?? 'idle']),
      ),
    );
    console.log('');
    console.log(
      table(
        ['queue', 'workers', 'limit', 'waiting', 'active', 'delayed', 'failed'],
        pools.map(({ queue, ...n }) => [
          queue,
          String(n.workers),
          String(n.limit ?? 'none'),
          ...[n.waiting, n.active, n.delayed, n.failed].map(String),
        ]),
      ),
    );
  },
});

/** `train-cuda-80g=4` as a queue and its limit. */
function limitOf(text: string): [string, number | null] {
  const [queue, n = '', ...rest] = text.split('=');
  if (!poolOf(queue) || rest.length > 0)
    throw new FoveaError(
      `The flag --limit takes a queue and a number, such as train-cuda-80g=4, not "${text}"; \`fovea workers\` lists the queues.`,
    );
  return [queue, n === 'none' ? null : wholeNumber('limit', n, 1, 100_000)];
}

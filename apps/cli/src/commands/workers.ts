// `fovea workers`: who works in the fleet, on what, and what waits for whom.

import { JobBook, listWorkers } from '@fovea/jobs';
import { defineCommand } from 'citty';
import { withFleet } from '../fleet.ts';
import { findHome } from '../home.ts';
import { table } from '../summary.ts';

export default defineCommand({
  meta: { name: 'workers', description: "List a fleet's workers and queues" },
  args: { json: { type: 'boolean', description: 'Print one JSON document' } },
  async run({ args }) {
    const { workers, pools } = await withFleet(findHome(), async (fleet) => {
      const book = new JobBook(fleet, () => undefined);
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
        ['queue', 'workers', 'waiting', 'active', 'delayed', 'failed'],
        pools.map(({ queue, ...n }) => [queue, ...[n.workers, n.waiting, n.active, n.delayed, n.failed].map(String)]),
      ),
    );
  },
});

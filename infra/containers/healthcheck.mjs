// Whether the process of this container does its work: a coordinator answers over HTTP, a worker is on the fleet's list.
// Says why not and exits 1. For people and for a load balancer: no orchestrator should end a worker for it, because a
// worker that cannot reach Redis for a while still trains.

import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';

const WITHIN_MS = 10_000;
const argv = readFileSync('/proc/1/cmdline', 'utf8').split('\0');
const command = process.argv[2] ?? argv.find((word) => word === 'coordinator' || word === 'worker');
const port = process.argv[3] ?? argv[argv.indexOf('--port') + 1];

try {
  if (command === 'coordinator') await askCoordinator();
  else if (command === 'worker') await askFleet();
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
process.exit(0);

/** Any answer but a failure is one: without a token the API refuses. */
async function askCoordinator() {
  const { status } = await fetch(`http://127.0.0.1:${port}/healthz`, { signal: AbortSignal.timeout(WITHIN_MS) });
  if (status >= 500) throw new Error(`the coordinator answers ${status}`);
}

async function askFleet() {
  setTimeout(() => {
    console.error('Redis does not answer');
    process.exit(1);
  }, WITHIN_MS);
  const { connect, listWorkers } = await import('../../packages/jobs/dist/index.js');
  const redis = connect(process.env.FOVEA_REDIS_URL, { mode: 'hasty' });
  const workers = await listWorkers({ redis, prefix: process.env.FOVEA_PREFIX || 'fovea' });
  if (!workers.some(({ host }) => host === hostname())) throw new Error('the fleet has heard nothing of this worker');
}

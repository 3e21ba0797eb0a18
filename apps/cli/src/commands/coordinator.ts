// `fovea coordinator`: keeps a fleet's coordinator running until it is asked to stop.

import { defineCommand } from 'citty';
import { fleetEnv } from '../fleet.ts';
import { findHome } from '../home.ts';
import { supervise } from '../supervise.ts';

export default defineCommand({
  meta: { name: 'coordinator', description: 'Plan the runs of a fleet and hand out their jobs' },
  args: {},
  async run() {
    process.exitCode = await supervise(fleetEnv(findHome()), [
      { name: `coordinator-${process.pid}`, entry: new URL('../../../coordinator/src/main.ts', import.meta.url) },
    ]);
  },
});

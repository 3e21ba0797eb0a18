// `fovea coordinator`: keeps a fleet's coordinator and its HTTP API running until it is asked to stop.

import { defineCommand } from 'citty';
import { wholeNumber } from '../arguments.ts';
import { fleetEnv } from '../fleet.ts';
import { findHome } from '../home.ts';
import { supervise } from '../supervise.ts';

export default defineCommand({
  meta: { name: 'coordinator', description: 'Plan the runs of a fleet, hand out their jobs, serve its API' },
  args: {
    host: { type: 'string', valueHint: 'ADDRESS', description: 'Where the API listens (127.0.0.1)' },
    port: { type: 'string', valueHint: 'PORT', description: 'Port of the API (7070)' },
    api: { type: 'boolean', default: true, description: 'Serve the API', negativeDescription: 'Serve no API' },
  },
  async run({ args }) {
    const port = args.port === undefined ? undefined : String(wholeNumber('port', args.port, 0, 65535));
    const api = {
      ...(args.host && { FOVEA_API_HOST: args.host }),
      ...(port !== undefined && { FOVEA_API_PORT: port }),
      ...(!args.api && { FOVEA_API_PORT: 'off' }),
    };
    process.exitCode = await supervise({ ...fleetEnv(findHome()), ...api }, [
      { name: `coordinator-${process.pid}`, entry: new URL('../../../coordinator/src/main.ts', import.meta.url) },
    ]);
  },
});

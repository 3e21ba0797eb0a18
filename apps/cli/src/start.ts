// Entry of the built command line: `node --conditions=dist apps/cli/dist/start.js <command>`. From source, bin/fovea.js.

import { main } from './main.ts';

await main(process.argv.slice(2));

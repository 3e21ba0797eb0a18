// `fovea store`: whether everything that the store's refs name is there and whole, and the removal of what nothing names.
// It asks no Redis; `gc` is safe beside running jobs, as what is young stays.

import { collectGarbage, DAY_MS, FoveaError, type Garbage, openStore, type Store, verifyStore } from '@fovea/artifacts';
import { keptCheckpoints } from '@fovea/jobs';
import { defineCommand } from 'citty';
import { findHome } from '../home.ts';
import { table } from '../summary.ts';

export default defineCommand({
  meta: { name: 'store', description: 'Check the store (verify), or remove what nothing in it names (gc)' },
  args: {
    action: { type: 'positional', description: 'verify or gc', required: false },
    'dry-run': { type: 'boolean', description: 'gc: only say what would be removed' },
    'min-age': { type: 'string', description: 'gc: keep what is younger, such as 36h or 7d (default 24h)' },
    json: { type: 'boolean', description: 'Print one JSON document' },
  },
  async run({ args }) {
    if (args.action === 'verify') {
      if (args['dry-run'] || args['min-age'])
        throw new FoveaError('--dry-run and --min-age belong to `fovea store gc`.');
      return verify(await fleetStore(), args.json === true);
    }
    if (args.action === 'gc') {
      const options = { minAge: duration(args['min-age'] ?? '24h'), dryRun: args['dry-run'] === true };
      return collect(await fleetStore(), options, args.json === true);
    }
    throw new FoveaError(
      `"fovea store ${args.action ?? ''}" says nothing to do: there are \`fovea store verify\` and \`fovea store gc\`.`,
    );
  },
});

/** The store of the fleet that FOVEA_STORE names, or that of the home. */
function fleetStore(): Promise<Store> {
  return openStore(process.env.FOVEA_STORE || findHome().storeDir);
}

async function verify(store: Store, json: boolean): Promise<void> {
  const found = await verifyStore(store, { keep: await keptCheckpoints(store) });
  if (found.faults.length > 0) process.exitCode = 2;
  if (json) return console.log(JSON.stringify(found, null, 2));
  const counts = `${found.refs} refs name ${found.blobs} blobs (${bytes(found.bytes)})`;
  if (found.faults.length === 0)
    return console.log(`The store at ${store.root} is whole: ${counts}, and all were read.`);
  for (const fault of found.faults) console.error(fault);
  console.error(
    `The store at ${store.root} is damaged in ${found.faults.length} place${found.faults.length === 1 ? '' : 's'}: ${counts}.`,
  );
}

async function collect(store: Store, options: { minAge: number; dryRun: boolean }, json: boolean): Promise<void> {
  const found = await collectGarbage(store, { ...options, keep: await keptCheckpoints(store) });
  if (json) return console.log(JSON.stringify({ ...options, ...found }, null, 2));
  const rows = (Object.keys(NAMES) as (keyof typeof NAMES)[]).map((key) => [
    NAMES[key],
    String(found[key].blobs),
    bytes(found[key].bytes),
  ]);
  console.log(table([options.dryRun ? 'would be' : '', 'blobs', 'size'], rows));
  if (found.trashed.blobs > 0)
    console.log('What is in the trash goes for good when `fovea store gc` runs after that time again.');
}

const NAMES: Record<Exclude<keyof Garbage, 'refs' | 'broken'>, string> = {
  kept: 'in use',
  young: 'young, kept',
  trashed: 'moved to the trash',
  waiting: 'waiting in the trash',
  restored: 'brought back from the trash',
  removed: 'removed',
};

const UNITS: Record<string, number> = { s: 1000, m: 60_000, h: 3600_000, d: DAY_MS };

/** `90m`, `36h`, `7d` or `0` in milliseconds. */
function duration(text: string): number {
  const [, count, unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? (text === '0' ? ['', '0', 's'] : []);
  if (count === undefined) throw new FoveaError(`--min-age takes a time such as 90m, 36h, 7d or 0, not "${text}".`);
  return Number(count) * UNITS[unit];
}

function bytes(count: number): string {
  const power = Math.min(4, Math.floor(Math.log(Math.max(count, 1)) / Math.log(1024)));
  return power === 0
    ? `${count} B`
    : `${(count / 1024 ** power).toFixed(1)} ${['', 'KiB', 'MiB', 'GiB', 'TiB'][power]}`;
}

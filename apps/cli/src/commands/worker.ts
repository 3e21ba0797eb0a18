// `fovea worker train|eval`: keeps workers of a fleet running on this machine, one per GPU or one for the CPU, until it is
// asked to stop; then each keeps what it has and gives its job back.

import { hostname } from 'node:os';
import { FoveaError } from '@fovea/artifacts';
import { DEVICES, type Pool } from '@fovea/jobs';
import { defineCommand } from 'citty';
import { wholeNumber } from '../arguments.ts';
import { fleetEnv } from '../fleet.ts';
import { type Gpu, listGpus } from '../gpus.ts';
import { findHome } from '../home.ts';
import { supervise } from '../supervise.ts';

export default defineCommand({
  meta: { name: 'worker', description: "Work on a fleet's training or evaluation jobs" },
  args: {
    role: { type: 'positional', required: true, valueHint: 'train|eval', description: 'Which jobs to take' },
    device: { type: 'string', valueHint: DEVICES.join('|'), default: 'cpu', description: 'What to compute on' },
    memory: { type: 'string', valueHint: 'GiB', description: "The device's memory, where it shall not be asked for" },
    name: { type: 'string', valueHint: 'name', description: 'Unique in the fleet; made of the machine and process' },
  },
  async run({ args }) {
    const { role, device } = args as { role: Pool['role']; device: Pool['device'] };
    if (role !== 'train' && role !== 'eval')
      throw new FoveaError(`\`fovea worker\` takes train or eval jobs; it does not "${role}".`);
    if (!DEVICES.includes(device))
      throw new FoveaError(`There is no device "${device}"; the devices are ${DEVICES.join(', ')}.`);
    const memory = args.memory === undefined ? null : wholeNumber('memory', args.memory, 0, 4096);
    const entry = new URL(`../../../${role === 'train' ? 'train-worker' : 'eval-worker'}/src/main.ts`, import.meta.url);
    const name = args.name ?? `${role}-${hostname()}-${process.pid}`;
    const own = (gpu: Gpu | null): Record<string, string> => ({
      FOVEA_DEVICE: device,
      ...((memory ?? gpu?.memory) !== undefined && { FOVEA_MEMORY: String(memory ?? gpu?.memory) }),
      ...(gpu && { CUDA_VISIBLE_DEVICES: gpu.id }),
    });
    const gpus = device === 'cuda' ? await listGpus() : [null];
    const workers = gpus.map((gpu, i) => ({ name: gpus.length > 1 ? `${name}-${i}` : name, entry, env: own(gpu) }));
    process.exitCode = await supervise(fleetEnv(findHome()), workers);
  },
});

// Which NVIDIA GPUs this machine may use, as its driver's own tool tells it.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { FoveaError } from '@fovea/artifacts';

export interface Gpu {
  /** For CUDA_VISIBLE_DEVICES. */
  id: string;
  /** GiB, rounded: drivers report a little less than what is on the box. */
  memory: number;
}

/** At least one GPU, or a FoveaError. CUDA_VISIBLE_DEVICES narrows the choice as everywhere. */
export async function listGpus(env: NodeJS.ProcessEnv = process.env): Promise<Gpu[]> {
  const query = ['--query-gpu=index,uuid,memory.total', '--format=csv,noheader,nounits'];
  const { stdout } = await promisify(execFile)('nvidia-smi', query, { timeout: 30_000 }).catch((error: Error) => {
    throw new FoveaError(
      `The GPUs of this machine cannot be listed: nvidia-smi ${/ENOENT/.test(error.message) ? 'is not installed' : 'failed'}; install NVIDIA's driver, or use --device cpu.`,
    );
  });
  const visible = env.CUDA_VISIBLE_DEVICES?.split(',').map((id) => id.trim());
  const gpus = parseGpus(stdout).filter(({ index, id }) => !visible || visible.includes(index) || visible.includes(id));
  if (gpus.length === 0)
    throw new FoveaError(
      'This machine shows no GPU to this process; look at CUDA_VISIBLE_DEVICES, or use --device cpu.',
    );
  return gpus.map(({ id, memory }) => ({ id, memory }));
}

/** Lines such as `0, GPU-1a2b, 81559`, in MiB. */
export function parseGpus(text: string): (Gpu & { index: string })[] {
  return text
    .split('\n')
    .map((line) => line.split(',').map((field) => field.trim()))
    .filter((fields) => fields.length === 3 && Number(fields[2]) > 0)
    .map(([index, id, mib]) => ({ index, id, memory: Math.round(Number(mib) / 1024) }));
}

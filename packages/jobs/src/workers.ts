// Who works in a fleet: each worker says every few seconds what it is and what it does, under a key that runs out. Nobody
// is asked whether it lives; silence is the answer.

import { createRequire } from 'node:module';
import { totalmem } from 'node:os';
import { FoveaError } from '@fovea/artifacts';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { sendControl } from './control.ts';
import { type Fleet, keys } from './fleet.ts';

export const DEVICES = ['cpu', 'cuda', 'webgpu'] as const;
export const ROLES_OF_WORKERS = ['train', 'eval'] as const;

/** Kind of worker that a queue is for. */
export const poolSchema = z.strictObject({
  role: z.enum(ROLES_OF_WORKERS),
  device: z.enum(DEVICES),
  /** Memory of the device in GiB, rounded down to one of {@link TIERS}. */
  memory: z.int().min(0),
});
export type Pool = z.infer<typeof poolSchema>;

export const workerSchema = z.strictObject({
  name: z.string(),
  host: z.string(),
  pid: z.int(),
  ...poolSchema.shape,
  /** Versions of what computes. */
  engines: z.record(z.string(), z.string()),
  startedAt: z.string(),
  seenAt: z.string(),
  /** What it works on, or null. */
  job: z.strictObject({ id: z.string(), run: z.string(), kind: z.string(), priority: z.number() }).nullable(),
});
export type WorkerInfo = z.infer<typeof workerSchema>;

const BEAT_MS = 3000;
/** A worker that is silent for this long is gone. */
const SILENT_MS = 12_000;

/** Sizes of device memory that make a pool of their own, GiB. */
export const TIERS = [0, 2, 4, 8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256, 512] as const;

export const tierOf = (gib: number): number => TIERS.findLast((tier) => tier <= gib) ?? 0;

/** Memory of this machine in GiB, for a worker that computes on its CPU. */
export const machineMemory = () => Math.round(totalmem() / 2 ** 30);

export class Registration {
  readonly #fleet: Pick<Fleet, 'redis' | 'prefix'>;
  #info: WorkerInfo;
  #timer: NodeJS.Timeout | null = null;
  #beating: Promise<unknown> = Promise.resolve();

  private constructor(fleet: Pick<Fleet, 'redis' | 'prefix'>, info: WorkerInfo) {
    this.#fleet = fleet;
    this.#info = info;
  }

  /** Tells the fleet of a worker until {@link Registration.end}. */
  static async begin(fleet: Pick<Fleet, 'redis' | 'prefix'>, info: Omit<WorkerInfo, 'seenAt' | 'job'>) {
    const registration = new Registration(fleet, { ...info, seenAt: info.startedAt, job: null });
    await registration.#beat();
    await sendControl(fleet, { type: 'workers' });
    registration.#timer = setInterval(() => void registration.#beat().catch(() => undefined), BEAT_MS);
    registration.#timer.unref();
    return registration;
  }

  works(job: WorkerInfo['job']): void {
    this.#info = { ...this.#info, job };
    void this.#beat().catch(() => undefined);
  }

  async end(): Promise<void> {
    if (this.#timer) clearInterval(this.#timer);
    await this.#beating.catch(() => undefined);
    const { redis, prefix } = this.#fleet;
    await redis.multi().del(keys.worker(prefix, this.#info.name)).srem(keys.workers(prefix), this.#info.name).exec();
    await sendControl(this.#fleet, { type: 'workers' });
  }

  #beat(): Promise<unknown> {
    const { redis, prefix } = this.#fleet;
    this.#info = { ...this.#info, seenAt: new Date().toISOString() };
    const { name } = this.#info;
    this.#beating = redis
      .multi()
      .set(keys.worker(prefix, name), JSON.stringify(this.#info), 'PX', SILENT_MS)
      .sadd(keys.workers(prefix), name)
      .exec();
    return this.#beating;
  }
}

/** The workers that were heard of lately, by name. */
export async function listWorkers({ redis, prefix }: Pick<Fleet, 'redis' | 'prefix'>): Promise<WorkerInfo[]> {
  const names = (await redis.smembers(keys.workers(prefix))).sort();
  if (names.length === 0) return [];
  const texts = await redis.mget(names.map((name) => keys.worker(prefix, name)));
  const gone = names.filter((_, i) => texts[i] === null);
  if (gone.length > 0) await forgetSilent(redis, prefix, gone);
  return texts.flatMap((text) => {
    const parsed = text === null ? null : workerSchema.safeParse(JSON.parse(text));
    return parsed?.success ? [parsed.data] : [];
  });
}

/** Takes names off the list, unless their worker spoke up meanwhile. */
async function forgetSilent(redis: Redis, prefix: string, names: string[]): Promise<void> {
  const script = `for i = 2, #KEYS do
if redis.call('EXISTS', KEYS[i]) == 0 then redis.call('SREM', KEYS[1], ARGV[i - 1]) end
end`;
  const of = names.map((name) => keys.worker(prefix, name));
  await redis.eval(script, names.length + 1, keys.workers(prefix), ...of, ...names);
}

/** The pool of a worker process: its device by FOVEA_DEVICE, its memory by FOVEA_MEMORY in GiB or the machine's own. */
export function poolFromEnv(role: Pool['role'], env: NodeJS.ProcessEnv = process.env): Pool {
  const device = env.FOVEA_DEVICE || 'cpu';
  const memory = env.FOVEA_MEMORY ? Number(env.FOVEA_MEMORY) : machineMemory();
  const pool = poolSchema.safeParse({ role, device, memory: tierOf(memory) });
  if (!pool.success || !(memory >= 0))
    throw new FoveaError(
      `The worker's FOVEA_DEVICE "${device}" and FOVEA_MEMORY "${env.FOVEA_MEMORY ?? ''}" are no pool: the device is ${DEVICES.join(', ')}, the memory a number of GiB.`,
    );
  return pool.data;
}

/** Versions of what computes here, without loading it. */
export function engineVersions(): Record<string, string> {
  const versions: Record<string, string> = { node: process.versions.node };
  const require = createRequire(import.meta.url);
  for (const name of ['onnxruntime-node', '@tensorflow/tfjs', 'sharp']) {
    try {
      versions[name] = (require(`${name}/package.json`) as { version: string }).version;
    } catch {
      // Not installed here, or it does not tell.
    }
  }
  return versions;
}

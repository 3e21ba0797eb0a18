// Where a program runs and in which precision. The runtime would rather run somewhere else than not run: it leaves a
// graph's nodes to the CPU when a device has no kernel for them. Here a device that is asked for is tried first, with
// the fall to the CPU forbidden, and a session proves by its first run that the device did the work.

import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { InferenceSession, listSupportedBackends, Tensor as OrtTensor } from 'onnxruntime-node';
import { TensorError } from './errors.ts';
import { MappedFiles, type MappedWeights } from './mapped.ts';
import { ElementType, encodeModel } from './onnx-proto.ts';

export const DEVICES = ['cpu', 'cuda', 'webgpu'] as const;
export type Device = (typeof DEVICES)[number];

/** fp16 and bf16 are PyTorch's autocast: products in half precision, the rest and the weights in fp32. */
export const PRECISIONS = ['fp32', 'bf16', 'fp16'] as const;
export type Precision = (typeof PRECISIONS)[number];

/** The runtime's name of a device's execution provider, as its profile prints it. */
const PROVIDER: Record<Device, string> = {
  cpu: 'CPUExecutionProvider',
  cuda: 'CUDAExecutionProvider',
  webgpu: 'WebGpuExecutionProvider',
};

/** Operations that a device must do itself: where one of them lands on the CPU, the program is not on the device. */
const HEAVY = /^(MatMul|Gemm|Conv|ConvTranspose|Einsum|Fused\w*(MatMul|Gemm|Conv)|TransposeMatMul|NhwcConv)$/;

const tried = new Map<string, Promise<string | null>>();

/** Why a device cannot be used on this machine, as a sentence with the mend; null where it can. Tried once per process. */
export function whyNot(device: Device, precision: Precision = 'fp32'): Promise<string | null> {
  const key = `${device} ${precision}`;
  let answer = tried.get(key);
  if (!answer) {
    answer = tryDevice(device, precision);
    tried.set(key, answer);
  }
  return answer;
}

/** Throws a {@link TensorError} that says why a device or a precision cannot be used, and the mend. */
export async function requireDevice(device: Device, precision: Precision = 'fp32'): Promise<void> {
  const reason = await whyNot(device, precision);
  if (reason) throw new TensorError(reason);
}

async function tryDevice(device: Device, precision: Precision): Promise<string | null> {
  if (device === 'cpu') return null;
  if (device === 'webgpu' && precision === 'bf16')
    return 'The device webgpu has no bf16: WebGPU knows only fp16 and fp32; set precision to fp16 or fp32.';
  if (!listSupportedBackends().some((backend) => backend.name === device))
    return `The device ${device} is not in onnxruntime-node for ${process.platform} ${process.arch}; use device cpu.`;
  if (device === 'cuda' && !existsSync(cudaLibrary()))
    return 'The device cuda needs the CUDA 12 files of onnxruntime-node, which are not installed: run `fovea doctor --install-cuda`, or use device cpu.';
  try {
    await multiply(device, precision);
    return null;
  } catch (error) {
    return explain(device, precision, (error as Error).message);
  }
}

/** Path of the CUDA provider's library, installed or not. */
export function cudaLibrary(): string {
  const root = path.dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'));
  return path.join(root, 'bin/napi-v6', process.platform, process.arch, 'libonnxruntime_providers_cuda.so');
}

/** A product of two matrices on the device alone, with its result checked. */
async function multiply(device: Device, precision: Precision): Promise<void> {
  const half = { fp32: 'float32', fp16: 'float16', bf16: 'bfloat16' } as const;
  const to = { to: { int: ElementType[half[precision]] } };
  const shape = [8, 8];
  const model = encodeModel({
    name: 'probe',
    initializers: [],
    inputs: [{ name: 'x', type: 'float32', shape }],
    outputs: [{ name: 'y', type: 'float32', shape }],
    nodes: [
      { op: 'Cast', inputs: ['x'], outputs: ['half'], attributes: to },
      { op: 'MatMul', inputs: ['half', 'half'], outputs: ['product'] },
      { op: 'Cast', inputs: ['product'], outputs: ['y'], attributes: { to: { int: ElementType.float32 } } },
    ],
  });
  const session = await InferenceSession.create(model, {
    ...sessionOptions(device, 1),
    graphOptimizationLevel: 'disabled',
    extra: { session: { disable_cpu_ep_fallback: '1' } },
  });
  try {
    const x = new OrtTensor('float32', new Float32Array(64).fill(0.5), shape);
    const { y } = await session.run({ x });
    if ((y.data as Float32Array).some((value) => value !== 2)) throw new Error('it multiplies wrongly');
  } finally {
    await session.release();
  }
}

function explain(device: Device, precision: Precision, message: string): string {
  const said = message
    .split('\n')[0]
    .replace(/^\/\S+\s.*was false\.\s*/, '')
    .replace(/\s+/g, ' ')
    .slice(0, 240)
    .replace(/[.\s]+$/, '');
  if (device === 'cuda') {
    const mend = /libcu|cublas|cudnn|cudart/i.test(message)
      ? 'install the CUDA 12 runtime and cuDNN 9 libraries'
      : "check NVIDIA's driver with nvidia-smi";
    return `The device cuda does not start (${said}): ${mend}, or use device cpu.`;
  }
  if (/f16/.test(message) && precision === 'fp16')
    return "The device webgpu has no fp16 here, because this GPU's driver lacks WebGPU's shader-f16: set precision to fp32.";
  const mend = /adapter/i.test(message)
    ? "install the GPU vendor's Vulkan driver and libvulkan1"
    : 'update the GPU driver';
  return `The device webgpu does not start (${said}): ${mend}, or use device cpu.`;
}

/** Options of a session for training steps: sequential, all optimisations, one provider. */
export function sessionOptions(device: Device, threads: number, spinning = threads > 1) {
  return {
    executionProviders: [device],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    enableCpuMemArena: true,
    // A pattern is planned in a first run and allocated beside what that run took: twice the memory.
    enableMemPattern: false,
    logSeverityLevel: 3,
    extra: { session: { intra_op: { allow_spinning: spinning ? '1' : '0' } } },
  } satisfies InferenceSession.SessionOptions;
}

export interface OpenOptions {
  device: Device;
  precision: Precision;
  threads: number;
  /** Whether idle threads of the runtime wait awake, which takes time from others. @default with several threads */
  spinning?: boolean;
  /** Outputs that stay on a device which can keep them. */
  resident?: string[];
  /** The files of its mapped weights. */
  files?: MappedFiles;
  mappedWeights?: MappedWeights;
  /** Whether the runtime optimises the program; not worth its time for a single run. @default true */
  optimise?: boolean;
  /** Where the runtime writes its profile, a path prefix; it is complete once the session is released. */
  profile?: string;
}

/** How many operations of each type ran on each provider. */
export type Placement = Record<string, Record<string, number>>;

/** What runs a program: one session, or several threads with sessions of their own. */
export interface RunnableSession {
  readonly device: Device;
  /** Operations by provider; null on the CPU and before the first run. */
  readonly placement: Placement | null;
  run(
    feeds: InferenceSession.OnnxValueMapType,
    fetches: InferenceSession.NullableOnnxValueMapType,
  ): Promise<InferenceSession.OnnxValueMapType>;
  release(): Promise<void>;
}

/** A session that proves at its first run on an accelerator that the accelerator did the work. */
export class DeviceSession implements RunnableSession {
  readonly device: Device;
  placement: Placement | null = null;
  readonly #session: InferenceSession;
  /** Folder of the first run's profile, until that is read. */
  #proof: string | null;
  readonly #profiled: boolean;
  readonly #files: MappedFiles;

  private constructor(
    session: InferenceSession,
    given: { device: Device; files: MappedFiles; proof: string | null; profiled: boolean },
  ) {
    this.#session = session;
    this.device = given.device;
    this.#files = given.files;
    this.#proof = given.proof;
    this.#profiled = given.profiled;
  }

  /** What the model declares that it takes, by name. */
  get inputs() {
    return byName(this.#session.inputMetadata);
  }

  /** What the model declares that it gives, by name. */
  get outputs() {
    return byName(this.#session.outputMetadata);
  }

  /** Throws a {@link TensorError} where the device cannot be used; never falls back to another. */
  static async open(model: Uint8Array, wanted: OpenOptions): Promise<DeviceSession> {
    const { device, precision, threads, resident = [], files = new MappedFiles(), optimise = true, profile } = wanted;
    await requireDevice(device, precision);
    const proof =
      device === 'cpu' || profile !== undefined ? null : await mkdtemp(path.join(os.tmpdir(), 'fovea-proof-'));
    const prefix = proof === null ? profile : path.join(proof, 'run');
    const options = sessionOptions(device, threads, wanted.spinning);
    const opening = InferenceSession.create(model, {
      ...options,
      extra: files.configure(wanted.mappedWeights, options.extra),
      ...(!optimise && { graphOptimizationLevel: 'disabled' }),
      ...(prefix !== undefined && { enableProfiling: true, profileFilePrefix: prefix }),
      ...(device === 'webgpu' && resident.length > 0 && { preferredOutputLocation: locations(resident) }),
    });
    try {
      return new DeviceSession(await files.confirm(opening), { device, files, proof, profiled: profile !== undefined });
    } catch (error) {
      if (proof) await rm(proof, { recursive: true, force: true });
      throw error;
    }
  }

  async run(
    feeds: InferenceSession.OnnxValueMapType,
    fetches: InferenceSession.NullableOnnxValueMapType,
  ): Promise<InferenceSession.OnnxValueMapType> {
    this.#files.check();
    const results = await this.#session.run(feeds, fetches).catch((error: Error) => {
      throw this.device === 'cpu' ? error : explainRun(this.device, error);
    });
    if (this.#proof) await this.#prove(this.#proof);
    return results;
  }

  async #prove(folder: string): Promise<void> {
    this.#proof = null;
    this.#session.endProfiling();
    this.placement = await readPlacement(folder);
    await rm(folder, { recursive: true, force: true });
    const strays = Object.keys(this.placement[PROVIDER.cpu] ?? {}).filter((op) => HEAVY.test(op));
    const onDevice = Object.keys(this.placement[PROVIDER[this.device]] ?? {}).length;
    if (strays.length > 0 || onDevice === 0)
      throw new TensorError(
        `The program was to run on ${this.device}, but the runtime left ${strays.join(', ') || 'all of it'} to the CPU; use precision fp32 or device cpu.`,
      );
  }

  async release(): Promise<void> {
    if (this.#profiled) this.#session.endProfiling();
    if (this.#proof) await rm(this.#proof, { recursive: true, force: true });
    this.#proof = null;
    await this.#session.release();
    this.#files.close();
  }
}

const byName = (values: readonly InferenceSession.ValueMetadata[]) =>
  Object.fromEntries(values.map(({ name, ...about }) => [name, about])) as Record<
    string,
    Partial<InferenceSession.TensorValueMetadata>
  >;

/** A kernel that a device has and that then refuses what it is given. */
function explainRun(device: Device, error: Error): Error {
  const [, op, status] = error.message.match(/while running (\w+) node\..*?Status Message: ([\s\S]*)/) ?? [];
  if (!op) return error;
  const said = status
    .replace(/^\S+\.(cc|h):\d+ \w+ /, '')
    .split('\n')[0]
    .replace(/[.\s]+$/, '');
  return new TensorError(`The operation ${op} does not run on ${device} here (${said.slice(0, 200)}): use device cpu.`);
}

const locations = (resident: string[]) => Object.fromEntries(resident.map((name) => [name, 'gpu-buffer' as const]));

async function readPlacement(folder: string): Promise<Placement> {
  const placement: Placement = {};
  for (const file of await readdir(folder)) {
    const events: { args?: { provider?: string; op_name?: string } }[] = JSON.parse(
      await readFile(path.join(folder, file), 'utf8'),
    );
    for (const { args } of events) {
      if (!args?.provider || !args.op_name) continue;
      const ops = (placement[args.provider] ??= {});
      ops[args.op_name] = (ops[args.op_name] ?? 0) + 1;
    }
  }
  return placement;
}

// Loading TensorFlow for the native eager engine: the binding of tfjs-node, which infra/tensorflow provisions. There is
// one TensorFlow in a process, its number of threads fixed as it starts, and it shares the process with onnxruntime.

import { createRequire } from 'node:module';
import util from 'node:util';
import { TensorError } from './errors.ts';
import tf from './tf.ts';

export interface TensorFlow {
  /** The npm package whose binding is loaded. */
  package: string;
  /** Threads inside one operation; null is TensorFlow's own choice, all cores. */
  threads: number | null;
  device: 'cpu' | 'gpu';
}

const PROVISION = '`node infra/tensorflow/provision.mjs` builds it';

let loaded: TensorFlow | null = null;

/**
 * Registers the tfjs backend `tensorflow` of an npm package, and leaves the current backend as it is.
 *
 * @param threads threads inside one operation; without it `TF_NUM_INTRAOP_THREADS`, or all cores
 * @throws TensorError with the reason, where the package, its binding or a library is missing, or where TensorFlow runs
 *   already from another package or with another number of threads
 */
export function loadTensorFlow(name: string, threads?: number): TensorFlow {
  const require = createRequire(import.meta.url);
  try {
    require.resolve(name);
  } catch {
    throw new TensorError('not installed');
  }
  if (loaded === null) {
    setEnvironment(threads);
    restoreUtil();
    const before = tf.engine().backendName ?? 'cpu';
    try {
      require(name);
    } catch (error) {
      throw new TensorError(reasonOf(error as Error));
    }
    const backend = tf.engine().findBackend('tensorflow') as unknown as { isUsingGpuDevice: boolean };
    tf.setBackend(before);
    const own = Number(process.env.TF_NUM_INTRAOP_THREADS) || null;
    loaded = { package: name, threads: threads ?? own, device: backend.isUsingGpuDevice ? 'gpu' : 'cpu' };
  }
  if (loaded.package !== name) throw new TensorError(`TensorFlow runs in this process already, from ${loaded.package}`);
  if (threads !== undefined && loaded.threads !== threads)
    throw new TensorError(
      `TensorFlow runs in this process already, on ${loaded.threads ?? 'all'} threads; start another for ${threads}`,
    );
  return loaded;
}

/** tfjs-node has no options for these; TensorFlow reads them from the environment once, as it starts. */
function setEnvironment(threads?: number): void {
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';
  if (threads === undefined) return;
  process.env.TF_NUM_INTRAOP_THREADS = `${threads}`;
  process.env.TF_NUM_INTEROP_THREADS = '1';
}

/** tfjs-node 4.22 calls two functions of node:util that later Nodes warn of or, from 23 on, lack (tfjs issue 8609). */
function restoreUtil(): void {
  Object.assign(util, { isNullOrUndefined: (x: unknown) => x === null || x === undefined, isArray: Array.isArray });
}

function reasonOf({ message }: Error): string {
  const [line] = message.split('\n');
  if (/native addon module/.test(line)) return `its native binding is not built; ${PROVISION}`;
  return `its native binding does not load (${line.slice(0, 160)}); ${PROVISION} anew`;
}

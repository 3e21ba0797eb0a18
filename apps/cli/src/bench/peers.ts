// Who is measured beside us: where each peer is found, why one is absent, and the child process that speaks for it.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { FoveaError } from '@fovea/artifacts';
import { typescriptFlags } from '@fovea/jobs';

export const PEERS = ['torchEager', 'torchCompile', 'tfjsNode', 'jax'] as const;
export type PeerName = (typeof PEERS)[number];

/** How a peer's process is started, or why it cannot be. */
export type Peer = { command: string[]; version?: string } | { absent: string };

const python = (file: string) => fileURLToPath(new URL(`../../bench/${file}`, import.meta.url));
const child = (engine: string) => [
  process.execPath,
  ...typescriptFlags(),
  fileURLToPath(new URL('./child.ts', import.meta.url)),
  engine,
];

/** The command of our own process. */
export const OURS = child('compiled');

/** Every peer, or why it is absent. Throws a FoveaError where FOVEA_PYTHON names no Python. */
export async function findPeers(env: NodeJS.ProcessEnv = process.env): Promise<Record<PeerName, Peer>> {
  const program = env.FOVEA_PYTHON;
  const versions = program ? await pythonPackages(program) : {};
  const inPython = (name: string, script: string[]): Peer => {
    if (!program) return { absent: `set FOVEA_PYTHON to a Python that has ${name}` };
    const version = versions[name];
    if (!version) return { absent: `the Python of FOVEA_PYTHON has no ${name}: install it there` };
    return { command: [program, ...script], version: `${name} ${version}` };
  };
  return {
    torchEager: inPython('torch', [python('peer_torch.py')]),
    torchCompile: inPython('torch', [python('peer_torch.py'), '--compile']),
    // Its process says why it is absent: TensorFlow is loaded there only.
    tfjsNode: { command: child('tfjs-node') },
    jax: inPython('jax', [python('peer_jax.py')]),
  };
}

async function pythonPackages(program: string): Promise<Record<string, string>> {
  const script = `
import importlib.metadata as m, json
def version(name):
    try: return m.version(name)
    except m.PackageNotFoundError: return ''
print(json.dumps({name: version(name) for name in ('torch', 'jax')}))`;
  try {
    const { stdout } = await promisify(execFile)(program, ['-c', script], { timeout: 60_000 });
    return JSON.parse(stdout);
  } catch (error) {
    const why = (error as Error).message.split('\n')[0];
    throw new FoveaError(
      `FOVEA_PYTHON is "${program}", which does not run as Python 3.8 or newer (${why}); name another one or unset it.`,
    );
  }
}

/** The same number of threads for whoever reads it from the environment. */
function environment(threads: number): NodeJS.ProcessEnv {
  const names = [
    'FOVEA_BENCH_THREADS',
    'OMP_NUM_THREADS',
    'MKL_NUM_THREADS',
    'OPENBLAS_NUM_THREADS',
    'TF_NUM_INTRAOP_THREADS',
  ];
  return {
    ...process.env,
    ...Object.fromEntries(names.map((name) => [name, String(threads)])),
    TF_NUM_INTEROP_THREADS: '1',
    TF_CPP_MIN_LOG_LEVEL: '2',
    XLA_FLAGS: `--xla_cpu_multi_thread_eigen=${threads > 1}`,
    JAX_PLATFORMS: 'cpu',
    PYTHONDONTWRITEBYTECODE: '1',
  };
}

export interface Reply {
  ok: boolean;
  error?: string;
  ms?: number;
  peakMB?: number;
  [key: string]: unknown;
}

/** One child process: requests and replies in turn. A child that dies or is silent too long rejects with a sentence. */
export class PeerProcess {
  readonly #child: ChildProcess;
  #stderr = '';
  #waiting: ((reply: Reply) => void) | null = null;
  #gone: string | null = null;

  constructor(command: string[], threads: number) {
    this.#child = spawn(command[0], command.slice(1), {
      env: environment(threads),
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#child.stdin?.on('error', () => undefined);
    this.#child.stderr?.on('data', (chunk) => {
      this.#stderr = (this.#stderr + chunk).slice(-4000);
    });
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      if (line.startsWith('{"ok"')) this.#settle(JSON.parse(line));
    });
    this.#child.once('error', (error) => this.#end(`could not be started: ${error.message}`));
    this.#child.once('close', (code, signal) => this.#end(`ended with ${signal ?? `exit code ${code}`}`));
  }

  /** Sends one request; the reply has `ok`. */
  async ask(request: Record<string, unknown>, patienceMs = 300_000): Promise<Reply> {
    if (this.#gone) throw new Error(this.#gone);
    let timer: NodeJS.Timeout | undefined;
    const reply = await new Promise<Reply>((resolve) => {
      this.#waiting = resolve;
      timer = setTimeout(() => {
        this.#child.kill('SIGKILL');
        this.#end(`said nothing for ${patienceMs / 1000} s`);
      }, patienceMs);
      this.#child.stdin?.write(`${JSON.stringify(request)}\n`);
    });
    clearTimeout(timer);
    if (!reply.ok) throw new Error(reply.error);
    return reply;
  }

  close(): void {
    this.#child.kill('SIGKILL');
  }

  #settle(reply: Reply): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.(reply);
  }

  #end(why: string): void {
    const last = this.#stderr.trim().split('\n').at(-1);
    this.#gone ??= `its process ${why}${last ? ` (${last.slice(0, 300)})` : ''}`;
    this.#settle({ ok: false, error: this.#gone });
  }
}

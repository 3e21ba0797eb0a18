// A thread with a session of its own. The runtime takes no shared memory, so buffers are lent: they move to the thread
// with a task and come back with its answer, and nothing is copied but what goes into them.

import { Worker } from 'node:worker_threads';
import { Tensor as OrtTensor } from 'onnxruntime-node';
import { TensorError } from './errors.ts';
import type { NumericArray, Spec } from './graph.ts';
import type { Piece } from './lower.ts';
import { allocate } from './state.ts';

/** Sends `lent` with its buffers; they come back with the answer. */
interface Task {
  task: 'open' | 'run';
  lent: Model | Run;
  buffers: ArrayBuffer[];
}

interface Model {
  model: Uint8Array;
  options: object;
}

interface Run {
  feeds: Buffered[];
  fetches: Buffered[];
}

interface Buffered {
  name: string;
  type: Spec['dtype'];
  dims: number[];
  data: NumericArray;
}

interface Answer {
  error?: string;
  lent: Model | Run;
}

export class Lane {
  readonly #worker: Worker;
  #run: Run;
  /** Who waits for the thread's next message. */
  #waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | null = null;
  #ended: TensorError | null = null;

  constructor({ graph, results }: Piece) {
    this.#worker = new Worker(new URL('./lane-worker.mjs', import.meta.url), { execArgv: [] });
    this.#worker.unref();
    const end = (why: string) => {
      this.#ended ??= new TensorError(`A thread of the program ended: ${why}; open the program again.`);
      this.#waiting?.reject(this.#ended);
    };
    this.#worker.on('message', (answer: Answer) => this.#waiting?.resolve(answer));
    this.#worker.on('error', (error) => end(error.message));
    this.#worker.on('exit', (code) => end(`its exit code is ${code}`));
    this.#run = {
      feeds: graph.inputs.map((value) => buffered(value.name as string, value)),
      fetches: Object.entries(results).map(([name, value]) => buffered(name, value)),
    };
  }

  /** Opens its session, and gives the model's bytes back, which the caller no longer has. */
  async open(model: Uint8Array, options: object): Promise<Uint8Array> {
    const lent = { model, options };
    const answer = await this.#ask({ task: 'open', lent, buffers: [model.buffer as ArrayBuffer] });
    if (answer.error) throw new TensorError(`A thread of the program could not start: ${answer.error}`);
    return (answer.lent as Model).model;
  }

  /** Starts at once; the results are the lane's own buffers, lent again by the next run. */
  async run(feeds: Record<string, OrtTensor>): Promise<Record<string, OrtTensor>> {
    const lent = this.#run;
    for (const { name, data } of lent.feeds) data.set(feeds[name].data as Float32Array);
    const buffers = [...lent.feeds, ...lent.fetches].map(({ data }) => data.buffer as ArrayBuffer);
    const answer = await this.#ask({ task: 'run', lent, buffers });
    this.#run = answer.lent as Run;
    if (answer.error) throw new TensorError(`A thread of the program failed: ${answer.error}`);
    return Object.fromEntries(
      this.#run.fetches.map(({ name, type, dims, data }) => [
        name,
        new OrtTensor(type as 'float32', data as Float32Array, dims),
      ]),
    );
  }

  /** The thread keeps the process alive only while it is waited for. */
  async #ask(task: Task): Promise<Answer> {
    if (this.#ended) throw this.#ended;
    this.#worker.ref();
    try {
      return await new Promise<Answer>((resolve, reject) => {
        this.#waiting = { resolve, reject };
        this.#worker.postMessage(task, task.buffers);
      });
    } finally {
      this.#waiting = null;
      this.#worker.unref();
    }
  }

  async release(): Promise<void> {
    await this.#worker.terminate();
  }
}

const buffered = (name: string, { shape, dtype }: Spec): Buffered => ({
  name,
  type: dtype,
  dims: shape,
  data: allocate({ shape, dtype }).data as NumericArray,
});

// A program cut at its scan, run by lanes: this thread computes one part of the batch while others compute theirs, each
// with its own session on one core. Operations too small to share keep every core busy that way, and a slice of the
// batch stays in the cache of the core that works on it: 1.1 to 1.2 times the speed of two threads inside each operation.

import { Tensor as OrtTensor } from 'onnxruntime-node';
import { type Cut, PARTS } from './cut.ts';
import { DeviceSession, type OpenOptions, type RunnableSession, sessionOptions } from './devices.ts';
import { TensorError } from './errors.ts';
import { type NumericArray, type Spec, sizeOf } from './graph.ts';
import { Lane } from './lane.ts';
import { lowerGraph, type Model, type Piece } from './lower.ts';
import { MappedFiles } from './mapped.ts';
import { mapValues } from './recorder.ts';
import { allocate } from './state.ts';

type Tensors = Record<string, OrtTensor>;

/** A program opened one way or the other. */
export interface Opened {
  session: RunnableSession;
  nodes: number;
  /** The most that one run holds at once besides inputs, outputs, state and constants. An estimate. */
  workBytes: number;
  /** When its models were there, on the clock of `performance`. */
  lowered: number;
}

/** A cut program's models. */
interface Models {
  before: Model | null;
  part: Model;
  after: Model;
}

export async function openLanes(cut: Cut, wanted: OpenOptions): Promise<Opened> {
  const before = cut.before && lowerGraph(cut.before, wanted);
  const part = lowerGraph(cut.part, wanted);
  const after = lowerGraph(cut.after, wanted);
  const lowered = performance.now();
  const lanes = Math.min(wanted.threads, PARTS);
  const sums = PARTS * Object.values(cut.part.results).reduce((sum, { shape }) => sum + 4 * sizeOf(shape), 0);
  return {
    session: await LanedSession.open(cut, { before, part, after }, lanes, wanted),
    nodes: (before?.nodes ?? 0) + part.nodes + after.nodes,
    workBytes: sums + Math.max(lanes * part.workBytes, before?.workBytes ?? 0, after.workBytes),
    lowered,
  };
}

const tensor = (type: Spec['dtype'], data: NumericArray, dims: readonly number[]) =>
  new OrtTensor(type as 'float32', data as Float32Array, dims);

interface Sessions {
  before: DeviceSession | null;
  part: DeviceSession;
  after: DeviceSession;
}

export class LanedSession implements RunnableSession {
  readonly device = 'cpu';
  readonly placement = null;
  readonly #cut: Cut;
  readonly #sessions: Sessions;
  readonly #lanes: Lane[];
  /** What this thread's sessions write into: the values that cross the cut, and its own parts' results. */
  readonly #crossing: Tensors;
  readonly #own: Tensors[];
  #running = false;

  private constructor(cut: Cut, sessions: Sessions, lanes: Lane[]) {
    this.#cut = cut;
    this.#sessions = sessions;
    this.#lanes = lanes;
    this.#crossing = mapValues(cut.before?.results ?? {}, allocate);
    this.#own = Array.from({ length: PARTS - lanes.length }, () => mapValues(cut.part.results, allocate));
  }

  static async open(cut: Cut, models: Models, lanes: number, wanted: OpenOptions): Promise<LanedSession> {
    const { threads, profile, files = new MappedFiles(), mappedWeights } = wanted;
    const each = Math.floor(threads / lanes);
    const opened: (DeviceSession | Lane)[] = [];
    const open = async (name: keyof Models, threads: number) => {
      const { bytes } = models[name] as Model;
      const own = profile === undefined ? {} : { profile: `${profile}-${name}` };
      const session = await DeviceSession.open(bytes, { ...wanted, threads, spinning: false, ...own });
      opened.push(session);
      return session;
    };
    try {
      const before = models.before && (await open('before', threads));
      const part = await open('part', each);
      const after = await open('after', threads);
      const options = sessionOptions('cpu', each, false);
      const extra = files.configure(mappedWeights, options.extra);
      let { bytes } = models.part;
      const others: Lane[] = [];
      while (others.length < lanes - 1) {
        const lane = new Lane(cut.part);
        opened.push(lane);
        others.push(lane);
        bytes = await lane.open(bytes, { ...options, extra });
      }
      return new LanedSession(cut, { before, part, after }, others);
    } catch (error) {
      for (const each of opened) await each.release();
      throw error;
    }
  }

  async run(feeds: Tensors, fetches: Record<string, OrtTensor | null>): Promise<Tensors> {
    if (this.#running) throw new TensorError('The program is running; await one run before the next.');
    this.#running = true;
    try {
      const { before, after } = this.#sessions;
      const given = { ...feeds };
      if (before && this.#cut.before)
        Object.assign(given, await before.run(pick(given, this.#cut.before), this.#crossing));
      for (const [p, results] of (await this.#runParts(given)).entries())
        for (const [name, result] of Object.entries(results)) given[`${p}/${name}`] = result;
      return (await after.run(pick(given, this.#cut.after), fetches)) as Tensors;
    } finally {
      this.#running = false;
    }
  }

  /** The last parts go to the lanes and the first ones are computed here, one after the other. */
  async #runParts(given: Tensors): Promise<Tensors[]> {
    const { part, rowsOf } = this.#cut;
    const feeds = Array.from({ length: PARTS }, (_, p) =>
      pick({ ...given, ...mapValues(rowsOf, (name) => rowsOfPart(given[name], p)) }, part),
    );
    const elsewhere = this.#lanes.map((lane, i) => lane.run(feeds[this.#own.length + i]));
    // Whoever fails first, the others' buffers must be back before the next run.
    const ended = await Promise.allSettled([this.#runHere(feeds), ...elsewhere]);
    return ended.flatMap((each) => {
      if (each.status === 'rejected') throw each.reason;
      return each.value;
    });
  }

  async #runHere(feeds: Tensors[]): Promise<Tensors[]> {
    const results: Tensors[] = [];
    for (const [p, own] of this.#own.entries()) results.push((await this.#sessions.part.run(feeds[p], own)) as Tensors);
    return results;
  }

  async release(): Promise<void> {
    const { before, part, after } = this.#sessions;
    for (const each of [...this.#lanes, before, part, after]) await each?.release();
  }
}

const pick = (given: Tensors, { graph }: Piece): Tensors =>
  Object.fromEntries(graph.inputs.map(({ name }) => [name, given[name as string]]));

/** A view of one part's rows. */
function rowsOfPart({ type, data, dims }: OrtTensor, p: number): OrtTensor {
  const shape = [dims[0] / PARTS, ...dims.slice(1)];
  const size = sizeOf(shape);
  return tensor(type as Spec['dtype'], (data as Float32Array).subarray(p * size, (p + 1) * size), shape);
}

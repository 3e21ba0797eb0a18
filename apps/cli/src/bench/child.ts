// The process that computes our side of a case, or tfjs-node's: the same function, compiled or eager. It answers
// requests as ../../bench/protocol.py does, a JSON line each, and nothing else is written to its standard output.

import { openSync, readSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { encodeSafetensors } from '@fovea/artifacts';
import {
  compile,
  mapValues,
  type NamedTensors,
  type NumericArray,
  nativeEngines,
  type Signature,
  type StepFunction,
  type Tensor,
  tf,
} from '@fovea/tensor';
import { type Case, type CaseData, type CaseName, type Given, openCase } from './cases.ts';
import { peakMB, resetPeak, residentMB } from './memory.ts';
import { opTypes } from './profile.ts';

/** A case made ready: runs one step, and tells its outputs and carried tensors. */
interface Ready {
  step(): Promise<void>;
  results(): Map<string, Given>;
  about: Record<string, number>;
}

const eager = process.argv[2] === 'tfjs-node';
const threads = Number(process.env.FOVEA_BENCH_THREADS);
const round = (data: NumericArray) => (data instanceof Float32Array ? data : Float32Array.from(data));

function signatureOf({ inputs, state, constants }: CaseData): Signature {
  const spec = ({ shape, data }: Given) => ({
    shape,
    dtype: data instanceof Int32Array ? ('int32' as const) : ('float32' as const),
  });
  return {
    inputs: mapValues(inputs, spec),
    state: mapValues(state, spec),
    constants: mapValues(constants, (given) => ({ ...spec(given), data: given.data })),
  };
}

async function compiled(fn: StepFunction, given: CaseData, before?: Case['before']): Promise<Ready> {
  const framed = before?.(given.inputs);
  const data = framed ? { ...given, inputs: framed() } : given;
  const signature = signatureOf(data);
  const program = await compile(fn, signature, { threads });
  const inputs = mapValues(data.inputs, (given) => given.data);
  program.setState(mapValues(data.state, (given) => given.data));
  const { nodes, traceMs, sessionMs } = program.report;
  let outputs: Record<string, NumericArray> = {};
  const shapes: Record<string, number[]> = {};
  return {
    about: { nodes, traceMs, sessionMs },
    async step() {
      outputs = await program.run(framed ? mapValues(framed(), (each) => each.data) : inputs);
    },
    results() {
      const found = new Map(Object.entries(outputs).map(([name, array]) => [name, flat(array, shapes[name])]));
      for (const name of Object.keys(data.state)) found.set(`state/${name}`, flat(program.getState(name)));
      return found;
    },
  };
}

const flat = (data: NumericArray, shape = [data.length]): Given => ({ shape, data: round(data) });

/** tfjs on TensorFlow: all tensors live there, and a step ends when its first output has been read. */
async function eagerly(fn: StepFunction, data: CaseData, before?: Case['before']): Promise<Ready> {
  if (before) throw new Error('it is not asked to frame pictures');
  const engines = nativeEngines(threads);
  if (!engines.some(({ engine }) => engine !== null))
    throw new Error(engines.map(({ name, reason }) => `${name}: ${reason}`).join('; '));
  await tf.setBackend('tensorflow');
  const tensors = (given: Record<string, Given>): NamedTensors =>
    mapValues(given, ({ shape, data: values }) => tf.tensor(values as Float32Array, shape));
  const inputs = tensors(data.inputs);
  const constants = tensors(data.constants);
  let state = tensors(data.state);
  let outputs: NamedTensors = {};
  return {
    about: {},
    async step() {
      const result = tf.tidy(() => {
        const { outputs: next, state: carried = {} } = fn(inputs, state, constants);
        return { next, carried } as never;
      }) as { next: NamedTensors; carried: NamedTensors };
      tf.dispose([outputs, state] as never);
      [outputs, state] = [result.next, result.carried];
      (Object.values(outputs)[0] as Tensor).dataSync();
    },
    results() {
      const named = [...Object.entries(outputs), ...Object.entries(state).map(([n, t]) => [`state/${n}`, t] as const)];
      return new Map(named.map(([name, tensor]) => [name, flat(tensor.dataSync() as NumericArray)]));
    },
  };
}

/** Reads a case's tensors one by one, so that no second copy of them lies about when memory is measured. */
function readData(file: string): CaseData {
  const handle = openSync(file, 'r');
  const read = (at: number, length: number): ArrayBuffer => {
    const bytes = new Uint8Array(length);
    readSync(handle, bytes, 0, length, at);
    return bytes.buffer;
  };
  const length = Number(new DataView(read(0, 8)).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(read(8, length)));
  const data: CaseData = { inputs: {}, state: {}, constants: {} };
  const parts: Record<string, keyof CaseData> = { input: 'inputs', state: 'state', constant: 'constants' };
  for (const [name, { dtype, shape, data_offsets: offsets }] of Object.entries<Entry>(header)) {
    const bytes = read(8 + length + offsets[0], offsets[1] - offsets[0]);
    const [part, ...rest] = name.split('/');
    data[parts[part]][rest.join('/')] = {
      shape,
      data: dtype === 'I32' ? new Int32Array(bytes) : new Float32Array(bytes),
    };
  }
  return data;
}

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

let baseline: number | null = null;
let ready: Ready;

/** Loads what the engines load on first use, so that the baseline of the memory holds it. */
async function warmUp(): Promise<void> {
  const fn: StepFunction = ({ x }) => ({ outputs: { y: tf.matMul(x as never, x as never) as Tensor } });
  const ones = { shape: [2, 2], data: new Float32Array(4) };
  const open = eager ? eagerly : compiled;
  await (await open(fn, { inputs: { x: ones }, state: {}, constants: {} })).step();
  baseline = residentMB();
}

interface Request {
  do: 'prepare' | 'check' | 'mark' | 'run' | 'memory' | 'profile';
  case: CaseName;
  file: string;
}

async function answer(request: Request): Promise<Record<string, unknown>> {
  if (request.do === 'prepare') {
    if (baseline === null) await warmUp();
    const { fn, before } = await openCase(request.case, eager ? 1 : undefined);
    ready = await (eager ? eagerly : compiled)(fn, readData(request.file), before);
    return ready.about;
  }
  if (request.do === 'check') {
    await ready.step();
    writeFileSync(request.file, encodeSafetensors(ready.results() as never));
    return {};
  }
  if (request.do === 'mark') resetPeak();
  if (request.do === 'run') {
    await ready.step();
    const started = performance.now();
    await ready.step();
    return { ms: performance.now() - started };
  }
  if (request.do === 'memory') return { peakMB: Math.max(0, peakMB() - (baseline ?? 0)) };
  if (request.do === 'profile') {
    const { fn, before } = await openCase(request.case);
    const given = readData(request.file);
    const data = before ? { ...given, inputs: before(given.inputs)() } : given;
    return { opTypes: await opTypes(fn, signatureOf(data), data, threads) };
  }
  return {};
}

for await (const line of createInterface({ input: process.stdin })) {
  try {
    console.log(JSON.stringify({ ok: true, ...(await answer(JSON.parse(line))) }));
  } catch (error) {
    console.error(error);
    console.log(JSON.stringify({ ok: false, error: (error as Error).message.split('\n')[0] }));
  }
}

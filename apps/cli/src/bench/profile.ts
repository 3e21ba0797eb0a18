// Where our time goes: a few steps under onnxruntime's profiler, in a run that is not timed, summed by the kind of
// operation. Where lanes share a step, this thread's lane is what is told of.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { compile, mapValues, type Signature, type StepFunction } from '@fovea/tensor';
import type { CaseData } from './cases.ts';
import { quantile } from './statistics.ts';

export interface OpType {
  op: string;
  /** Milliseconds per step. */
  ms: number;
  /** Nodes per step. */
  nodes: number;
}

const STEPS = 5;

/** Operations that hold others, whose time is told by those. */
const CONTAINERS = ['Scan', 'Loop', 'If'];

interface ProfileEvent {
  cat: string;
  name: string;
  /** Microseconds. */
  dur: number;
  args?: { op_name?: string };
}

/** Milliseconds and nodes per step by operation, the longest first, in this thread. */
export async function opTypes(
  fn: StepFunction,
  signature: Signature,
  data: CaseData,
  threads: number,
): Promise<OpType[]> {
  const folder = mkdtempSync(path.join(tmpdir(), 'fovea-profile-'));
  try {
    const program = await compile(fn, signature, { threads, profile: path.join(folder, 'step') });
    program.setState(mapValues(data.state, (given) => given.data));
    const inputs = mapValues(data.inputs, (given) => given.data);
    for (let i = 0; i < STEPS; i++) await program.run(inputs);
    await program.dispose();
    const files = readdirSync(folder).map((file) => readFileSync(path.join(folder, file), 'utf8'));
    return sumByOp(files.map((text) => JSON.parse(text)));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The median step of each operation over all sessions; the first step is left out, because it allocates. */
function sumByOp(sessions: ProfileEvent[][]): OpType[] {
  const totals = new Map<string, { ms: number[]; nodes: number }>();
  for (const events of sessions) {
    const kernels = events.filter(({ cat, name }) => cat === 'Node' && name.endsWith('_kernel_time'));
    const perStep = kernels.length / STEPS;
    for (const [i, { dur, args }] of kernels.entries()) {
      const op = args?.op_name ?? 'unknown';
      const step = Math.floor(i / perStep) - 1;
      if (step < 0 || CONTAINERS.includes(op)) continue;
      const total = totals.get(op) ?? { ms: Array(STEPS - 1).fill(0), nodes: 0 };
      total.ms[step] += dur / 1000;
      total.nodes += 1 / (STEPS - 1);
      totals.set(op, total);
    }
  }
  const types = [...totals].map(([op, { ms, nodes }]) => ({ op, ms: quantile(ms, 0.5), nodes: Math.round(nodes) }));
  return types.sort((a, b) => b.ms - a.ms);
}

// One case, measured: every peer in a process of its own, first checked to compute what we compute, then timed in turn
// with us, so that a noisy machine is noisy for both. Nobody computes out of turn.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { decodeSafetensors, encodeSafetensors, FoveaError } from '@fovea/artifacts';
import { type Case, type CaseName, type Given, openCase } from './cases.ts';
import { compareDigests, type Digest } from './parity.ts';
import { OURS, type Peer, type PeerName, PeerProcess } from './peers.ts';
import type { OpType } from './profile.ts';
import { quantile } from './statistics.ts';

export interface MeasureOptions {
  threads: number;
  /** Paired runs per peer. */
  pairs: number;
  peers: Record<string, Peer>;
  say: (text: string) => void;
}

export interface PeerResult {
  /** Median milliseconds of a step. */
  ms: number;
  /** Peak resident memory during the timed steps over that of the warmed-up framework, MiB. */
  peakMB: number;
  /** Median of (its time / ours) over the pairs, and the 10th and 90th percentile. */
  ratio: number;
  ratioLow: number;
  ratioHigh: number;
}

export interface CaseResult {
  name: CaseName;
  oursMs: number;
  oursPeakMB: number;
  peers: Partial<Record<PeerName, PeerResult>>;
  absent: Partial<Record<PeerName, string>>;
  batch: number;
  build: { nodes: number; traceMs: number; sessionMs: number };
  opTypes: OpType[];
}

/** Lets the threads of whoever computed last go to sleep. */
const REST_MS = 30;
const PATIENCE_MS = 600_000;
const STEP_PATIENCE_MS = 60_000;

export async function measureCase(name: CaseName, options: MeasureOptions): Promise<CaseResult> {
  const { threads, say } = options;
  const folder = await mkdtemp(path.join(tmpdir(), 'fovea-bench-'));
  const living: PeerProcess[] = [];
  try {
    const found = await openCase(name);
    const file = path.join(folder, 'case.safetensors');
    await writeFile(file, encodeCase(found));
    const start = async (command: string[]) => {
      const peer = new PeerProcess(command, threads);
      living.push(peer);
      const about = await peer.ask({ do: 'prepare', case: name, settings: found.settings, file }, PATIENCE_MS);
      const out = path.join(folder, `digest-${living.length}.safetensors`);
      await peer.ask({ do: 'check', file: out }, PATIENCE_MS);
      return { peer, about, digest: await readDigest(out) };
    };
    say(`${name}: building`);
    const ours = await start(OURS);
    const { peers, absent } = await startPeers(name, options, start, ours.digest);
    const result = await interleave(name, ours.peer, peers, absent, options);
    const { nodes, traceMs, sessionMs } = ours.about as never;
    const { opTypes } = await ours.peer.ask({ do: 'profile', case: name, file });
    return {
      name,
      ...result,
      absent,
      batch: found.batch,
      build: { nodes, traceMs: rounded(traceMs), sessionMs: rounded(sessionMs) },
      opTypes: (opTypes as OpType[]).map(({ op, ms, nodes }) => ({ op, ms: rounded(ms), nodes })),
    };
  } finally {
    for (const peer of living) peer.close();
    await rm(folder, { recursive: true, force: true });
  }
}

type Started = Map<PeerName, PeerProcess>;
type Absent = CaseResult['absent'];
type Start = (command: string[]) => Promise<{ peer: PeerProcess; digest: Digest }>;

async function startPeers(name: CaseName, options: MeasureOptions, start: Start, ours: Digest) {
  const peers: Started = new Map();
  const absent: Absent = {};
  for (const [key, peer] of Object.entries(options.peers) as [PeerName, Peer][]) {
    if ('absent' in peer) {
      absent[key] = peer.absent;
      continue;
    }
    options.say(`${name}: building ${key}`);
    const started = await start(peer.command).catch((error: Error) => error.message);
    if (typeof started === 'string') {
      absent[key] = started;
      continue;
    }
    const difference = compareDigests(ours, started.digest);
    if (difference)
      throw new FoveaError(
        `The case ${name} is not timed beside ${key}, because the two do not compute the same: ${difference}; mend one of them.`,
      );
    peers.set(key, started.peer);
  }
  return { peers, absent };
}

/** Pair by pair, who goes first in turn. A peer that fails on the way is absent from there on. */
async function interleave(
  name: CaseName,
  ours: PeerProcess,
  peers: Started,
  absent: Absent,
  { pairs, say }: MeasureOptions,
) {
  const time = async (peer: PeerProcess) => {
    await new Promise((resolve) => setTimeout(resolve, REST_MS));
    return (await peer.ask({ do: 'run' }, STEP_PATIENCE_MS)).ms as number;
  };
  const mine: number[] = [];
  const theirs = new Map([...peers.keys()].map((key) => [key, [] as Pair[]]));
  const round = async (i: number) => {
    if (peers.size === 0) mine.push(await time(ours));
    for (const [key, peer] of peers) {
      const early = i % 2 === 0 ? await time(ours) : null;
      const ms = await time(peer).catch((error: Error) => error.message);
      const own = early ?? (await time(ours));
      mine.push(own);
      if (typeof ms === 'number') theirs.get(key)?.push({ ms, ratio: ms / own });
      else {
        absent[key] = ms;
        peers.delete(key);
      }
    }
  };
  await round(0);
  for (const peer of [ours, ...peers.values()]) await peer.ask({ do: 'mark' });
  for (const runs of [mine, ...theirs.values()]) runs.length = 0;
  for (let i = 0; i < pairs; i++) {
    say(`${name}: ${i} of ${pairs} pairs`);
    await round(i);
  }
  const results: CaseResult['peers'] = {};
  for (const [key, peer] of peers) results[key] = await resultOf(peer, theirs.get(key) as Pair[]);
  return { oursMs: rounded(quantile(mine, 0.5)), oursPeakMB: await memoryOf(ours), peers: results };
}

interface Pair {
  ms: number;
  ratio: number;
}

const rounded = (value: number) => Number(value.toFixed(3));

const memoryOf = async (peer: PeerProcess) => rounded((await peer.ask({ do: 'memory' })).peakMB as number);

async function resultOf(peer: PeerProcess, runs: Pair[]): Promise<PeerResult> {
  const times = runs.map(({ ms }) => ms);
  const ratios = runs.map(({ ratio }) => ratio);
  const [ratio, ratioLow, ratioHigh] = [0.5, 0.1, 0.9].map((q) => rounded(quantile(ratios, q)));
  return { ms: rounded(quantile(times, 0.5)), peakMB: await memoryOf(peer), ratio, ratioLow, ratioHigh };
}

function encodeCase({ data }: Case): Uint8Array {
  const tensors = new Map<string, Given>();
  for (const [prefix, part] of [
    ['input', data.inputs],
    ['state', data.state],
    ['constant', data.constants],
  ] as const) {
    for (const [name, given] of Object.entries(part)) tensors.set(`${prefix}/${name}`, given);
  }
  return encodeSafetensors(tensors as Map<string, { shape: number[]; data: Float32Array }>);
}

async function readDigest(file: string): Promise<Digest> {
  const { tensors } = decodeSafetensors(await readFile(file), 'a peer of the bench', { allowNonFinite: true });
  return new Map([...tensors].map(([name, { data }]) => [name, data as Float32Array]));
}

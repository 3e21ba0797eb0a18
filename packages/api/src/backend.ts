// What the API asks, in three parts: the store, which alone can answer what a run is and has done; the fleet, which knows
// what is being done now; and the operations, which are the only way that a request changes anything.

import type { Checkpoint } from '@fovea/artifacts';
import {
  type CommittedRound,
  type RunEvent,
  type RunRecord,
  controlSchema as recordSchema,
  type ScoredCheckpoint,
  type SweepRecord,
  type SweepStatus,
  type Trial,
} from '@fovea/jobs';
import type { Track } from '@fovea/recipe';
import { z } from 'zod';

/** `runs/<id>/control.json`: what operators want of a run. */
export const controlSchema = recordSchema
  .pick({ wants: true, priority: true, deadline: true })
  .meta({ title: 'Control', description: 'Of the priorities lower goes first.' });
export type Control = z.infer<typeof controlSchema>;

export const workerSchema = z
  .object({
    name: z.string(),
    host: z.string(),
    pid: z.int(),
    role: z.enum(['train', 'eval']),
    device: z.string(),
    memory: z.number().nullable().describe('GiB'),
    pool: z.string(),
    engines: z.array(z.string()),
    startedAt: z.string(),
    seenAt: z.string(),
    job: z.object({ id: z.string(), run: z.string(), kind: z.string() }).nullable(),
  })
  .meta({ title: 'Worker' });
export type WorkerInfo = z.infer<typeof workerSchema>;

export const poolSchema = z
  .object({
    queue: z.string(),
    role: z.enum(['train', 'eval']),
    device: z.string(),
    memory: z.number().nullable().describe('GiB'),
    workers: z.int(),
    waiting: z.int(),
    active: z.int(),
    delayed: z.int(),
    failed: z.int(),
    limit: z.int().nullable().describe('Jobs at once; null for no limit.'),
  })
  .meta({ title: 'Pool' });
export type PoolInfo = z.infer<typeof poolSchema>;

export const suiteSchema = z.object({ name: z.string(), version: z.string() }).meta({ title: 'Suite' });
export type SuiteInfo = z.infer<typeof suiteSchema>;

export const logSchema = z
  .object({
    lines: z.array(z.object({ at: z.string(), text: z.string() })),
    last: z.string().describe('What to pass as `after` to go on.'),
  })
  .meta({ title: 'Log' });
export type LogPage = z.infer<typeof logSchema>;

/** An event and its place in the run's stream: `<milliseconds>-<n>`, always growing. */
export interface StreamedEvent {
  id: string;
  event: RunEvent;
}

export interface StoreReads {
  /** Newest first; `damaged` are the ids of those whose record cannot be read. */
  runs(): Promise<{ runs: RunRecord[]; damaged: string[] }>;
  run(id: string): Promise<RunRecord | null>;
  control(id: string): Promise<Control>;
  rounds(run: RunRecord): Promise<Map<Track, CommittedRound[]>>;
  scores(id: string): Promise<ScoredCheckpoint[]>;
  /** Of a checkpoint that a run has committed; null for any other hash. */
  checkpoint(id: string): Promise<{ manifest: Checkpoint; runs: string[] } | null>;
  /** Of a scorecard that a run has; null for any other hash. */
  scorecard(id: string): Promise<unknown | null>;
  /** Newest first. */
  sweeps(): Promise<Sweep[]>;
  /** With every run that it is made of; null where there is none of that name. */
  sweep(id: string): Promise<(Sweep & { runs: SweptRun[] }) | null>;
  /** The run's files once it is completed. */
  report(id: string): Promise<{ html(): Promise<Uint8Array>; summary(): Promise<unknown> } | null>;
}

export interface FleetReads {
  workers(): Promise<WorkerInfo[]>;
  pools(): Promise<PoolInfo[]>;
  suites(): Promise<SuiteInfo[]>;
  /** Lines after a place of the log, oldest first. */
  log(id: string, page: { after?: string; limit: number }): Promise<LogPage>;
  /**
   * Events after an id (`0` for all), oldest first, at once: an empty list where there is none yet. `gap` says that
   * events after the id may have been dropped from the stream.
   */
  events(id: string, after: string, limit: number): Promise<{ events: StreamedEvent[]; gap: boolean }>;
  /** Prometheus text. */
  metrics(): Promise<string>;
  /** Whether store and Redis answer. */
  ready(): Promise<boolean>;
}

export interface Sweep {
  record: SweepRecord;
  status: SweepStatus;
}

/** A run of a sweep; its status is null while it has not been started. */
export interface SweptRun extends Pick<Trial, 'point' | 'values' | 'seed'> {
  id: string;
  status: string | null;
}

/** A checked recipe, which is what `createRun` takes, and what the caller wants of its run. */
export interface Submission
  extends Pick<RunRecord, 'recipe' | 'recipeHash' | 'recipeDir' | 'sources' | 'recipeText' | 'recipeSource'> {
  /** Of the run; submitting it again finds the run. @default one that is free */
  id?: string;
  priority?: number;
  deadline?: string;
}

/** A refusal is a FoveaError and becomes 409, or an ApiError with a status of its own. */
export interface Operations {
  submit(submission: Submission): Promise<RunRecord>;
  pause(id: string): Promise<void>;
  resume(id: string): Promise<void>;
  cancel(id: string): Promise<void>;
  /** `deadline: null` takes it away. */
  change(id: string, changes: { priority?: number; deadline?: string | null }): Promise<void>;
  cancelSweep(id: string): Promise<void>;
}

export interface ApiBackend extends StoreReads, FleetReads, Operations {}

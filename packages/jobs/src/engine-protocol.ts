// The few messages between a worker and the engine process it owns. JSON over Node's IPC channel.

import type { Progress } from './schemas.ts';

export type ToEngine = { type: 'run'; id: number; request: unknown; trace?: string };

export type FromEngine =
  | { type: 'ready' }
  | { type: 'progress'; id: number; event: Progress }
  | { type: 'result'; id: number; result: unknown }
  | { type: 'error'; id: number; error: EngineError };

/** An engine's error as it crosses; `isAway` as of StoreAway. */
export interface EngineError {
  name: string;
  message: string;
  stack?: string;
  isAway?: boolean;
}

// The child side of an engine process: takes requests one at a time, answers with a result or an error. It may block its
// event loop while it computes; all that it owes its parent is a progress event between steps. It never outlives it.

import { isAway } from '@fovea/artifacts';
import type { FromEngine, ToEngine } from './engine-protocol.ts';
import type { EngineRequest, Progress } from './schemas.ts';

export interface EngineContext {
  /** Says where the work is; also the heartbeat, so call it at least once per `hangTimeout`. */
  progress(event: Progress): void;
  /** Aborted when the process should end: stop between two steps by throwing. Nothing half done will be committed. */
  signal: AbortSignal;
  /** W3C traceparent of the job, for spans of the engine. */
  trace?: string;
}

export type EngineHandler<Request> = (request: Request, context: EngineContext) => Promise<unknown>;

/** Turns this process into an engine for one type of request. To be called once, in an engine's entry file. */
export function serveEngine<Request = EngineRequest>(handler: EngineHandler<Request>): void {
  const stop = new AbortController();
  let busy = false;

  // Ctrl-C reaches the whole process group; the worker decides when its engine ends.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => {
    stop.abort(new Error('the engine was asked to stop'));
    if (!busy) process.exit(0);
  });
  process.on('disconnect', () => process.exit(0));
  // Without a parent, or with one that died while this file was loading, there is nobody to answer.
  if (!process.connected) process.exit(0);
  process.on('message', async (message: ToEngine) => {
    if (message.type !== 'run') return;
    busy = true;
    const { id, trace } = message;
    const context = {
      signal: stop.signal,
      trace,
      progress: (event: Progress) => send({ type: 'progress', id, event }),
    };
    const answer = await answerTo(handler as EngineHandler<unknown>, message, context);
    busy = false;
    send(answer, () => stop.signal.aborted && process.exit(0));
  });
  send({ type: 'ready' });
}

async function answerTo(
  handler: EngineHandler<unknown>,
  { id, request }: ToEngine,
  context: EngineContext,
): Promise<FromEngine> {
  try {
    return { type: 'result', id, result: await handler(request, context) };
  } catch (caught) {
    const error = caught instanceof Error ? caught : new Error(String(caught));
    const { name, message, stack } = error;
    return { type: 'error', id, error: { name, message, stack, isAway: isAway(error) } };
  }
}

function send(message: FromEngine, sent?: () => void): void {
  if (process.connected) process.send?.(message, undefined, undefined, sent);
}

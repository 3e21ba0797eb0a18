// An engine for the tests of the engine process alone: each request names what the child shall do. It imports little, so
// that it starts fast.

import { setTimeout as sleep } from 'node:timers/promises';
import { FoveaError } from '../../artifacts/src/errors.ts';
import { serveEngine } from '../src/engine-child.ts';

type Request =
  | { do: 'pid' }
  | { do: 'steps'; steps: number; ms: number }
  | { do: 'die'; signal: NodeJS.Signals }
  | { do: 'exit'; code: number }
  | { do: 'silent' }
  | { do: 'freeze' }
  | { do: 'user-error' }
  | { do: 'error' };

serveEngine<Request>(async (request, { progress, signal }) => {
  switch (request.do) {
    case 'pid':
      return { pid: process.pid };
    case 'steps':
      for (let step = 1; step <= request.steps; step++) {
        await sleep(request.ms);
        signal.throwIfAborted();
        progress({ step, steps: request.steps, loss: 1 / step });
      }
      return 'done';
    case 'die':
      process.kill(process.pid, request.signal);
      return sleep(10_000);
    case 'exit':
      return process.exit(request.code);
    case 'silent':
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    case 'freeze':
      return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    case 'user-error':
      throw new FoveaError('The picture cat.png cannot be read: it is no picture; remove it.');
    case 'error':
      throw new RangeError('out of range');
    default:
      return request satisfies never;
  }
});

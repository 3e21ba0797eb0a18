import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { isUserError } from '@fovea/artifacts';
import { afterEach, expect, test } from 'vitest';
import { EngineProcess, typescriptFlags } from './engine-process.ts';
import type { Progress } from './schemas.ts';

const entry = new URL('../test-fixtures/protocol-engine.ts', import.meta.url);
let engine: EngineProcess;
afterEach(() => engine.close());

const make = (options: Partial<ConstructorParameters<typeof EngineProcess>[0]> = {}) => {
  engine = new EngineProcess({ entry, hangTimeoutMs: 10_000, ...options });
  return engine;
};
const isAlive = (pid: number) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};
const gone = async (pid: number) => {
  while (isAlive(pid)) await new Promise((resolve) => setTimeout(resolve, 10));
};

test('one child serves many requests, relays progress and passes errors on as what they were', async () => {
  make().warm();
  const first = (await engine.run({ do: 'pid' })) as { pid: number };
  const events: Progress[] = [];
  expect(await engine.run({ do: 'steps', steps: 3, ms: 1 }, { onProgress: (event) => events.push(event) })).toBe(
    'done',
  );
  expect(events).toEqual([1, 2, 3].map((step) => ({ step, steps: 3, loss: 1 / step })));
  const user = await engine.run({ do: 'user-error' }).catch((error: Error) => error);
  expect(isUserError(user)).toBe(true);
  expect((user as Error).message).toBe('The picture cat.png cannot be read: it is no picture; remove it.');
  await expect(engine.run({ do: 'error' })).rejects.toMatchObject({ name: 'RangeError', message: 'out of range' });
  expect(await engine.run({ do: 'pid' })).toEqual(first);
  const both = engine.run({ do: 'steps', steps: 2, ms: 20 });
  await expect(engine.run({ do: 'pid' })).rejects.toThrow(/busy/);
  await both;
  await engine.close();
  expect(isAlive(first.pid)).toBe(false);
  await expect(engine.run({ do: 'pid' })).rejects.toThrow(/closed/);
});

test('a child that dies is named by its signal or code, and the next request gets a new one', async () => {
  make();
  const { pid } = (await engine.run({ do: 'pid' })) as { pid: number };
  await expect(engine.run({ do: 'die', signal: 'SIGKILL' })).rejects.toThrow(/ended by SIGKILL.*out of memory/);
  await expect(engine.run({ do: 'exit', code: 7 })).rejects.toMatchObject({
    name: 'EngineDied',
    message: expect.stringContaining('exit code 7'),
  });
  expect(await engine.run({ do: 'pid' })).not.toEqual({ pid });
});

test('a silent child is ended by SIGTERM, a frozen one by SIGKILL, a slow one that reports not at all', async () => {
  make({ hangTimeoutMs: 300, graceMs: 200 });
  const pidOf = async () => ((await engine.run({ do: 'pid' })) as { pid: number }).pid;
  const silent = await pidOf();
  await expect(engine.run({ do: 'silent' })).rejects.toThrow(/said nothing for 0.3 s/);
  expect(isAlive(silent)).toBe(false);
  const frozen = await pidOf();
  await expect(engine.run({ do: 'freeze' })).rejects.toThrow(/said nothing/);
  expect(isAlive(frozen)).toBe(false);
  await pidOf();
  expect(await engine.run({ do: 'steps', steps: 6, ms: 100 })).toBe('done');
});

test('an abort ends the child before it is answered', async () => {
  make({ graceMs: 200 });
  const { pid } = (await engine.run({ do: 'pid' })) as { pid: number };
  const abort = new AbortController();
  const onProgress = () => abort.abort(new Error('enough'));
  await expect(engine.run({ do: 'steps', steps: 1000, ms: 5 }, { signal: abort.signal, onProgress })).rejects.toThrow(
    'enough',
  );
  expect(isAlive(pid)).toBe(false);
  await expect(engine.run({ do: 'pid' }, { signal: AbortSignal.abort(new Error('never')) })).rejects.toThrow('never');
});

test('an entry that does not load is an error, not a wait', async () => {
  make({ entry: new URL('./missing.ts', import.meta.url) });
  await expect(engine.run({ do: 'pid' })).rejects.toThrow(/ended with exit code 1/);
});

test('a child does not outlive a parent that was killed', async () => {
  make();
  const script = `
    import { EngineProcess } from ${JSON.stringify(new URL('./engine-process.ts', import.meta.url).href)};
    const engine = new EngineProcess({ entry: ${JSON.stringify(fileURLToPath(entry))}, hangTimeoutMs: 10000 });
    console.log((await engine.run({ do: 'pid' })).pid);
    await engine.run({ do: 'silent' });`;
  const parent = spawn(process.execPath, [...typescriptFlags(), '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [chunk] = await once(parent.stdout, 'data');
  const pid = Number(String(chunk).trim());
  expect(isAlive(pid)).toBe(true);
  parent.kill('SIGKILL');
  await gone(pid);
});

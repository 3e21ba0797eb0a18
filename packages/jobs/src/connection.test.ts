import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Wire } from '../test-fixtures/proxy.ts';
import { connect } from './connection.ts';
import { onControl, sendControl } from './control.ts';
import { ensureRedis, type OwnedRedis } from './redis.ts';

let dir: string;
let server: OwnedRedis;
let wire: Wire;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'fovea-connection-'));
  server = await ensureRedis({ root: dir, runId: 'connection' });
  wire = await Wire.start({ path: server.url.slice('unix:'.length) }, () => 0.5);
});
afterAll(async () => {
  await wire.stop();
  await server.stop();
  await rm(dir, { recursive: true, force: true });
});

/** Everything that was sent or answered for a while is lost, and the connections never hear of it. */
async function forget(): Promise<void> {
  wire.set({ way: 'swallow' });
  await sleep(500);
  wire.set({ way: 'open' });
}

test('a connection that the network forgot is found out and made anew, and its command is sent again', async () => {
  const redis = connect(`redis://${wire.address}`, { silentMs: 600 });
  await redis.set('x', '1');
  const forgotten = forget();
  expect(await Promise.race([redis.get('x'), sleep(8000, 'silence')])).toBe('1');
  await forgotten;
  redis.disconnect();
});

test('one that only listens finds out too, though nobody speaks to it', async () => {
  const listener = connect(`redis://${wire.address}`, { silentMs: 600 });
  const speaker = connect(server.url);
  const heard: string[] = [];
  await onControl(listener, 'test', ({ type }) => heard.push(type), 200);
  const forgotten = forget();
  await sendControl({ redis: speaker, prefix: 'test' }, { type: 'run', run: 'lost' });
  await forgotten;
  for (let i = 0; i < 30 && heard.length === 0; i++) {
    await sendControl({ redis: speaker, prefix: 'test' }, { type: 'workers' });
    await sleep(200);
  }
  expect(heard[0]).toBe('workers');
  listener.disconnect();
  speaker.disconnect();
});

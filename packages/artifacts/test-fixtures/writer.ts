// A process that uses a store in a folder, to be killed or to run where the disk fails. `node writer.ts FOLDER once` does
// each thing once and prints what came of it; `forever` puts blobs and replaces refs until it is killed.

import { openStore } from '../src/store.ts';

const [folder, mode] = process.argv.slice(2);
const store = await openStore(folder);
const said = (action: Promise<unknown>) =>
  action.then(
    (value) => ({ value }),
    (error: Error) => ({ error: `${error.name}: ${error.message}` }),
  );

if (mode === 'once') {
  const put = await said(store.put(new Uint8Array(3000).fill(7)));
  const got = await said(store.get(process.env.KNOWN!).then((bytes) => bytes.byteLength));
  const wrote = await said(store.writeRef('a.json', { n: 2 }));
  const created = await said(store.createRef('new.json', { n: 2 }));
  const read = await said(store.readRef('a.json'));
  console.log(JSON.stringify({ put, got, wrote, created, read }));
} else {
  const blob = new Uint8Array(1 << 20);
  console.log('ready');
  for (let i = 0; ; i++) {
    blob[i % blob.length]++;
    const { sha256, size } = await store.put(blob);
    await store.writeRef('newest.json', { sha256, size, pad: 'x'.repeat(20_000) });
    await store.createRef(`each/${process.pid}-${i}.json`, { sha256, size });
  }
}

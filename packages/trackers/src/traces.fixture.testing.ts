// A process with one span, for the test of traces: under the traceparent of its second argument, and with one more
// process under itself where a third says so. The last line it prints tells what it knew.

import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { inject, startTracing, withSpan } from './traces.ts';

const [name, traceparent, child] = process.argv.slice(2);
const said: string[] = [];
const tracing = await startTracing({ serviceName: `fovea-${name}`, say: (line) => said.push(line) });
const outside = inject() ?? null;
let inside: string | null = null;
let below: unknown = null;
await withSpan(name, traceparent || undefined, { 'fovea.run': 'run-1' }, async () => {
  await new Promise((resolve) => setTimeout(resolve, 5));
  inside = inject() ?? null;
  if (!child) return;
  const args = [...process.execArgv, fileURLToPath(import.meta.url), child, inside ?? ''];
  below = JSON.parse(spawnSync(process.execPath, args, { encoding: 'utf8' }).stdout);
});
await withSpan('failing', undefined, {}, () => {
  throw new TypeError('/home/someone/secret');
}).catch((error) => said.push(`thrown ${error.name}`));
const start = performance.now();
await tracing.close();
const closing = performance.now() - start;
const sdk = Object.keys(createRequire(import.meta.url).cache).some((file) => file.includes('opentelemetry/sdk-trace'));
console.log(JSON.stringify({ outside, inside, below, said, closing, sdk }));

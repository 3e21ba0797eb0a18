#!/usr/bin/env node
// The one file that Node must run by itself: it checks Node's version, teaches this process to read TypeScript, and
// hands over to ../src/main.ts.

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`Fovea needs Node 20.19 or newer and this is Node ${process.versions.node}: install a newer one.`);
  process.exit(2);
}
const { register } = await import('tsx/esm/api');
register();
const { main } = await import('../src/main.ts');
await main(process.argv.slice(2));

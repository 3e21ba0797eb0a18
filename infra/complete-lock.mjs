// Completes package-lock.json where a registry mirror lacks platform packages that this machine would skip anyway. npm
// leaves such optional packages out of the lock file and `npm ci` then refuses it on every machine; an entry with name,
// version, os and cpu is all that it needs. Run it after `npm install` has rewritten the lock file.

import { readFileSync, writeFileSync } from 'node:fs';

const file = new URL('../package-lock.json', import.meta.url);
const lock = JSON.parse(readFileSync(file, 'utf8'));

/** os and cpu as the packages' own manifests state them, read off their names. */
function platformOf(name) {
  const [, os, cpu, libc] = name.match(/(android|darwin|linux|windows|win32)-(arm64|x64|64)(-musl)?$/) ?? [];
  if (!os) return null;
  return {
    cpu: [cpu === '64' ? 'x64' : cpu],
    os: [os === 'windows' ? 'win32' : os],
    ...(libc ? { libc: ['musl'] } : {}),
  };
}

const added = [];
for (const [where, entry] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const place = `node_modules/${name}`;
    if (lock.packages[place] || where === '' || !/^\d/.test(version)) continue;
    const platform = platformOf(name);
    if (lock.packages[`${where}/${place}`] || !platform) continue;
    lock.packages[place] = { version, ...platform, dev: entry.dev, license: entry.license, optional: true };
    added.push(name);
  }
}
const byName = ([a], [b]) => (a < b ? -1 : a > b ? 1 : 0);
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(byName));
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
console.log(added.length > 0 ? `added ${added.join(', ')}` : 'nothing was missing');

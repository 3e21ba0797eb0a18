// Keeps the direction of imports (packages/README of the architecture): a package may import only packages below it,
// nothing imports an app but the command line, and no package reaches into another's folder. Run by `npm run check`.

import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** What each package may import. */
const BELOW = {
  artifacts: [],
  tensor: [],
  recipe: ['artifacts'],
  models: ['artifacts', 'tensor'],
  diffusion: ['artifacts', 'tensor'],
  data: ['artifacts', 'recipe', 'tensor'],
  alignment: ['artifacts', 'data', 'diffusion', 'models', 'recipe', 'tensor'],
  benchmarks: ['alignment', 'artifacts', 'data', 'models', 'recipe', 'tensor'],
  jobs: ['artifacts', 'recipe'],
  trackers: ['artifacts', 'jobs', 'recipe'],
  api: ['artifacts', 'jobs', 'recipe'],
};

/** Where only types may be taken, so that whoever watches a run loads no queue. */
const TYPES_ONLY = { trackers: ['jobs'] };

/** A package's engine-free parts that even the lowest may share. */
const ALWAYS = new Set(['@fovea/tensor/random']);

function* sources(folder) {
  for (const name of readdirSync(folder)) {
    const file = path.join(folder, name);
    if (name === 'node_modules' || name === 'dist') continue;
    if (statSync(file).isDirectory()) yield* sources(file);
    else if (name.endsWith('.ts')) yield file;
  }
}

const faults = [];
for (const [owner, allowed] of Object.entries(BELOW)) {
  const manifest = JSON.parse(readFileSync(path.join(ROOT, 'packages', owner, 'package.json'), 'utf8'));
  const declared = new Set(Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies }));
  for (const file of sources(path.join(ROOT, 'packages', owner, 'src'))) {
    const text = readFileSync(file, 'utf8');
    const where = path.relative(ROOT, file);
    for (const [, type, name] of text.matchAll(/^(?:import|export)( type)?[^']*?from '@fovea\/([^'/]+)/gm)) {
      if (!type && TYPES_ONLY[owner]?.includes(name)) faults.push(`${where} may import only types of @fovea/${name}`);
    }
    for (const [, target] of text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)) {
      if (
        target.startsWith('.') &&
        path.relative(path.join(ROOT, 'packages', owner), path.resolve(path.dirname(file), target)).startsWith('..')
      ) {
        faults.push(`${where} reaches out of its package: ${target}`);
      }
      const [, name] = target.match(/^@fovea\/([^/]+)/) ?? [];
      if (name === undefined || name === owner || ALWAYS.has(target)) continue;
      if (!allowed.includes(name)) faults.push(`${where} imports @fovea/${name}, which does not stand below ${owner}`);
      else if (!declared.has(`@fovea/${name}`))
        faults.push(`${where} imports @fovea/${name}, which its package.json does not list`);
    }
  }
}

if (faults.length > 0) {
  console.error(faults.join('\n'));
  process.exit(1);
}
console.log(`imports point one way in ${Object.keys(BELOW).length} packages`);

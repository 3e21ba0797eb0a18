// Builds one workspace: every src/*.ts becomes a dist/*.js beside it, types stripped, `.ts` specifiers renamed. Files
// keep their depth, so paths to presets and weights hold. Run built code with `node --conditions=dist`; from source it
// runs through tsx. Called by each workspace's `build` script in that workspace's folder.

import { copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { transform } from 'esbuild';

const source = path.resolve('src');
const target = path.resolve('dist');

/** Relative paths of sources, in imports and in `new URL(…)` alike: '../x/src/y.ts' -> '../x/dist/y.js'. */
const rename = (code) =>
  code.replace(
    /(["'`])(\.{1,2}\/[^"'`]*?)\.ts\1/g,
    (_all, quote, stem) => `${quote}${stem.replace('/src/', '/dist/')}.js${quote}`,
  );

await rm(target, { recursive: true, force: true });
const all = await readdir(source, { recursive: true });
const files = all.filter((file) => /\.ts$/.test(file) && !/\.test\.ts$|testing\.ts$/.test(file));
for (const file of files) {
  const code = await readFile(path.join(source, file), 'utf8');
  const built = await transform(code, { loader: 'ts', format: 'esm', target: 'node20', sourcefile: file });
  const out = path.join(target, file.replace(/\.ts$/, '.js'));
  await mkdir(path.dirname(out), { recursive: true });
  await writeFile(out, rename(built.code));
}
for (const file of all.filter((file) => file.endsWith('.mjs')))
  await copyFile(path.join(source, file), path.join(target, file));
console.log(`${path.basename(process.cwd())}: ${files.length} files`);

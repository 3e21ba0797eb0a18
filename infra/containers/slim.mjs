// Takes out of a built checkout what only building, testing and other platforms need. Called by the container files
// after `npm run build`, in the repository's root. It deletes, so it runs only where FOVEA_IMAGE_BUILD is set or in
// /app, the containers' folder.

import { execFileSync } from 'node:child_process';
import { globSync, rmSync } from 'node:fs';
import path from 'node:path';

const root = process.cwd();
if (root !== '/app' && !process.env.FOVEA_IMAGE_BUILD) {
  console.error(`This deletes sources and packages below ${root}: it is for container builds, and runs in /app only.`);
  process.exit(2);
}

execFileSync('npm', ['prune', '--omit=dev', '--ignore-scripts'], { stdio: 'inherit' });

const platform = path.join('node_modules/onnxruntime-node/bin', '*', process.platform, process.arch);
const kept = new Set(globSync(platform));
const unwanted = [
  ...globSync('{apps,packages}/*/src'),
  ...globSync('node_modules/onnxruntime-node/bin/*/*/*').filter((folder) => !kept.has(folder)),
  ...globSync(path.join(platform, '*tensorrt*')),
  // Eager TensorFlow is for debugging, and has no binding here.
  ...globSync('node_modules/@tensorflow/tfjs-node*'),
  // The library is imported as CommonJS and ES modules, never from these bundles and maps.
  ...globSync('node_modules/@tensorflow/*/dist/**/*.map'),
  ...globSync('node_modules/.{cache,package-lock.json}'),
  ...globSync('{.turbo,*/*/.turbo}'),
];
for (const file of unwanted) rmSync(file, { recursive: true, force: true });
console.log(`removed ${unwanted.length} files and folders`);

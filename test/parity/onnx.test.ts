// Every parity case's graph, forward and backward, through the ONNX checker and stock onnxruntime, where FOVEA_PYTHON names
// a Python that has onnx and onnxruntime.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { lowerToOnnx } from '@fovea/tensor';
import { describe, expect, it } from 'vitest';
import { files, load, missing, runnable } from './cases.ts';

const PYTHON = process.env.FOVEA_PYTHON;
const CHECKER = fileURLToPath(new URL('check_onnx.py', import.meta.url));

describe('the graphs of all parity cases', () => {
  if (!PYTHON) console.info('onnx: the checker is not run, because FOVEA_PYTHON names no Python with onnx');

  it.skipIf(!PYTHON)(
    'pass the ONNX checker and load in stock onnxruntime',
    () => {
      const folder = mkdtempSync(path.join(os.tmpdir(), 'fovea-onnx-'));
      try {
        for (const file of files.filter((name) => missing(name) === null)) {
          const { cases, tensors } = load(file);
          for (const c of cases) {
            const { step, signature } = runnable(c, tensors);
            const name = `${path.basename(file, '.safetensors')}-${c.key}-${c.op}.onnx`;
            writeFileSync(path.join(folder, name), lowerToOnnx(step, signature).bytes);
          }
        }
        const { status, stdout, stderr } = spawnSync(PYTHON as string, [CHECKER, folder], { encoding: 'utf8' });
        expect(status, stdout + stderr).toBe(0);
        expect(stdout).toContain(' 0 faulty');
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    },
    300_000,
  );
});

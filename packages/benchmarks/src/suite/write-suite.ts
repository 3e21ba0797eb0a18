// Writes a suite as a folder that appears whole or not at all: built beside its place and renamed into it. Pictures that a
// builder drew come with it; those of a user stay where they are.

import { randomUUID } from 'node:crypto';
import { rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { ensureFolder, explainDisk, FoveaError, replaceFile, syncFolder, writeSynced } from '@fovea/artifacts';
import type { Draft } from './draft.ts';
import type { Manifest } from './manifest.ts';
import { pathFault } from './safe-files.ts';
import type { Suite } from './suite.ts';
import { canonicalLines, encodeDraft } from './suite-of.ts';

/** A picture to be written below the suite's `pictures/`. */
export interface PictureFile {
  path: string;
  bytes: Uint8Array;
}

/**
 * Writes a draft to `folder`, which must not be there yet. Throws a FoveaError for a faulty draft, for a folder that is
 * there, and for a disk that refuses.
 */
export async function writeSuite(
  folder: string,
  draft: Draft,
  pictures: AsyncIterable<PictureFile> | Iterable<PictureFile> = [],
): Promise<Manifest> {
  const text = encodeDraft(draft);
  const tmp = `${folder}.${process.pid}-${randomUUID()}.tmp`;
  try {
    await ensureFolder(path.resolve(tmp));
    for await (const { path: name, bytes } of pictures) {
      const fault = pathFault(name);
      if (fault !== null) throw new FoveaError(`The picture "${name}" cannot be written: ${fault}.`);
      const file = path.resolve(tmp, 'pictures', name);
      await ensureFolder(path.dirname(file));
      await writeSynced(file, bytes);
    }
    await writeSuiteFiles(tmp, text);
    await rename(tmp, folder);
    await syncFolder(path.dirname(path.resolve(folder)));
    return text.manifest;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'ENOTDIR')
      throw new FoveaError(`The folder "${folder}" is there already; remove it, or give another.`);
    throw explainDisk(error, `The suite "${folder}" cannot be written`);
  } finally {
    await rm(tmp, { recursive: true, force: true }).catch(() => undefined);
  }
}

/** The files of a suite in a folder that may have others; suite.json last, so that what it names is there. */
export async function writeSuiteFiles(
  folder: string,
  { manifest, items, probes }: Pick<Suite, 'manifest' | 'items' | 'probes'>,
): Promise<void> {
  await replaceFile(path.join(folder, 'items.jsonl'), canonicalLines(items));
  if (manifest.probes) await replaceFile(path.join(folder, 'probes.jsonl'), canonicalLines(probes));
  await replaceFile(path.join(folder, 'suite.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}

// A folder of one folder per class, `class/…/file.jpg`, as ImageNet and its variants are kept. Not the data set that runs
// train on (image-folder.ts): nothing is split, framed or augmented here.

import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { FoveaError, quote } from '@fovea/artifacts';
import { z } from 'zod';
import { PictureFiles } from './picture-files.ts';
import { type AnnotatedSet, lookedAt, type Omission, type RowDraft } from './rows.ts';
import { readJson } from './text-files.ts';

export interface ClassFolderOptions {
  images: string;
  /**
   * A JSON file of class names: by folder name, or a list for folders that are numbers. Without it a class is called as its
   * folder, with spaces for _ and -.
   */
  names?: string;
  /** @default 50 million */
  maxPixels?: number;
}

const ENDINGS = /\.(jpe?g|png|webp)$/i;
const MOST_NAMES = 2 ** 24;
const name = z.string().min(1).max(200);
const namesSchema = z.union([z.array(name), z.record(z.string(), name)], {
  error: 'neither a list of class names nor names by folder',
});

/**
 * Rows by class, then by path; classes by folder name, numbers by value. Throws a {@link FoveaError} where the folder holds
 * no classes, or two of one name; a picture that is damaged is omitted. Links are not followed.
 */
export async function openClassFolder({ images, names, maxPixels }: ClassFolderOptions): Promise<AnnotatedSet> {
  const pictures = await PictureFiles.open(images, maxPixels);
  const given = names === undefined ? null : await readJson(names, namesSchema, MOST_NAMES);
  const folders = (await readdir(images, { withFileTypes: true }))
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
    .map((entry) => entry.name)
    .sort(byNumberThenName);
  const [drafts, classes, omitted]: [RowDraft[], string[], Omission[]] = [[], [], []];
  for (const folder of folders) {
    const files = await picturesBelow(images, folder);
    if (files.length === 0) continue;
    const label = classNameOf(folder, given?.value ?? null);
    if (classes.includes(label))
      throw new FoveaError(`The picture folder has two class folders that read ${quote(label)}; rename one.`);
    classes.push(label);
    for (const file of files) drafts.push({ path: file, objects: [label], captions: [], label });
  }
  if (classes.length === 0)
    throw new FoveaError(`The picture folder "${images}" holds no pictures as class/picture.jpg (or .png, .webp).`);
  const rows = await lookedAt(drafts, pictures, omitted);
  return { classes, rows, omitted, files: given ? { names: given.sha256 } : {}, pictures };
}

/** ImageNet-V2's folders are class numbers: by name, 10 would come before 2. */
function byNumberThenName(a: string, b: string): number {
  if (/^\d+$/.test(a) && /^\d+$/.test(b)) return Number(a) - Number(b) || (a < b ? -1 : 1);
  return a < b ? -1 : 1;
}

function classNameOf(folder: string, names: z.infer<typeof namesSchema> | null): string {
  if (names === null) return folder.replace(/[_-]+/g, ' ').trim() || folder;
  const key = Array.isArray(names) && /^\d+$/.test(folder) ? String(Number(folder)) : folder;
  const found = Object.hasOwn(names, key) && key !== 'length' ? (names as Record<string, string>)[key] : undefined;
  if (found === undefined)
    throw new FoveaError(`The class folder ${quote(folder)} has no name in the file of class names; add it.`);
  return found;
}

async function picturesBelow(root: string, folder: string): Promise<string[]> {
  return (await readdir(path.join(root, folder), { withFileTypes: true, recursive: true }))
    .filter((entry) => entry.isFile() && ENDINGS.test(entry.name) && !entry.name.startsWith('.'))
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)).split(path.sep).join('/'))
    .sort();
}

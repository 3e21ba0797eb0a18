// A recipe's picture folder before a run: which classes it holds, how many pictures each, and whether the first of each can be
// decoded. The emoji world is drawn, so there is nothing to find out about it.

import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { type ImageFolder, openDataset } from '@fovea/data';
import type { Recipe } from '@fovea/recipe';
import { table } from './summary.ts';

/** Most classes whose first picture is decoded, and most that are listed. */
const MOST = 50;

export interface CheckedPictures {
  classes: { name: string; train: number; heldOut: number }[];
  /** Pictures that were decoded: the first of each class. */
  decoded: number;
  /** Class folders without a picture, which are no classes. */
  empty: string[];
}

type Picture = ImageFolder['train'][number];

/** Opens a recipe's picture folder; null for the emoji world. A FoveaError where a run could not read it. */
export async function checkPictures(
  { data, seed }: Recipe,
  recipeDir: string,
  cacheDir: string,
): Promise<CheckedPictures | null> {
  if (data.kind !== 'image-folder') return null;
  const folder = (await openDataset(data, { recipeDir, cacheDir, seed })) as ImageFolder;
  const classes = folder.classes.map((name) => ({ name, train: 0, heldOut: 0 }));
  const firsts: Picture[] = [];
  const used = new Set<string>();
  for (const part of ['train', 'heldOut'] as const) {
    for (const picture of folder[part]) {
      const { label, name } = picture;
      classes[label][part]++;
      used.add(name.split('/')[0]);
      if (firsts[label] === undefined || name < firsts[label].name) firsts[label] = picture;
    }
  }
  const tried = firsts.slice(0, MOST);
  for (const first of tried) await folder.read([first]);
  const entries = await readdir(path.resolve(recipeDir, data.path), { withFileTypes: true });
  const empty = entries
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.') && !used.has(entry.name))
    .map(({ name }) => name)
    .sort();
  return { classes, decoded: tried.length, empty };
}

export function picturesText({ classes, decoded, empty }: CheckedPictures): string {
  const sum = (part: 'train' | 'heldOut') => classes.reduce((total, each) => total + each[part], 0);
  const rows = classes.slice(0, MOST).map(({ name, train, heldOut }) => [name, String(train), String(heldOut)]);
  const more = classes.length - rows.length;
  return [
    `Pictures: ${classes.length} classes, ${sum('train')} to train on, ${sum('heldOut')} held out; the first of ${decoded === classes.length ? 'each' : `${decoded} classes`} can be decoded.`,
    ...(empty.length > 0
      ? [`Without a picture, so no class: ${empty.slice(0, MOST).join(', ')}${empty.length > MOST ? ', …' : ''}.`]
      : []),
    '',
    table(['class', 'train', 'held out'], rows),
    ...(more > 0 ? [`… and ${more} more`] : []),
  ].join('\n');
}

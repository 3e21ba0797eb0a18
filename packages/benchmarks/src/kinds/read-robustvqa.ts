// Reads RobustVQA's published questions (DEEM, arXiv 2405.15232): one JSON of three lists, with the user's own folders of
// ImageNet-A, -R and -V2 beneath one root. What the file's generator got wrong shows in the file itself, and is told.

import { stat } from 'node:fs/promises';
import path from 'node:path';
import { FoveaError, sha256Hex } from '@fovea/artifacts';
import { z } from 'zod';
import type { Draft } from '../suite/draft.ts';
import { cleanName, yesNoItems } from './build-robustvqa.ts';
import { describePictures, type PictureFacts, plainPath, readJson, readText } from './user-files.ts';

export const robustVqaFileOptions = z.strictObject({
  /** The published JSON. */
  file: z.string(),
  /** Folder that the three picture folders are below; picture paths start from it. */
  images: z.string(),
  name: z.string().default('robustvqa'),
  /** Folders below `images`; where left out, the usual names are tried. */
  folders: z
    .strictObject({ imagenet_a: z.string(), imagenet_r: z.string(), imagenet_v2: z.string() })
    .partial()
    .default({}),
});

const entry = z.strictObject({
  file_name: z.string().min(1),
  gt_caption: z.string().min(1),
  error_caption: z.string().min(1),
});
type Entry = z.infer<typeof entry>;

const list = z.array(entry);
/** `imagenet_s` and `imagenet_d` were written by the first generator and are of other data. */
const document = z.strictObject({
  imagenet_a: list.optional(),
  imagenet_r: list.optional(),
  imagenet_v2: list.optional(),
  imagenet_s: z.unknown().optional(),
  imagenet_d: z.unknown().optional(),
});

const SETS = {
  imagenet_a: { split: 'imagenet-a', all: 7500, folders: ['imagenet-a', 'imagenet_a', 'ImageNet-A'] },
  imagenet_r: { split: 'imagenet-r', all: 30_000, folders: ['imagenet-r', 'imagenet_r', 'ImageNet-R'] },
  imagenet_v2: {
    split: 'imagenet-v2',
    all: 10_000,
    folders: ['imagenetv2', 'imagenet-v2', 'imagenet_v2', 'imagenetv2-matched-frequency-format-val', 'ImageNet-V2'],
  },
} as const;
type SetName = keyof typeof SETS;

/** A question with its picture's path below `images`. */
interface Placed extends Entry {
  path: string;
}

/**
 * The published file as a suite, two questions a picture. Pictures that are not in the user's folders are left out and named
 * in `omitted`; so are entries whose two names are the same word. Throws a {@link FoveaError} for a file that is not of this
 * form, paths that climb, a picture that is asked twice, a set without a folder, and where nothing is left.
 */
export async function readRobustVqa(given: z.input<typeof robustVqaFileOptions>): Promise<Draft> {
  const { file, images, name, folders } = robustVqaFileOptions.parse(given);
  const lists = await listsOf(file);
  const omitted: Draft['omitted'] = [];
  const notes: string[] = [];
  const items: Draft['items'] = [];
  for (const [set, entries] of lists) {
    const folder = await folderOf(set, images, folders[set]);
    const placed = place(set, entries, folder, file);
    const { found, lost } = await describePictures(
      images,
      placed.map(({ path }) => path),
    );
    omitted.push(...lost.map((picture) => ({ what: picture.path, reason: picture.reason })));
    const before = items.length;
    for (const question of placed) {
      const picture = found.get(question.path);
      if (!picture) continue;
      if (cleanName(question.gt_caption).toLowerCase() === cleanName(question.error_caption).toLowerCase()) {
        omitted.push({ what: question.path, reason: `both names are "${cleanName(question.gt_caption)}"` });
      } else items.push(...questionsOf(SETS[set].split, question, picture));
    }
    notes.push(...notesOf(set, placed, (items.length - before) / 2));
  }
  if (items.length === 0) {
    throw new FoveaError(
      `RobustVQA cannot be read: "${file}" leaves nothing to ask; ${omitted[0]?.reason ?? 'its lists are empty.'}`,
    );
  }
  return {
    name,
    kind: 'robustvqa',
    title: 'RobustVQA: the published questions over ImageNet-A, -R and -V2',
    source: { builder: 'robustvqa-file', questions: sha256Hex(await readText(file)), filterModel: null },
    prompt: { id: 'deem', template: '{question} Please anwser yes or no' },
    textTemplate: 'a photo of a {}',
    omitted,
    notes,
    items,
    probes: [],
  };
}

async function listsOf(file: string): Promise<[SetName, Entry[]][]> {
  const parsed = document.safeParse(await readJson(file));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new FoveaError(
      `The file "${file}" is not RobustVQA's: ${issue.path.join('.') || 'its top'}: ${issue.message}; it should hold lists imagenet_a, imagenet_r and imagenet_v2 of {file_name, gt_caption, error_caption}.`,
    );
  }
  return (Object.keys(SETS) as SetName[]).flatMap((set): [SetName, Entry[]][] => {
    const entries = parsed.data[set];
    return entries ? [[set, entries]] : [];
  });
}

async function folderOf(set: SetName, images: string, given: string | undefined): Promise<string> {
  for (const folder of given === undefined ? SETS[set].folders : [given]) {
    if ((await stat(path.join(images, folder)).catch(() => null))?.isDirectory()) return folder;
  }
  throw new FoveaError(
    `The pictures of ${set} are not below "${images}": there is no folder ${given === undefined ? SETS[set].folders.map((name) => `"${name}"`).join(', ') : `"${given}"`}; name the folder or link it there.`,
  );
}

/** A path's last two parts, class and file, below the user's folder; V2's classes are numbers, however they are padded. */
function place(set: SetName, entries: readonly Entry[], folder: string, where: string): Placed[] {
  const seen = new Set<string>();
  return entries.map((one) => {
    const parts = plainPath(one.file_name, where).split('/');
    if (parts.length < 2) plainPath(`/${one.file_name}`, where);
    const [group, file] = parts.slice(-2);
    if (set === 'imagenet_v2') classIndex(group, where);
    const path = plainPath(`${folder}/${group}/${file}`, where);
    if (seen.has(path)) throw new FoveaError(`The file "${where}" asks of the picture "${path}" twice; remove one.`);
    seen.add(path);
    return { ...one, path };
  });
}

/** A folder name of ImageNet-V2 as the class index that it is: "10" comes after "9", not after "1". */
export function classIndex(folder: string, where: string): number {
  if (/^\d{1,4}$/.test(folder)) return Number(folder);
  throw new FoveaError(
    `The folder "${folder}" in "${where}" is no class index of ImageNet-V2, such as 0 or 999; check the file.`,
  );
}

function questionsOf(
  split: string,
  { path, gt_caption, error_caption }: Placed,
  picture: PictureFacts,
): Draft['items'] {
  const [right, wrong] = [cleanName(gt_caption), cleanName(error_caption)];
  const base = { id: `${split}/${path}`, split, cluster: path, pictures: [{ kind: 'file' as const, ...picture }] };
  return yesNoItems(base, right, wrong, { label: right, distractor: wrong });
}

/**
 * Counts, and whether names and folders fit: all pictures of a folder are of one class, so several right names for one
 * folder betray the generator that zips a batch's paths with its filtered labels.
 */
function notesOf(set: SetName, placed: readonly Placed[], asked: number): string[] {
  const names = new Map<string, Set<string>>();
  for (const { path: name, gt_caption } of placed) {
    const folder = path.posix.dirname(name);
    const known = names.get(folder) ?? new Set();
    names.set(folder, known.add(gt_caption));
  }
  const torn = [...names.values()].filter((known) => known.size > 1).length;
  const { split, all } = SETS[set];
  const notes = [`${split}: ${placed.length} pictures of ${all}, ${asked} asked`];
  if (torn > 0) {
    notes.push(
      `WARNING: in ${torn} of ${names.size} folders of ${split} pictures of one class have different right names; the file seems to come from the generator that misaligns pictures and names, and its scores mean nothing`,
    );
  }
  return notes;
}

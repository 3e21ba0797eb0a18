// Reads RobustVQA's published questions (DEEM, arXiv 2405.15232): one JSON of three lists, with the user's own folders of
// ImageNet-A, -R and -V2 beneath one root. What the file's generator got wrong shows in the file itself, and is told.

import { stat } from 'node:fs/promises';
import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import { PictureFiles } from '@fovea/data';
import { z } from 'zod';
import type { Draft } from '../suite/draft.ts';
import { parseAs, parseJson } from '../suite/safe-files.ts';
import { YES_NO_PROMPT_IDS, YES_NO_PROMPTS } from './answers/prompts.ts';
import { cleanName, ROBUSTVQA_TEXT_TEMPLATE, yesNoItems } from './robustvqa-questions.ts';
import { lookAtAll, plainPath, readText } from './user-files.ts';

export const robustVqaFilesSchema = z.strictObject({
  /** The published JSON. */
  file: z.string(),
  /** Folder that the three picture folders are below; picture paths start from it. */
  images: z.string(),
  name: z.string().default('robustvqa'),
  prompt: z.enum(YES_NO_PROMPT_IDS).default('deem'),
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

const FOIL =
  "CLIP ViT-L/14 at 336 pixels chose these questions: an encoder that is tuned from it will seem to improve by any change; set a split of buildRobustVqa's beside, whose wrong names no model chose.";

/** A question with its picture's path below `images`. */
interface Placed extends Entry {
  path: string;
}

/**
 * The published file as a suite, two questions a picture. Pictures that are not in the user's folders are left out and named
 * in `omitted`; so are entries whose two names are the same word. Throws a {@link FoveaError} for a file that is not of this
 * form, paths that climb, a picture that is asked twice, a set without a folder, and where nothing is left.
 */
export async function readRobustVqa(given: z.input<typeof robustVqaFilesSchema>): Promise<Draft> {
  const { file, images, name, prompt, folders } = robustVqaFilesSchema.parse(given);
  const { text, sha256 } = await readText(file);
  const lists = listsOf(text, file);
  const pictures = await PictureFiles.open(images);
  const omitted: Draft['omitted'] = [];
  const notes = [FOIL];
  const items: Draft['items'] = [];
  for (const [set, entries] of lists) {
    const folder = await folderOf(set, images, folders[set]);
    const placed = place(set, entries, folder, file);
    const { found, lost } = await lookAtAll(
      pictures,
      placed.map(({ path }) => path),
    );
    omitted.push(...lost);
    const before = items.length;
    for (const { path, gt_caption, error_caption } of placed) {
      const picture = found.get(path);
      const [right, wrong] = [cleanName(gt_caption), cleanName(error_caption)];
      if (!picture) continue;
      if (right.toLowerCase() === wrong.toLowerCase())
        omitted.push({ what: path, reason: `both names are "${right}"` });
      else items.push(...yesNoItems({ picture, split: SETS[set].split, right, wrong: [wrong] }));
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
    source: { builder: 'robustvqa-files', version: 1, questions: sha256 },
    prompt: { id: prompt, template: YES_NO_PROMPTS[prompt] },
    textTemplate: ROBUSTVQA_TEXT_TEMPLATE,
    omitted,
    notes,
    items,
    probes: [],
  };
}

function listsOf(text: string, file: string): [SetName, Entry[]][] {
  const what = `The file "${file}"`;
  const lists = parseAs(document, parseJson(text, what), `${what}, which should be RobustVQA's,`);
  return (Object.keys(SETS) as SetName[]).flatMap((set): [SetName, Entry[]][] => {
    const entries = lists[set];
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
    const [group, file] = plainPath(one.file_name, where).split('/').slice(-2);
    if (file === undefined)
      throw new FoveaError(`The picture path "${group}" in "${where}" names no class folder; take the published file.`);
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
  const notes = [`${split}: ${placed.length} pictures of the published ${all}, ${asked} asked.`];
  if (torn > 0) {
    notes.push(
      `WARNING: in ${torn} of ${names.size} folders of ${split} pictures of one class have different right names; the file seems to come from the generator that misaligns pictures and names, and its scores mean nothing.`,
    );
  }
  return notes;
}

// WebDataset shards: tars in which members that share a name up to its first dot are one sample (key.jpg, key.cls, key.txt,
// key.json). Only headers and the small members are read here; a picture is read when it is looked at.

import { readdir } from 'node:fs/promises';
import { FoveaError, quote } from '@fovea/artifacts';
import { z } from 'zod';
import { PictureFiles } from './picture-files.ts';
import { type AnnotatedSet, lookedAt, type Omission, type RowDraft } from './rows.ts';
import { parseJson, readTextFile } from './text-files.ts';

export interface WebDatasetOptions {
  /** The folder of the shards, all of its *.tar. */
  images: string;
  /** A file of class names, one a line, that the numbers of .cls stand for. */
  names?: string;
  /** @default 50 million */
  maxPixels?: number;
}

const PICTURE = /^(jpe?g|png|webp)$/;
const MOST_NAMES = 2 ** 24;
/** Of a member that is no picture. */
const MOST_FIELD = 2 ** 20;

const box = z.object({ name: z.string(), x: z.number(), y: z.number(), w: z.number(), h: z.number() });
const jsonSchema = z.object({
  caption: z.string().optional(),
  captions: z.array(z.string()).optional(),
  objects: z.array(z.string()).optional(),
  boxes: z.array(box).optional(),
  label: z.union([z.string(), z.int().min(0)]).optional(),
});

/**
 * Rows by shard, then in its order; paths are `shard.tar/key.jpg`. Throws a {@link FoveaError} where a shard is cut short or
 * damaged, a member stands in it twice or climbs out; a sample without a whole picture is omitted.
 */
export async function openWebDataset({ images, names, maxPixels }: WebDatasetOptions): Promise<AnnotatedSet> {
  const pictures = await PictureFiles.open(images, maxPixels);
  const shards = (await readdir(images)).filter((name) => /\.tar$/i.test(name) && !name.startsWith('.')).sort();
  if (shards.length === 0) throw new FoveaError(`The folder "${images}" holds no shards (*.tar).`);
  const given = names === undefined ? null : await readTextFile(names, MOST_NAMES);
  const list = given?.text.split('\n').map((line) => line.trim()) ?? [];
  const nameOf = (label: string | number): string => {
    const isNumber = /^\d+$/.test(`${label}`);
    if (given === null || !isNumber) return `${label}`;
    if (!list[Number(label)])
      throw new FoveaError(`The class ${label} has no line in the file of class names; add it.`);
    return list[Number(label)];
  };
  const [drafts, omitted]: [RowDraft[], Omission[]] = [[], []];
  for (const shard of shards) {
    const samples = samplesOf([...(await pictures.tar(shard)).keys()]);
    for (const [key, members] of samples) {
      const what = `${shard}/${key}`;
      const shown = [...members.keys()].filter((ending) => PICTURE.test(ending));
      if (shown.length !== 1) omitted.push({ what, reason: `it has ${shown.length || 'no'} pictures` });
      else drafts.push(await draftOf(pictures, shard, members, members.get(shown[0]) as string, nameOf));
    }
  }
  const rows = await lookedAt(drafts, pictures, omitted);
  const found = [...new Set(drafts.flatMap(({ label }) => label ?? []))].sort();
  const classes = list.some((line) => line !== '') ? list.filter((line) => line !== '') : found;
  return { classes, rows, omitted, files: given ? { names: given.sha256 } : {}, pictures };
}

/** Members by ending, by key: the path up to the first dot of its last part. */
function samplesOf(members: string[]): Map<string, Map<string, string>> {
  const samples = new Map<string, Map<string, string>>();
  for (const member of members) {
    const [, key, ending] = /^((?:.*\/)?[^./]+)\.([^/]+)$/.exec(member) ?? [];
    if (key === undefined) continue;
    const sample = samples.get(key) ?? new Map<string, string>();
    samples.set(key, sample);
    const lower = ending.toLowerCase();
    if (sample.has(lower)) throw new FoveaError(`The tar has two members ${quote(`${key}.${lower}`)}; make it anew.`);
    sample.set(lower, member);
  }
  return samples;
}

async function draftOf(
  pictures: PictureFiles,
  shard: string,
  members: Map<string, string>,
  picture: string,
  nameOf: (label: string | number) => string,
): Promise<RowDraft> {
  const field = async (ending: string): Promise<string | undefined> => {
    const member = members.get(ending);
    if (member === undefined) return undefined;
    const bytes = await pictures.read(`${shard}/${member}`, MOST_FIELD);
    return Buffer.from(bytes).toString('utf8').trim();
  };
  const [cls, text, json] = [await field('cls'), await field('txt'), await field('json')];
  const said = json === undefined ? {} : parseJson(json, jsonSchema, `${shard}/${members.get('json')}`);
  const label = cls ?? said.label;
  const draft: RowDraft = {
    path: `${shard}/${picture}`,
    objects: said.objects ?? said.boxes?.map(({ name }) => name) ?? [],
    captions: [text, said.caption, ...(said.captions ?? [])].filter((caption) => caption !== undefined),
  };
  if (said.boxes) draft.boxes = said.boxes;
  if (label === undefined || label === '') return draft;
  const name = nameOf(label);
  return { ...draft, label: name, objects: draft.objects.length > 0 ? draft.objects : [name] };
}

// Pascal VOC (Everingham et al. 2010): Annotations/*.xml, JPEGImages/ and, to choose from them, a list of ImageSets/Main.
// A picture's parts (heads, hands) are not read.

import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { FoveaError, quote, sha256Hex } from '@fovea/artifacts';
import { checkName, LeadsOut, PictureFiles } from './picture-files.ts';
import { type AnnotatedSet, lookedAt, type Omission, type RowDraft } from './rows.ts';
import { readTextFile } from './text-files.ts';
import { childOf, parseXml, type XmlElement } from './xml.ts';

export interface VocOptions {
  /** The folder with Annotations and JPEGImages. */
  root: string;
  /** Name of a list in ImageSets/Main, such as `val`; all annotations where it is left out. */
  list?: string;
  /** @default 50 million */
  maxPixels?: number;
}

const MOST_XML = 2 ** 20;
const MOST_LIST = 2 ** 26;

/**
 * Rows by name of their annotation, or in the list's order. Throws a {@link FoveaError} where the folder or list cannot be
 * read, a picture is annotated twice or a path climbs out; an annotation or picture that is damaged is omitted.
 */
export async function openVoc({ root, list, maxPixels }: VocOptions): Promise<AnnotatedSet> {
  const pictures = await PictureFiles.open(root, maxPixels);
  const stems = list === undefined ? await annotated(root) : await listed(root, list);
  const [drafts, omitted]: [RowDraft[], Omission[]] = [[], []];
  const digests: string[] = [];
  for (const stem of stems) {
    const what = `Annotations/${stem}.xml`;
    try {
      const { text, sha256 } = await readTextFile(path.join(root, what), MOST_XML);
      digests.push(sha256);
      drafts.push(draftOf(text, what));
    } catch (error) {
      if (!(error instanceof FoveaError) || error instanceof LeadsOut) throw error;
      omitted.push({ what, reason: error.message });
    }
  }
  const paths = drafts.map((draft) => draft.path);
  refuseTwice(paths, 'pictures');
  const rows = await lookedAt(drafts, pictures, omitted);
  const classes = [...new Set(drafts.flatMap(({ objects }) => objects))].sort();
  return { classes, rows, omitted, files: { Annotations: sha256Hex(digests.join('\n')) }, pictures };
}

async function annotated(root: string): Promise<string[]> {
  const names = await readdir(path.join(root, 'Annotations')).catch(() => {
    throw new FoveaError('The VOC folder has no folder Annotations; give the one that holds it and JPEGImages.');
  });
  return names
    .filter((name) => name.endsWith('.xml') && !name.startsWith('.'))
    .map((name) => name.slice(0, -'.xml'.length))
    .sort();
}

/** The first word of every line. */
async function listed(root: string, list: string): Promise<string[]> {
  checkName(list);
  const { text } = await readTextFile(path.join(root, 'ImageSets', 'Main', `${list}.txt`), MOST_LIST);
  const stems = text.split('\n').flatMap((line) => line.trim().split(/\s+/)[0] || []);
  stems.forEach(checkName);
  refuseTwice(stems, 'lines');
  return stems;
}

function refuseTwice(names: string[], what: string): void {
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) throw new FoveaError(`The VOC folder has two ${what} ${quote(name)}; remove one.`);
    seen.add(name);
  }
}

function draftOf(xml: string, where: string): RowDraft {
  const fail = (why: string): never => {
    throw new FoveaError(`The annotation ${quote(where)} cannot be used: ${why}; mend or remove it.`);
  };
  const root = parseXml(xml, fail);
  if (root.name !== 'annotation') fail(`it holds ${quote(root.name)}, not an annotation`);
  const name = textOf(root, 'filename', fail);
  checkName(name);
  const number = (element: XmlElement, field: string): number => {
    const value = Number(textOf(element, field, fail));
    return Number.isFinite(value) && Math.abs(value) < 1e6 ? value : fail(`its ${field} is no number`);
  };
  const sides = childOf(root, 'size');
  const size = sides && { width: number(sides, 'width'), height: number(sides, 'height') };
  const boxes = root.children
    .filter((child) => child.name === 'object')
    .map((object) => {
      const box = childOf(object, 'bndbox') ?? fail('it has an object without a box');
      // VOC counts pixels from 1, and the last one belongs to the box.
      const [x, y] = [number(box, 'xmin') - 1, number(box, 'ymin') - 1];
      return { name: textOf(object, 'name', fail), x, y, w: number(box, 'xmax') - x, h: number(box, 'ymax') - y };
    });
  const draft: RowDraft = { path: `JPEGImages/${name}`, objects: boxes.map((box) => box.name), boxes, captions: [] };
  return size && size.width > 0 && size.height > 0 ? { ...draft, size } : draft;
}

function textOf(element: XmlElement, name: string, fail: (why: string) => never): string {
  return childOf(element, name)?.text || fail(`${element.name} has no ${name}`);
}

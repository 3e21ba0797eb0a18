// What an annotated set says of its pictures, whatever form it came in: one row per picture that is there and whole.
// Readers (coco.ts, voc.ts, class-folder.ts, webdataset.ts) gather drafts of rows; here each picture is looked at once.

import { FoveaError } from '@fovea/artifacts';
import { LeadsOut, type Look, type PictureFiles } from './picture-files.ts';

export interface ObjectBox {
  name: string;
  /** Left and top edge, width and height, in pixels of the annotated picture. */
  x: number;
  y: number;
  w: number;
  h: number;
  /** The share of the picture that lies in the box, in [0, 1]. */
  areaFrac: number;
}

export interface AnnotatedRow {
  /** `path` is relative to the set's picture folder, with forward slashes. */
  image: Look & { path: string };
  /** What is in the picture: distinct names in the order of their first annotation. */
  objects: string[];
  /** Every annotated object that has a box, in annotation order. */
  boxes?: ObjectBox[];
  captions: string[];
  /** Of a set that gives every picture one class. */
  label?: string;
}

export interface Omission {
  what: string;
  reason: string;
}

export interface AnnotatedSet {
  /** Names of classes or categories, in the set's own order. */
  classes: string[];
  /** In the set's own order. */
  rows: AnnotatedRow[];
  /** Pictures that are missing or damaged, and annotations of none. */
  omitted: Omission[];
  /** SHA-256 of the annotation files that were read, by base name. */
  files: Record<string, string>;
  pictures: PictureFiles;
}

/** A row whose picture was not looked at yet. */
export interface RowDraft {
  path: string;
  /** Sides that its annotation gives, in pixels. */
  size?: { width: number; height: number };
  objects: string[];
  boxes?: Omit<ObjectBox, 'areaFrac'>[];
  captions: string[];
  label?: string;
}

/** Pictures decoded at once: a photograph takes a hundred times the memory of its file. */
const LANES = 4;

/** Rows for drafts in their order; a picture that is missing, damaged or of other sides is added to `omitted`. */
export async function lookedAt(
  drafts: readonly RowDraft[],
  pictures: PictureFiles,
  omitted: Omission[],
): Promise<AnnotatedRow[]> {
  const found: (AnnotatedRow | Omission)[] = new Array(drafts.length);
  const left = drafts.entries();
  const lane = async () => {
    for (const [i, draft] of left) found[i] = await lookAt(draft, pictures);
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  omitted.push(...found.filter((one) => 'reason' in one));
  return found.filter((one) => 'image' in one);
}

async function lookAt({ path, size, objects, boxes, captions, label }: RowDraft, pictures: PictureFiles) {
  try {
    const look = await pictures.look(path);
    const said = size ?? look;
    if (!sidesMatch(said, look)) {
      const sides = `${look.width} × ${look.height} pixels, its annotation says ${said.width} × ${said.height}`;
      return { what: path, reason: `it has ${sides}` };
    }
    const row: AnnotatedRow = { image: { path, ...look }, objects: [...new Set(objects)], captions };
    if (boxes) row.boxes = boxes.map((box) => ({ ...box, areaFrac: areaFrac(box, said) }));
    if (label !== undefined) row.label = label;
    return row;
  } catch (error) {
    if (!(error instanceof FoveaError) || error instanceof LeadsOut) throw error;
    return { what: path, reason: error.message };
  }
}

interface Sides {
  width: number;
  height: number;
}

/** Annotations may be of the picture before its EXIF orientation turns it. */
const sidesMatch = (a: Sides, b: Sides): boolean =>
  (a.width === b.width && a.height === b.height) || (a.width === b.height && a.height === b.width);

function areaFrac({ x, y, w, h }: Omit<ObjectBox, 'areaFrac'>, { width, height }: Sides): number {
  const along = (from: number, length: number, side: number) =>
    Math.max(0, Math.min(from + length, side) - Math.max(from, 0));
  return (along(x, w, width) * along(y, h, height)) / (width * height);
}

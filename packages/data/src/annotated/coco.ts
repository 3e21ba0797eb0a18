// COCO's annotations (Lin et al. 2014): instances_*.json and captions_*.json beside a folder of pictures. Polygons and masks
// are not read; a crowd counts as an object like any other.

import { FoveaError, quote } from '@fovea/artifacts';
import { z } from 'zod';
import { checkName, PictureFiles } from './picture-files.ts';
import { type AnnotatedSet, lookedAt, type Omission, type RowDraft } from './rows.ts';
import { readJson } from './text-files.ts';

const id = z.int();
const side = z.int().min(1).max(1_000_000);
const images = z.array(z.object({ id, file_name: z.string(), width: side, height: side }));
const instancesSchema = z.object({
  images,
  categories: z.array(z.object({ id, name: z.string().min(1).max(200) })),
  annotations: z.array(z.object({ id, image_id: id, category_id: id, bbox: z.array(z.number()).length(4).optional() })),
});
const captionsSchema = z.object({
  images,
  annotations: z.array(z.object({ id, image_id: id, caption: z.string().max(10_000) })),
});

export interface CocoOptions {
  /** The folder that file_name is relative to. */
  images: string;
  /** File of objects. */
  instances?: string;
  /** File of captions. */
  captions?: string;
  /** @default 50 million */
  maxPixels?: number;
}

/**
 * Reads one or both files; rows are in the order of the first one's `images`. Throws a {@link FoveaError} where a file
 * cannot be used, an id stands twice or a path climbs out; a picture that is missing or damaged is omitted.
 */
export async function openCoco(options: CocoOptions): Promise<AnnotatedSet> {
  if (options.instances === undefined && options.captions === undefined)
    throw new FoveaError('A COCO set needs a file of instances or of captions; give at least one.');
  const pictures = await PictureFiles.open(options.images, options.maxPixels);
  const set = new Gathered();
  const files: Record<string, string> = {};
  const read = async <T>(kind: 'instances' | 'captions', schema: z.ZodType<T>, add: (value: T) => void) => {
    const file = options[kind];
    if (file === undefined) return;
    const { value, sha256 } = await readJson(file, schema);
    files[kind] = sha256;
    set.where = kind;
    add(value);
  };
  await read('instances', instancesSchema, (file) => set.addInstances(file));
  await read('captions', captionsSchema, (file) => set.addCaptions(file));
  const omitted: Omission[] = set.strays;
  const rows = await lookedAt([...set.drafts.values()], pictures, omitted);
  return { classes: set.classes, rows, omitted, files, pictures };
}

class Gathered {
  readonly drafts = new Map<number, RowDraft>();
  readonly strays: Omission[] = [];
  classes: string[] = [];
  where = '';

  addInstances({ images, categories, annotations }: z.infer<typeof instancesSchema>): void {
    this.#addImages(images);
    const names = this.#byId(categories, 'category');
    this.classes = categories.map(({ name }) => name);
    const twice = this.classes.find((name, i) => this.classes.indexOf(name) !== i);
    if (twice !== undefined) this.#fail(`it has two categories ${quote(twice)}`);
    this.#each(annotations, (draft, { category_id, bbox }) => {
      const { name } =
        names.get(category_id) ?? this.#fail(`it has an annotation of the unknown category ${category_id}`);
      draft.objects.push(name);
      if (!bbox) return;
      const [x, y, w, h] = bbox;
      draft.boxes ??= [];
      draft.boxes.push({ name, x, y, w, h });
    });
  }

  addCaptions({ images, annotations }: z.infer<typeof captionsSchema>): void {
    this.#addImages(images);
    this.#each(annotations, (draft, { caption }) => void draft.captions.push(caption.trim()));
  }

  #addImages(list: z.infer<typeof images>): void {
    const paths = new Set<string>();
    for (const [key, { file_name, width, height }] of this.#byId(list, 'image')) {
      checkName(file_name);
      if (paths.has(file_name)) this.#fail(`it has two images ${quote(file_name)}`);
      paths.add(file_name);
      const known = this.drafts.get(key);
      if (known && known.path !== file_name) this.#fail(`its image ${key} is another file than in the first file`);
      if (!known) this.drafts.set(key, { path: file_name, size: { width, height }, objects: [], captions: [] });
    }
  }

  /** Annotations with the picture that they are of; those of none are counted. */
  #each<T extends { id: number; image_id: number }>(annotations: T[], add: (draft: RowDraft, one: T) => void): void {
    let strays = 0;
    for (const one of this.#byId(annotations, 'annotation').values()) {
      const draft = this.drafts.get(one.image_id);
      if (draft) add(draft, one);
      else strays++;
    }
    if (strays > 0) this.strays.push({ what: `${strays} ${this.where}`, reason: 'their image is not listed' });
  }

  #byId<T extends { id: number }>(list: T[], what: string): Map<number, T> {
    const found = new Map<number, T>();
    for (const one of list) {
      if (found.has(one.id)) this.#fail(`it has the ${what} id ${one.id} twice`);
      found.set(one.id, one);
    }
    return found;
  }

  #fail(why: string): never {
    throw new FoveaError(`The COCO file of ${this.where} cannot be used: ${why}; mend it or take another.`);
  }
}

// Opens a set of annotated pictures in any of the forms that Fovea reads.

import { z } from 'zod';
import { openClassFolder } from './class-folder.ts';
import { openCoco } from './coco.ts';
import type { AnnotatedSet } from './rows.ts';
import { openVoc } from './voc.ts';
import { openWebDataset } from './webdataset.ts';

export { openClassFolder } from './class-folder.ts';
export { openCoco } from './coco.ts';
export { checkName, LeadsOut, type Look, PictureFiles } from './picture-files.ts';
export type { AnnotatedRow, AnnotatedSet, ObjectBox, Omission } from './rows.ts';
export { openVoc } from './voc.ts';
export { openWebDataset } from './webdataset.ts';

const path = z.string().min(1);
const maxPixels = z.int().min(1).optional();

/** Where a set of annotated pictures lies, and in which form; see the opener of each for its fields. */
export const annotatedSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('coco'),
    images: path,
    instances: path.optional(),
    captions: path.optional(),
    maxPixels,
  }),
  z.strictObject({ kind: z.literal('voc'), root: path, list: path.optional(), maxPixels }),
  z.strictObject({ kind: z.literal('image-folder'), images: path, names: path.optional(), maxPixels }),
  z.strictObject({ kind: z.literal('webdataset'), images: path, names: path.optional(), maxPixels }),
]);
export type AnnotatedSource = z.infer<typeof annotatedSchema>;

/** Throws a FoveaError where the set cannot be used; pictures that are missing or damaged are in `omitted`. */
export function openAnnotated(source: AnnotatedSource): Promise<AnnotatedSet> {
  if (source.kind === 'coco') return openCoco(source);
  if (source.kind === 'voc') return openVoc(source);
  return source.kind === 'webdataset' ? openWebDataset(source) : openClassFolder(source);
}

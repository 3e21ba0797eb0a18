// Cue conflicts (Geirhos et al. 2019) from a folder laid out as theirs: a folder per shape, and files that name the shape
// and the texture with a number each, such as airplane/airplane1-bicycle2.png.

import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import { openClassFolder } from '@fovea/data';
import { z } from 'zod';
import type { Draft } from '../suite/draft.ts';
import { classifyPrompt } from './build-classify.ts';

export const cueConflictBuildSchema = z.strictObject({
  images: z.string().min(1),
  name: z.string().default('cue-conflict'),
  /** How a class's name is put to an encoder; `{}` is replaced. */
  template: z.string().default('a photo of a {}.'),
  maxPixels: z.int().min(1).optional(),
});
export type CueConflictBuild = z.input<typeof cueConflictBuildSchema>;

const NAME = /^(.+?)\d+-(.+?)\d+\.\w+$/;

/** Throws a FoveaError where no picture has a shape and another texture; pictures without a conflict are omitted. */
export async function buildCueConflict(options: CueConflictBuild): Promise<Draft> {
  const { images, name, template, maxPixels } = cueConflictBuildSchema.parse(options);
  const { rows, classes, omitted } = await openClassFolder({ images, maxPixels });
  const items: Draft['items'] = [];
  for (const { image, label } of rows) {
    const cues = cuesOf(image.path, label as string, classes);
    if ('reason' in cues) omitted.push({ what: image.path, reason: cues.reason });
    else
      items.push({
        id: `${name}/${image.path}`,
        split: 'all',
        cluster: image.path,
        pictures: [{ kind: 'file', ...image }],
        ask: { kind: 'classify', gold: cues.shape, other: cues.texture },
        meta: { shape: classes[cues.shape], texture: classes[cues.texture] },
      });
  }
  if (items.length === 0)
    throw new FoveaError(
      'The folder of cue conflicts has no picture such as airplane/airplane1-bicycle2.png, of a shape and another texture.',
    );
  return {
    name,
    kind: 'cue-conflict',
    title: `Shape against texture among ${classes.length} classes`,
    source: { builder: 'cue-conflict', version: 1, template },
    prompt: classifyPrompt(classes),
    textTemplate: template,
    classes,
    omitted,
    notes: [],
    items,
    probes: [],
  };
}

function cuesOf(
  file: string,
  label: string,
  classes: string[],
): { shape: number; texture: number } | { reason: string } {
  const words = (text: string) => text.replace(/[_-]+/g, ' ').trim();
  const [, first, second] = NAME.exec(path.posix.basename(file)) ?? [];
  if (first === undefined) return { reason: 'its name is not shape1-texture2' };
  const [shape, texture] = [words(first), words(second)];
  if (shape !== label) return { reason: `its name says the shape ${shape}, its folder ${label}` };
  if (shape === texture) return { reason: 'shape and texture do not conflict' };
  const at = classes.indexOf(texture);
  return at < 0 ? { reason: `its texture ${texture} has no folder` } : { shape: classes.indexOf(label), texture: at };
}

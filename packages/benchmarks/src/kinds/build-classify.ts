// Zero-shot classification from pictures of one class each: a folder of class folders, or WebDataset shards with .cls.
// The prompt template is part of what is measured, so its text and hash stand in the manifest.

import { FoveaError, sha256Hex } from '@fovea/artifacts';
import { annotatedSchema, openAnnotated } from '@fovea/data';
import { permutation } from '@fovea/tensor/random';
import { z } from 'zod';
import type { Draft } from '../suite/draft.ts';

export const classifyBuildSchema = z.strictObject({
  from: annotatedSchema,
  name: z.string().default('classify'),
  split: z.string().min(1).default('all'),
  /** How a class's name is put to an encoder; `{}` is replaced. */
  template: z
    .string()
    .refine((text) => text.split('{}').length === 2, 'write {} once, where the class name belongs')
    .default('a photo of a {}.'),
  /** Pictures of every class, drawn by the seed; all where it is left out. */
  perClass: z.int().min(1).optional(),
  seed: z.int().min(0).default(0),
});
export type ClassifyBuild = z.input<typeof classifyBuildSchema>;

/** What a language model is asked, when it may choose from names. */
export const classifyPrompt = (classes: readonly string[]): { id: string; template: string } => ({
  id: 'classify-names',
  template: `Which of these does the image show: ${classes.join(', ')}? Answer with its name alone.`,
});

/** Throws a FoveaError where the set cannot be used or gives fewer than two classes. */
export async function buildClassify(options: ClassifyBuild): Promise<Draft> {
  const { from, name, split, template, perClass, seed } = classifyBuildSchema.parse(options);
  const { rows, classes, omitted, files } = await openAnnotated(from);
  const byClass = classes.map((label) => rows.filter((row) => row.label === label));
  if (byClass.filter((own) => own.length > 0).length < 2)
    throw new FoveaError(
      `The ${from.kind} set has pictures of fewer than two classes; give one folder per class, or shards with .cls.`,
    );
  const chosen = byClass.flatMap((own, gold) =>
    drawn(own, perClass, seed, `classify/${classes[gold]}`).map((row) => ({ ...row, gold })),
  );
  return {
    name,
    kind: 'classify',
    title: `Zero-shot classification among ${classes.length} classes`,
    source: {
      builder: 'classify',
      version: 1,
      from: from.kind,
      files,
      split,
      perClass: perClass ?? null,
      seed,
      templateSha256: sha256Hex(template),
    },
    prompt: classifyPrompt(classes),
    textTemplate: template,
    classes,
    omitted,
    notes: [],
    items: chosen.map(({ image, gold }) => ({
      id: `${name}/${image.path}`,
      split,
      cluster: image.path,
      pictures: [{ kind: 'file', ...image }],
      ask: { kind: 'classify', gold },
      meta: { class: classes[gold] },
    })),
    probes: [],
  };
}

/** `count` of a list by the seed, in the list's order. */
export function drawn<T>(list: readonly T[], count: number | undefined, seed: number, stream: string): T[] {
  if (count === undefined || count >= list.length) return [...list];
  const kept = permutation(list.length, seed, stream).slice(0, count).sort();
  return Array.from(kept, (at) => list[at]);
}

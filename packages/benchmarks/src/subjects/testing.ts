// Tiny language models with what transformers answers by them (test/parity/models/language-model.py), and questions about
// their pictures, for the tests of subjects. Nothing of it is exported from the package.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { decodeSafetensors } from '@fovea/artifacts';
import type { Rgb8 } from '@fovea/data';
import { type Ask, itemSchema } from '../suite/item.ts';
import { manifestSchema } from '../suite/manifest.ts';
import type { Suite } from '../suite/suite.ts';
import type { Request } from './subject.ts';

export const FIXTURES = fileURLToPath(new URL('../../../../test/parity/fixtures/models/', import.meta.url));
export const folderOf = (name: string) => path.join(FIXTURES, 'language-models', name);
export const fixture = decodeSafetensors(
  readFileSync(path.join(FIXTURES, 'language-models.safetensors')),
  'language-models',
);
export const about: Record<string, { question: string; picture: number | null; text: string }[]> = JSON.parse(
  fixture.metadata.about,
);

export const pictureOf = (index: number): Rgb8 => {
  const { shape, data } = fixture.tensors.get(`picture/${index}`)!;
  return { height: shape[0], width: shape[1], data: Uint8Array.from(data as Int32Array) };
};

export const requestOf = (id: string, ask: Ask, picture: number): Request => ({
  item: itemSchema.parse({ id, split: 'all', cluster: id, pictures: [{ kind: 'scene', scene: picture }], ask }),
  pictures: [{ key: `picture ${picture}`, pixels: pictureOf(picture) }],
});

export const suiteOf = (requests: readonly Request[], template = '{question}'): Suite => ({
  manifest: manifestSchema.parse({
    ...{ version: 1, name: 'small', kind: 'pope', title: 'Small', source: {}, prompt: { id: 'bare', template } },
    ...{ splits: {}, items: { count: requests.length, sha256: '0'.repeat(64) } },
  }),
  items: requests.map(({ item }) => item),
  probes: [],
  read: async (picture) => pictureOf(picture.kind === 'scene' ? (picture.scene as number) : 0),
});

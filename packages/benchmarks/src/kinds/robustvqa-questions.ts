// RobustVQA's questions in words: what is asked of one picture, given its right and its wrong names. Which names these are,
// and of which pictures, is decided elsewhere (build-robustvqa.ts, read-robustvqa.ts).

import { permutation } from '@fovea/tensor/random';
import type { Draft } from '../suite/draft.ts';
import type { PictureFacts } from './user-files.ts';

type Items = Draft['items'];

/** How a name is put to an encoder. */
export const ROBUSTVQA_TEXT_TEMPLATE = 'a photo of a {}';

/** A class name as it is asked about: underscores are spaces. */
export const cleanName = (name: string): string => name.replace(/[_\s]+/g, ' ').trim();

/** One picture in one split, its right name, and as many wrong ones as its form takes. */
export interface NamedPicture {
  picture: PictureFacts;
  split: string;
  right: string;
  wrong: readonly string[];
}

/** The question that is answered by yes and the one that is answered by no, which are a pair. */
export function yesNoItems({ picture, split, right, wrong: [wrong] }: NamedPicture): Items {
  const id = `${split}/${picture.path}`;
  const item = (gold: 'yes' | 'no', asked: string, other: string): Items[number] => ({
    ...shown(split, picture),
    id: `${id}#${gold}`,
    pair: id,
    ask: { kind: 'yesno', question: `Is ${asked} the main object in this image?`, gold, texts: [asked, other] },
    meta: { label: right, distractor: wrong },
  });
  return [item('yes', right, wrong), item('no', wrong, right)];
}

/**
 * Which of four it is, the options in an order that belongs to (seed, split, picture). With `rotations` four items, the
 * options turned by one each time, so that every option stands once in every place; they are a pair.
 */
export function fourWayItems(
  { picture, split, right, wrong }: NamedPicture,
  { seed, rotations }: { seed: number; rotations: boolean },
): Items {
  const id = `${split}/${picture.path}`;
  const names = [right, ...wrong];
  const order = permutation(4, seed, `options/${id}`);
  return Array.from({ length: rotations ? 4 : 1 }, (_, turn): Items[number] => {
    const options = Array.from({ length: 4 }, (_, at) => names[order[(at + turn) % 4]]);
    const question = 'What is the main object in this image?';
    return {
      ...shown(split, picture),
      id: rotations ? `${id}#${turn}` : id,
      ...(rotations && { pair: id }),
      ask: { kind: 'choice', question, options, gold: options.indexOf(right), texts: options },
      meta: { label: right, distractor: wrong.join('; ') },
    };
  });
}

function shown(split: string, { path, sha256, width, height }: PictureFacts) {
  return { split, cluster: path, pictures: [{ kind: 'file' as const, path, sha256, width, height }] };
}

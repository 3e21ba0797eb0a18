// Which wrong names a picture is asked with: by what an independent model takes it for, by its class's relatives, or by the
// seed. Classes are numbers here; what is done with them is build-robustvqa.ts.

import { FoveaError } from '@fovea/artifacts';
import type { Rng } from '@fovea/tensor/random';
import { namesOf, similarities } from '../scoring.ts';
import type { LabelledPicture, RobustVqaSource } from './build-robustvqa.ts';
import { eachFeature, type RunOptions } from './picture-features.ts';

/** What the filter model thinks of one picture. */
export interface Verdict {
  /** Wrong classes, best first, as many as a question may need. */
  wrong: number[];
  /** The right class beats every other; a tie is no win. */
  isRight: boolean;
}

/** Verdicts on pictures in their order; names outside the mask do not compete. */
export async function judgePictures(
  { judged, read }: NonNullable<RobustVqaSource['filter']>,
  names: readonly string[],
  pictures: readonly LabelledPicture[],
  wrongNames: WrongNames,
  run: RunOptions,
): Promise<Verdict[]> {
  const { dim } = judged.encoder;
  const { mask } = wrongNames;
  const texts = await namesOf(
    judged.encoder,
    mask.map((label) => names[label]),
  );
  const scores = new Float64Array(mask.length);
  const verdicts: Verdict[] = [];
  await eachFeature(judged, pictures, read, { ...run, text: 'choosing wrong names' }, (feature, i) => {
    similarities(feature, 0, texts, dim, mask.length, scores);
    if (scores.some(Number.isNaN))
      throw new FoveaError(`The filter model's features of "${pictures[i].path}" are not finite; choose another one.`);
    verdicts.push(wrongNames.judge(pictures[i].label, scores));
  });
  return verdicts;
}

/** Wrong answers of a question: three of four at most. */
const MOST = 3;

/**
 * Chooses wrong classes for a right one. Two classes of one name (ImageNet has two cranes) are one class here: they neither
 * compete nor stand side by side. At least one more name than is asked for must be in the mask.
 */
export class WrongNames {
  /** Classes that compete. */
  readonly mask: readonly number[];
  readonly #names: readonly string[];
  readonly #groups: readonly string[] | undefined;

  constructor(names: readonly string[], mask: readonly number[], groups: readonly string[] | undefined) {
    this.#names = names.map((name) => name.toLowerCase());
    this.mask = mask;
    this.#groups = groups;
  }

  /** `scores` are those of the mask's classes; among equals the first class is the better one. */
  judge(label: number, scores: Float64Array): Verdict {
    const order = [...this.mask.keys()].sort((a, b) => scores[b] - scores[a] || a - b);
    const ranking = order.map((at) => this.mask[at]);
    const wrong = this.#add([], label, ranking, MOST);
    const scoreOf = (other: number) => scores[this.mask.indexOf(other)];
    return { wrong, isRight: scoreOf(label) > scoreOf(wrong[0]) };
  }

  /** Uniform over the mask. */
  random(label: number, count: number, rng: Rng): number[] {
    return this.#fill([], label, count, rng);
  }

  /** Uniform over the right class's group; `filled` are those that it was too small for, from elsewhere. */
  siblings(label: number, count: number, rng: Rng): { wrong: number[]; filled: number } {
    const groups = this.#groups as readonly string[];
    const order = shuffled(
      this.mask.filter((other) => groups[other] === groups[label]),
      rng,
    );
    const own = this.#add([], label, order, count);
    const filled = count - own.length;
    return { wrong: this.#fill(own, label, count, rng), filled };
  }

  #fill(wrong: number[], label: number, count: number, rng: Rng): number[] {
    while (wrong.length < count) this.#add(wrong, label, [this.mask[rng.int(this.mask.length)]], count);
    return wrong;
  }

  /** Adds classes in their order until there are `count` of different names. */
  #add(wrong: number[], label: number, order: readonly number[], count: number): number[] {
    const taken = new Set([label, ...wrong].map((other) => this.#names[other]));
    for (const other of order) {
      if (wrong.length === count) break;
      if (taken.has(this.#names[other])) continue;
      taken.add(this.#names[other]);
      wrong.push(other);
    }
    return wrong;
  }
}

function shuffled(values: readonly number[], rng: Rng): number[] {
  const order = [...values];
  for (let i = order.length - 1; i > 0; i--) {
    const j = rng.int(i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

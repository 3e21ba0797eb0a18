// Which wrong names a picture is asked with: by what an independent model takes it for, by its class's relatives, or by the
// seed. Classes are numbers here; what is done with them is build-robustvqa.ts.

import { FoveaError } from '@fovea/artifacts';
import type { Rng } from '@fovea/tensor/random';
import { namesOf, similarities } from '../scoring.ts';
import type { FilterModel, LabelledPicture } from './build-robustvqa.ts';

/** Best wrong classes that are looked through for three of different names. */
const DEPTH = 12;

/** What the filter model thinks of one picture. */
export interface Verdict {
  /** Wrong classes, best first. */
  wrong: number[];
  isRight: boolean;
}

/** Verdicts of the filter model, in the order of the pictures; names outside the mask do not compete. */
export async function judge(
  { encoder, pixels }: FilterModel,
  names: string[],
  pictures: readonly LabelledPicture[],
  mask: number[],
  batch = 64,
): Promise<Verdict[]> {
  const texts = await namesOf(
    encoder,
    mask.map((label) => names[label]),
  );
  const verdicts: Verdict[] = [];
  const scores = new Float64Array(mask.length);
  for (let first = 0; first < pictures.length; first += batch) {
    const chunk = pictures.slice(first, first + batch);
    const features = await encoder.imageFeatures(await pixels(chunk), chunk.length);
    chunk.forEach(({ label, path }, i) => {
      similarities(features, i * encoder.dim, texts, encoder.dim, mask.length, scores);
      if (scores.some(Number.isNaN)) {
        throw new FoveaError(`The filter model's features of "${path}" are not finite; choose another one.`);
      }
      verdicts.push(verdictOf(scores, mask, label));
    });
  }
  return verdicts;
}

/** A tie with a wrong class is no right answer; among equals the first class comes first. */
function verdictOf(scores: Float64Array, mask: number[], label: number): Verdict {
  const right = mask.indexOf(label);
  const order = [...mask.keys()].filter((at) => at !== right).sort((a, b) => scores[b] - scores[a] || a - b);
  return { wrong: order.slice(0, DEPTH).map((at) => mask[at]), isRight: scores[right] > scores[order[0]] };
}

/** Chooses wrong classes for a right one; two classes of one name (ImageNet has two cranes) are never put side by side. */
export class WrongNames {
  readonly #names: string[];
  readonly #mask: number[];
  readonly #groups: readonly string[] | undefined;

  constructor(names: string[], mask: number[], groups: readonly string[] | undefined) {
    this.#names = names.map((name) => name.toLowerCase());
    this.#mask = mask;
    this.#groups = groups;
  }

  /**
   * `count` wrong classes: the best of `ranking`, of the right one's group, or uniform. `filled` are those that a group could
   * not give. Null where the single best of the ranking bears the right name, or too few of it differ.
   */
  choose(
    by: 'clip-top' | 'random' | 'sibling',
    label: number,
    count: number,
    ranking: readonly number[],
    rng: Rng,
  ): { wrong: number[]; filled: number } | null {
    if (by === 'random') return { wrong: this.random(label, count, rng), filled: 0 };
    if (by === 'sibling') return this.#siblings(label, count, rng);
    const wrong = this.#take(label, count === 1 ? ranking.slice(0, 1) : ranking, count);
    return wrong.length === count ? { wrong, filled: 0 } : null;
  }

  random(label: number, count: number, rng: Rng): number[] {
    return this.#take(label, shuffled(this.#mask, rng), count);
  }

  #siblings(label: number, count: number, rng: Rng): { wrong: number[]; filled: number } {
    const groups = this.#groups as readonly string[];
    const order = shuffled(this.#mask, rng);
    const isSibling = (other: number) => groups[other] === groups[label];
    const ranked = [...order.filter(isSibling), ...order.filter((other) => !isSibling(other))];
    const wrong = this.#take(label, ranked, count);
    return { wrong, filled: wrong.filter((other) => !isSibling(other)).length };
  }

  #take(label: number, order: readonly number[], count: number): number[] {
    const taken = new Set([this.#names[label]]);
    const wrong: number[] = [];
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

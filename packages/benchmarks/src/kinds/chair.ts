// CHAIR (Rohrbach et al. 2018): objects that a caption names and the picture does not hold. What a picture holds are its
// annotations and what people's captions name. Says nothing of attributes or relations, and a silent subject is perfect by
// it, so recall, length and empty captions stand beside.

import { FoveaError } from '@fovea/artifacts';
import type { Judged, MeasureOptions, Scorer, SuiteKind } from '../judging/kind.ts';
import type { Result } from '../judging/result.ts';
import type { Item } from '../suite/item.ts';
import type { Suite } from '../suite/suite.ts';
import { bySplit, Estimates } from './estimates.ts';
import { type Mention, ObjectMentions, wordsOf } from './object-mentions.ts';

/** Captions cut to as many words compare between subjects that talk more and less. */
const LENGTHS = [32, 64];

const readers = new WeakMap<Suite, ObjectMentions>();

function mentionsOf(suite: Suite): ObjectMentions {
  const { lexicon, name } = suite.manifest;
  if (!lexicon)
    throw new FoveaError(`The suite "${name}" has no lexicon to find objects in captions by; build it anew.`);
  const known = readers.get(suite) ?? new ObjectMentions(lexicon);
  readers.set(suite, known);
  return known;
}

/** What the picture holds: annotated objects and those that its references name. */
function truthOf({ ask }: Item, mentions: ObjectMentions): Set<string> {
  if (ask.kind !== 'caption') return new Set();
  return new Set([...ask.gold, ...ask.references].flatMap((text) => mentions.objects(text)));
}

const lexiconScorer: Scorer = {
  id: 'lexicon',
  version: 1,
  source: 'Rohrbach et al. 2018, arXiv 1809.02156, with a lexicon of the suite and no tagger',
  score(item, answer, suite) {
    const mentions = mentionsOf(suite);
    const scored = { itemId: item.id, margin: null, confidence: null };
    if (answer.kind !== 'text') return { ...scored, label: 'unknown', rule: 'no-caption', correct: 0 };
    const truth = truthOf(item, mentions);
    const found = mentions.mentions(answer.text);
    const words = wordsOf(answer.text).length;
    const isFaithful = found.every(({ node }) => truth.has(node));
    const label = words === 0 ? 'empty' : found.length === 0 ? 'no-object' : isFaithful ? 'faithful' : 'hallucinated';
    const detail = { words, mentions: found.map(({ node, at }): [string, number] => [node, at]) };
    return { ...scored, label, rule: 'lexicon', correct: label === 'faithful' ? 1 : 0, detail };
  },
};

/** One caption, possibly cut, against its picture. */
interface Read {
  words: number;
  mentions: Mention[];
  truth: Set<string>;
  /** There was no caption; it counts as one with a hallucination that names nothing right. */
  isError: boolean;
}

function readOf({ item, scored }: Judged, mentions: ObjectMentions, most: number): Read {
  const { words = 0, mentions: found = [] } = (scored.detail ?? {}) as {
    words?: number;
    mentions?: [string, number][];
  };
  const kept = found.map(([node, at]) => ({ node, at })).filter(({ at }) => at < most);
  const isError = scored.label === 'error' || scored.label === 'unknown';
  return { words: Math.min(words, most), mentions: kept, truth: truthOf(item, mentions), isError };
}

function measureSplit(split: string, suite: Suite, judged: readonly Judged[], options: MeasureOptions, most: number) {
  const estimates = new Estimates(suite, judged, options);
  const mentions = mentionsOf(suite);
  const reads = judged.map((one) => readOf(one, mentions, most));
  const ratio = (
    metric: string,
    part: (read: Read) => [top: number, bottom: number],
    bound: number | null = 1,
  ): Result =>
    estimates.ratio(
      (_, i) => {
        const [top, bottom] = part(reads[i]);
        return { top, bottom };
      },
      { split, metric, most: bound },
    );
  const wrong = ({ mentions: found, truth }: Read) => found.filter(({ node }) => !truth.has(node));
  const distinct = (found: Mention[]) => new Set(found.map(({ node }) => node)).size;
  const isWrong = (read: Read) => Number(read.isError || wrong(read).length > 0);
  return [
    ratio('chair-i', (read) => [wrong(read).length, read.mentions.length]),
    ratio('chair-s', (read) => [isWrong(read), 1]),
    ratio('chair-s-nonempty', (read) => (read.mentions.length === 0 ? [0, 0] : [isWrong(read), 1])),
    ratio('chair-i-unique', (read) => [distinct(wrong(read)), distinct(read.mentions)]),
    ratio('recall', (read) => [distinct(read.mentions) - distinct(wrong(read)), read.truth.size]),
    ratio('mean-length', (read) => (read.isError ? [0, 0] : [read.words, 1]), null),
    ratio('empty-rate', (read) => (read.isError ? [0, 0] : [Number(read.words === 0), 1])),
  ];
}

/**
 * chair-i: wrong mentions ⁄ mentions; chair-i-unique the same with every object once a caption; chair-s: captions with a
 * wrong object ⁄ captions, -nonempty only of those that name any; recall: objects named ⁄ objects there, over all pictures;
 * mean-length in words. Splits `…/first-32` and `…/first-64` are of captions cut to so many words.
 */
export const chair: SuiteKind = {
  kind: 'chair',
  scorers: [lexiconScorer],
  measure: (suite, judged, options) =>
    bySplit(judged).flatMap(([split, own]) => [
      ...measureSplit(split, suite, own, options, Number.POSITIVE_INFINITY),
      ...LENGTHS.flatMap((most) => measureSplit(`${split}/first-${most}`, suite, own, options, most)),
    ]),
};

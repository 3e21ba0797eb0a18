// MMVP and MMVP-VLM: pairs of pictures that differ in one visual pattern, asked as a choice of two answers about each
// picture, or as two statements of which each fits one picture.

import type { EmojiWorld } from '@fovea/data';
import type { Draft } from '../suite/draft.ts';
import { NEUTRAL, PATTERNS, type Pattern, type PatternPair } from './patterns.ts';
import { paintScene, sceneRef } from './scene.ts';
import { BARE, count, lots, needsClasses, sourceOf, type TwinItem, type TwinOptions, type TwinRow } from './twin.ts';

const PAIRS = 30;
/** Per pattern. */
const ROWS = 160;
/** Two pictures of a pair differ by at least this, the mean over all channels in 0..255, or other lots are drawn. */
const LEAST_DIFFERENCE = 1;

/** `Is the whale mirrored?` with its two options, about each picture of a pair. */
export async function emojiMmvp(world: EmojiWorld, options: TwinOptions = {}): Promise<Draft> {
  const items = eachPair(world, options, 'mmvp', (pattern, pair, id, i): TwinItem[] =>
    pair.sides.map(({ scene }, at) => {
      // Which answer is (a) is drawn, so that neither letter is the better guess.
      const order = lots(options, 'mmvp-order', 'item', i).int(2) === 0 ? [0, 1] : [1, 0];
      return {
        id: `${id}/${at + 1}`,
        split: 'all',
        cluster: id,
        pair: id,
        pictures: [sceneRef(scene)],
        ask: {
          kind: 'choice',
          question: pair.question,
          options: order.map((o) => pair.sides[o].answer),
          gold: order.indexOf(at),
          texts: order.map((o) => pair.sides[o].statement),
          claims: order.map((o) => pair.sides[o].claim),
        },
        meta: { pattern: pattern.name, concept: pair.concept },
      };
    }),
  );
  const prompt = { id: 'mmvp', template: '{question}' };
  return {
    ...base(world, options, 'mmvp', 'Pairs that differ in one visual pattern, as questions'),
    kind: 'mmvp',
    prompt,
    items,
  };
}

/** Two statements per pair, each to be matched with its picture. */
export async function emojiMmvpVlm(world: EmojiWorld, options: TwinOptions = {}): Promise<Draft> {
  const items = eachPair(world, options, 'mmvp-vlm', (pattern, pair, id): TwinItem[] =>
    pair.sides.map(({ statement, claim }, at) => ({
      id: `${id}/${at + 1}`,
      split: 'all',
      cluster: id,
      pair: id,
      pictures: pair.sides.map(({ scene }) => sceneRef(scene)),
      ask: { kind: 'pick', text: statement, gold: at, claim },
      meta: { pattern: pattern.name, concept: pair.concept },
    })),
  );
  const draft = base(world, options, 'mmvp-vlm', 'Pairs that differ in one visual pattern, as statements');
  return { ...draft, kind: 'mmvp-vlm', textTemplate: 'a photo of {}', items };
}

function eachPair(
  world: EmojiWorld,
  options: TwinOptions,
  suite: string,
  itemsOf: (pattern: Pattern, pair: PatternPair, id: string, i: number) => TwinItem[],
): TwinItem[] {
  needsClasses(world, 2, 'MMVP');
  const pairs = count(PAIRS, options);
  return PATTERNS.flatMap((pattern) =>
    Array.from({ length: pairs }, (_, i) =>
      itemsOf(pattern, visiblePair(world, options, suite, 'item', pattern, i), `${pattern.name}/${i}`, i),
    ).flat(),
  );
}

/** A pair whose pictures can be told apart: some icons are their own mirror image, or grey. */
function visiblePair(
  world: EmojiWorld,
  options: TwinOptions,
  suite: string,
  part: 'item' | 'probe',
  { name, draw, mayVanish = false }: Pattern,
  i: number,
): PatternPair {
  for (let tries = 0; ; tries++) {
    const pair = draw(world, lots(options, `${suite}-${name}-${tries}`, part, i));
    if (!mayVanish || tries === 50) return pair;
    const [a, b] = pair.sides.map(({ scene }) => paintScene(world, scene).data);
    let difference = 0;
    for (let k = 0; k < a.length; k++) difference += Math.abs(a[k] - b[k]) / a.length;
    if (difference >= LEAST_DIFFERENCE) return pair;
  }
}

function base(world: EmojiWorld, options: TwinOptions, name: string, title: string) {
  return {
    name: `emoji-${name}`,
    title,
    source: sourceOf(world, name, options),
    prompt: BARE,
    omitted: [],
    notes: [
      ...PATTERNS.map(({ name: pattern, note }) => `${pattern}: ${note}.`),
      'Probe rows hold 1 or −1 where a picture’s pattern asks for a target and 0 where it does not (count: 2), so that no side is the likelier.',
    ],
    probes: rows(world, options),
  };
}

/** As many pictures of every pattern, half of either side; shared by both suites. */
function rows(world: EmojiWorld, options: TwinOptions): TwinRow[] {
  return PATTERNS.flatMap((pattern) =>
    Array.from({ length: ROWS }, (_, i): TwinRow => {
      const { sides, concept } = visiblePair(world, options, 'patterns', 'probe', pattern, i >> 1);
      const { scene, targets } = sides[i % 2];
      const values = Object.entries({ ...NEUTRAL, ...targets }).map(([name, value]) => [name, [value]]);
      return {
        id: `${pattern.name}/p${i}`,
        cluster: concept,
        picture: sceneRef(scene),
        targets: Object.fromEntries(values),
      };
    }),
  );
}

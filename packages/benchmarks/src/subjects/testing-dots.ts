// A small suite that asks in every way about pictures made of numbers, for the tests of subjects: which of six things are
// there, and one measure. Nothing of it is exported from the package.

import type { Rgb8 } from '@fovea/data';
import { philox } from '@fovea/tensor/random';
import type { ImageTextEncoder } from '../image-text-encoder.ts';
import type { Draft } from '../suite/draft.ts';
import type { PictureRef } from '../suite/item.ts';
import type { Suite } from '../suite/suite.ts';
import { suiteOf } from '../suite/suite-of.ts';
import { pixelKey } from './features.ts';
import type { Request } from './subject.ts';

export const THINGS = ['ant', 'bell', 'cow', 'door', 'egg', 'fan'];
export const SIDE = 8;

interface Facts {
  there: number[];
  level: number;
  noise: number;
}

const factsOf = (part: string, i: number): Facts => {
  const rng = philox(5, `testing/${part}`, 0, i);
  const there = THINGS.map(() => rng.int(2));
  // Always one that is there and one that is not.
  const [one, other] = [rng.int(6), rng.int(5)];
  there[one] = 1;
  there[other < one ? other : other + 1] = 0;
  return { there, level: rng.uniform(), noise: i };
};

const refOf = (facts: Facts): PictureRef => ({ kind: 'scene', scene: { ...facts } });

/** The things as bright or dark dots, the measure as a grey one, noise elsewhere. */
export async function readDots(picture: PictureRef): Promise<Rgb8> {
  const { there, level, noise } = (picture as unknown as { scene: Facts }).scene;
  const rng = philox(6, 'testing/noise', 0, noise);
  const data = Uint8Array.from({ length: 3 * SIDE ** 2 }, () => rng.int(256));
  for (const [i, value] of [...there, level].entries()) data.fill(Math.round(255 * value), 3 * i, 3 * i + 3);
  return { width: SIDE, height: SIDE, data };
}

const claim = (thing: number, value = 1) => ({ target: `has/${THINGS[thing]}`, value });

/** Seven questions about each of `n` pictures; 200 probe rows. */
export function dotsSuite(n: number, read: Suite['read'] = readDots): Suite {
  const items = Array.from({ length: n }, (_, i) => i).flatMap((i): Draft['items'] => {
    const facts = factsOf('item', i);
    const [yes, no] = [facts.there.indexOf(1), facts.there.indexOf(0)];
    const right = i % 2;
    const single = { ...facts, there: THINGS.map((_thing, t) => Number(t === i % 6)) };
    const without = { ...facts, there: facts.there.map((v, t) => (t === yes ? 0 : v)) };
    const asked = (kind: string, pictures: PictureRef[], ask: Draft['items'][number]['ask']) => ({
      id: `${kind}/${i}`,
      split: kind,
      cluster: `${i}`,
      pictures,
      ask,
    });
    const isYes = right === 0;
    const thing = isYes ? yes : no;
    const pair = isYes ? [yes, no] : [no, yes];
    return [
      asked('yesno', [refOf(facts)], {
        kind: 'yesno',
        question: `Is there a ${THINGS[thing]}?`,
        gold: isYes ? 'yes' : 'no',
        texts: [THINGS[pair[0]], THINGS[pair[1]]],
        claims: [claim(thing), claim(thing, 0)],
      }),
      asked('choice', [refOf(facts)], {
        kind: 'choice',
        question: 'Which is there?',
        options: pair.map((t) => THINGS[t]),
        gold: right,
        texts: pair.map((t) => THINGS[t]),
        claims: pair.map((t) => claim(t)),
      }),
      asked('pick', (isYes ? [facts, without] : [without, facts]).map(refOf), {
        kind: 'pick',
        text: THINGS[yes],
        gold: right,
        claim: claim(yes),
      }),
      asked('classify', [refOf(single)], { kind: 'classify', gold: i % 6 }),
      asked('retrieve', [refOf(single)], { kind: 'retrieve', captions: [`picture with ${THINGS[i % 6]}`] }),
      asked('caption', [refOf(facts)], { kind: 'caption', gold: THINGS.filter((_thing, t) => facts.there[t] === 1) }),
      asked('estimate', [refOf(facts)], { kind: 'estimate', target: 'level', gold: [facts.level] }),
    ];
  });
  const probes = Array.from({ length: 200 }, (_, i) => {
    const facts = factsOf('probe', i);
    const presence = THINGS.map((name, t) => [`has/${name}`, [facts.there[t]]]);
    return {
      id: `p${i}`,
      cluster: `${i}`,
      picture: refOf({ ...facts, noise: 10_000 + i }),
      targets: { ...Object.fromEntries(presence), level: [facts.level] },
    };
  });
  const draft: Draft = {
    name: 'dots',
    kind: 'probes',
    title: 'Dots',
    source: {},
    prompt: { id: 'bare', template: '{question}' },
    classes: THINGS,
    omitted: [],
    notes: [],
    items,
    probes,
  };
  return suiteOf(draft, read);
}

/** The items of one kind only. */
export const only = (suite: Suite, ...kinds: string[]): Suite => ({
  ...suite,
  items: suite.items.filter(({ ask }) => kinds.includes(ask.kind)),
});

export const requestsOf = (suite: Suite): Promise<Request[]> =>
  Promise.all(
    suite.items.map(async (item) => ({
      item,
      pictures: await Promise.all(
        item.pictures.map(async (picture) => {
          const pixels = await suite.read(picture);
          return { key: pixelKey(pixels), pixels };
        }),
      ),
    })),
  );

/** Sees the dots and nothing else. */
export class PlantedEncoder implements ImageTextEncoder {
  readonly dim: number = THINGS.length + 1;
  readonly batch: number = 16;
  readonly calls: number[] = [];

  async imageFeatures(pixels: Float32Array, n: number): Promise<Float32Array> {
    this.calls.push(n);
    const size = pixels.length / n;
    return Float32Array.from(
      { length: n * this.dim },
      (_, i) => pixels[Math.floor(i / this.dim) * size + (i % this.dim)],
    );
  }

  async textFeatures(names: string[]): Promise<Float32Array> {
    return Float32Array.from(names.flatMap((name) => [...THINGS.map((thing) => Number(name.includes(thing))), 0]));
  }

  unreadable(texts: readonly string[]): string[] {
    return texts.filter((text) => !THINGS.some((thing) => text.includes(thing)));
  }
}

/** Features that have nothing to do with the picture but are its own. */
export class RandomEncoder extends PlantedEncoder {
  override readonly dim: number = 24;

  override async imageFeatures(pixels: Float32Array, n: number): Promise<Float32Array> {
    const size = pixels.length / n;
    const out = new Float32Array(n * this.dim);
    for (let i = 0; i < n; i++) {
      const bytes = new Uint8Array(pixels.slice(i * size, (i + 1) * size).buffer);
      const seed = bytes.reduce((hash, byte) => (Math.imul(hash, 31) + byte) >>> 0, 7);
      const rng = philox(seed, 'random-features');
      for (let k = 0; k < this.dim; k++) out[i * this.dim + k] = rng.normal();
    }
    return out;
  }

  override async textFeatures(names: string[]): Promise<Float32Array> {
    return Float32Array.from({ length: names.length * this.dim }, (_, i) =>
      philox(9, names[Math.floor(i / this.dim)], 0, i % this.dim).normal(),
    );
  }
}

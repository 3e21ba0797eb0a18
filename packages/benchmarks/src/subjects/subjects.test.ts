// Encoders and probes as subjects: what was planted is found, what is random is chance, and no answer depends on what is
// asked beside it, to the last bit.

import { EncoderSubject, readWeightFile } from '@fovea/alignment';
import { loadRecipe } from '@fovea/recipe';
import { philox } from '@fovea/tensor/random';
import { afterAll, describe, expect, it } from 'vitest';
import type { Answer } from '../judging/answer.ts';
import { wilson } from '../statistics.ts';
import type { Item } from '../suite/item.ts';
import type { Suite } from '../suite/suite.ts';
import { encoderSubject } from './encoder.ts';
import { type JudgedEncoder, pixelKey } from './features.ts';
import { captionText, probeSubject } from './probe.ts';
import type { Request, Subject } from './subject.ts';
import { dotsSuite, only, PlantedEncoder, RandomEncoder, readDots, requestsOf, SIDE, THINGS } from './testing-dots.ts';

const judged = (encoder: JudgedEncoder['encoder'], imageSize = SIDE): JudgedEncoder => ({
  encoder,
  identity: { weights: 'w' },
  imageSize,
  logitScale: 10,
});

function isRight({ ask }: Item, answer: Answer): boolean {
  if (answer.kind === 'scores') {
    const gold = ask.kind === 'yesno' ? Number(ask.gold === 'no') : (ask as { gold: number }).gold;
    return answer.scores.every((score, i) => i === gold || score < answer.scores[gold]);
  }
  if (answer.kind === 'classes') return answer.rank === 0;
  if (answer.kind === 'text')
    return answer.text === captionText((ask as { gold: string[] }).gold) && ask.kind === 'caption';
  if (answer.kind === 'values') return Math.abs(answer.values[0] - (ask as { gold: number[] }).gold[0]) < 0.01;
  throw new Error(`unexpected ${JSON.stringify(answer)}`);
}

async function ask(subject: Subject, suite: Suite): Promise<Answer[]> {
  await subject.prepare(suite, {});
  return subject.answer(await requestsOf(suite), {});
}

/** Right answers by kind of question. */
async function shares(subject: Subject, suite: Suite): Promise<Record<string, [right: number, n: number]>> {
  const answers = await ask(subject, suite);
  const found: Record<string, [number, number]> = {};
  suite.items.forEach((item, i) => {
    const tally = (found[item.ask.kind] ??= [0, 0]);
    tally[0] += Number(isRight(item, answers[i]));
    tally[1]++;
  });
  return found;
}

describe('a probe', () => {
  const asked = ['yesno', 'choice', 'pick', 'classify', 'estimate'];

  it('reads planted features without a mistake', async () => {
    const suite = only(dotsSuite(60), ...asked);
    const found = await shares(probeSubject(judged(new PlantedEncoder())), suite);
    expect(found).toEqual(Object.fromEntries(asked.map((kind) => [kind, [60, 60]])));
  });

  it('names in captions what is there, the likeliest first', async () => {
    const suite = only(dotsSuite(40), 'caption');
    const answers = await ask(probeSubject(judged(new PlantedEncoder())), suite);
    suite.items.forEach((item, i) => {
      const { text } = answers[i] as { text: string };
      const named = THINGS.filter((thing) => text.includes(`a ${thing}`));
      expect(named).toEqual((item.ask as { gold: string[] }).gold);
    });
  });

  it('finds pictures by what captions name', async () => {
    const suite = only(dotsSuite(6), 'retrieve');
    const answers = await ask(probeSubject(judged(new PlantedEncoder())), suite);
    expect(answers).toEqual(Array(6).fill({ kind: 'ranks', toText: 0, toImage: [0] }));
  });

  it('is at chance on random features', async () => {
    const suite = only(dotsSuite(400), 'yesno', 'choice', 'pick', 'classify');
    const found = await shares(probeSubject(judged(new RandomEncoder())), suite);
    const chance = { yesno: 1 / 2, choice: 1 / 2, pick: 1 / 2, classify: 1 / 6 };
    for (const [kind, p] of Object.entries(chance)) {
      const [low, high] = wilson(...found[kind]);
      expect([kind, low <= p && p <= high]).toEqual([kind, true]);
    }
  });

  it('refuses what its rows say nothing of', () => {
    const suite = dotsSuite(2);
    const subject = probeSubject(judged(new PlantedEncoder()));
    expect(subject.refuses(suite)).toBeNull();
    expect(subject.refuses({ ...suite, probes: [] })).toMatch(/dots has no probe rows/);
    const poor = suite.probes.map((row) => ({ ...row, targets: { level: row.targets.level } }));
    expect(subject.refuses({ ...suite, probes: poor })).toMatch(/no target has\//);
    expect(subject.refuses({ ...only(suite, 'caption'), probes: poor })).toMatch(
      /do not say what is in their pictures/,
    );
  });

  it('does without rows that cannot be read', async () => {
    const suite = only(dotsSuite(30), 'yesno');
    let failed = 0;
    const read: Suite['read'] = async (picture) => {
      if ((picture as { scene?: { noise: number } }).scene!.noise % 10 === 3 && ++failed) throw new Error('damaged');
      return readDots(picture);
    };
    const subject = probeSubject(judged(new PlantedEncoder()));
    await subject.prepare({ ...suite, read }, {});
    expect(failed).toBe(20);
    const answers = await subject.answer(await requestsOf(suite), {});
    expect(suite.items.every((item, i) => isRight(item, answers[i]))).toBe(true);
  });
});

describe('an encoder', () => {
  it('answers by the nearest text or picture', async () => {
    const suite = only(dotsSuite(40), 'yesno', 'choice', 'pick', 'classify');
    const found = await shares(encoderSubject(judged(new PlantedEncoder())), suite);
    expect(found).toEqual({ yesno: [40, 40], choice: [40, 40], pick: [40, 40], classify: [40, 40] });
  });

  it('gives the ten best classes with the sum over all', async () => {
    const suite = only(dotsSuite(1), 'classify');
    const [answer] = await ask(encoderSubject(judged(new PlantedEncoder())), suite);
    expect(answer).toEqual({
      kind: 'classes',
      top: [0, 1, 2, 3, 4, 5].map((c) => [c, c === 0 ? 10 : 0]),
      gold: 10,
      rank: 0,
      logSumExp: Number(Math.log(Math.exp(10) + 5).toPrecision(7)),
    });
  });

  it('counts equals against the right one', async () => {
    const same = new PlantedEncoder();
    same.textFeatures = async (names) => new Float32Array(names.length * same.dim).fill(1);
    const suite = only(dotsSuite(3), 'classify', 'retrieve');
    const answers = await ask(encoderSubject(judged(same)), suite);
    expect(answers.filter(({ kind }) => kind === 'classes').map((answer) => (answer as { rank: number }).rank)).toEqual(
      [5, 5, 5],
    );
    expect(
      answers.filter(({ kind }) => kind === 'ranks').map((answer) => (answer as { toText: number }).toText),
    ).toEqual([2, 2, 2]);
  });

  it('puts the template around every text and refuses words it cannot read', () => {
    const suite = only(dotsSuite(2), 'yesno');
    const strange = { ...suite, manifest: { ...suite.manifest, classes: ['zebra', 'yak'] } };
    const subject = encoderSubject(judged(new PlantedEncoder()));
    expect(subject.refuses(suite)).toBeNull();
    expect(subject.refuses(strange)).toMatch(/dots uses words .* does not know: zebra, yak; ask a probe/);
    expect(subject.refuses(only(dotsSuite(1), 'caption'))).toMatch(
      /more than texts to compare \(caption, item caption\/0\)/,
    );
  });

  it('calls features that are not finite an error, one picture at a time', async () => {
    const broken = new PlantedEncoder();
    const whole = broken.imageFeatures.bind(broken);
    broken.imageFeatures = async (pixels, n) => whole(pixels, n).then((found) => found.fill(Number.NaN, 0, 1));
    const answers = await ask(encoderSubject(judged(broken)), only(dotsSuite(4), 'yesno'));
    expect(answers.map(({ kind }) => kind)).toEqual(['error', 'scores', 'scores', 'scores']);
  });

  it('asks its encoder for as many pictures every time, and for each only once', async () => {
    const encoder = new PlantedEncoder();
    const suite = only(dotsSuite(20), 'yesno');
    const subject = encoderSubject(judged(encoder));
    await subject.prepare(suite, {});
    const requests = await requestsOf(suite);
    await subject.answer(requests, {});
    await subject.answer(requests, {});
    expect(encoder.calls).toEqual([16, 16]);
  });
});

const opened: EncoderSubject[] = [];
afterAll(async () => {
  for (const encoder of opened) await encoder.dispose();
});

describe('every subject', () => {
  const shuffled = <T>(list: readonly T[]): T[] =>
    list
      .map((each, i) => ({ each, at: philox(3, 'order', 0, i).uniform() }))
      .sort((a, b) => a.at - b.at)
      .map(({ each }) => each);

  /** All at once, one by one from the end, and in parts in another order: by id, as JSON. */
  async function answersOf(subject: Subject, suite: Suite, parts: Request[][]): Promise<Map<string, string>> {
    await subject.prepare(suite, {});
    const found = new Map<string, string>();
    for (const part of parts) {
      const answers = await subject.answer(part, {});
      part.forEach(({ item }, i) => {
        found.set(item.id, JSON.stringify(answers[i]));
      });
    }
    return new Map([...found].sort());
  }

  async function isInvariant(make: () => Subject, suite: Suite): Promise<void> {
    const requests = await requestsOf(suite);
    const together = await answersOf(make(), suite, [requests]);
    const alone = await answersOf(make(), suite, requests.map((request) => [request]).reverse());
    const mixed = shuffled(requests);
    const inParts = await answersOf(make(), suite, [mixed.slice(0, 7), mixed.slice(7, 40), mixed.slice(40)]);
    expect(alone).toEqual(together);
    expect(inParts).toEqual(together);
  }

  it('answers alike in any order and company, on real weights', async () => {
    const { recipe } = await loadRecipe('emoji-foil');
    const encoder = await EncoderSubject.open(await readWeightFile('builtin:emoji-foil', ''), recipe, '', {
      batch: 16,
    });
    opened.push(encoder);
    // The weights know none of the dots' words, so texts are stood for by features of their own.
    const { dim } = encoder;
    const texts = new RandomEncoder();
    const both: JudgedEncoder['encoder'] = {
      dim,
      batch: 16,
      imageFeatures: (pixels, n) => encoder.imageFeatures(pixels, n),
      textFeatures: async (names) => {
        const rows = await texts.textFeatures(names);
        return Float32Array.from(
          { length: names.length * dim },
          (_, i) => rows[Math.floor(i / dim) * texts.dim + (i % texts.dim)],
        );
      },
    };
    const suite = dotsSuite(12);
    await isInvariant(() => probeSubject(judged(both, encoder.imageSize)), suite);
    await isInvariant(
      () => encoderSubject(judged(both, encoder.imageSize)),
      only(suite, 'yesno', 'choice', 'pick', 'classify', 'retrieve'),
    );
  });

  it('says in its identity how pictures are framed', () => {
    const { identity } = encoderSubject(judged(new PlantedEncoder()));
    expect(identity).toMatchObject({ weights: 'w', imageSize: SIDE, logitScale: 10, framing: { resample: 'bicubic' } });
    expect(probeSubject(judged(new PlantedEncoder())).identity).not.toEqual(identity);
  });

  it('keys pictures by their pixels', () => {
    const data = new Uint8Array(12);
    expect(pixelKey({ width: 2, height: 2, data })).toBe(pixelKey({ width: 2, height: 2, data: data.slice() }));
    expect(pixelKey({ width: 4, height: 1, data })).not.toBe(pixelKey({ width: 2, height: 2, data }));
  });
});

// A small real benchmark for the tests of judging: pictures on the disk, yes/no questions about them, a subject that
// computes its answers from the pixels, and a kind that measures accuracy. Nothing of it is exported from the package.

import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { sha256Hex } from '@fovea/artifacts';
import { philox } from '@fovea/tensor/random';
import sharp from 'sharp';
import { wilson } from '../statistics.ts';
import type { Request, Subject, SubjectRun } from '../subjects/subject.ts';
import type { Draft } from '../suite/draft.ts';
import type { Answer } from './answer.ts';
import type { SuiteKind } from './kind.ts';

const SIDE = 8;

/** PNGs of seeded colours in `folder`, and questions about them, two a picture. */
export async function smallDraft(folder: string, pictures: number, name = 'small'): Promise<Draft> {
  await mkdir(folder, { recursive: true });
  const items: Draft['items'] = [];
  for (let i = 0; i < pictures; i++) {
    const rng = philox(1, 'small', 0, i);
    const pixels = Uint8Array.from({ length: 3 * SIDE ** 2 }, () => rng.int(256));
    const bytes = await sharp(pixels, { raw: { width: SIDE, height: SIDE, channels: 3 } })
      .png()
      .toBuffer();
    await writeFile(path.join(folder, `${i}.png`), bytes);
    const shown = { kind: 'file' as const, path: `${i}.png`, sha256: sha256Hex(bytes), width: SIDE, height: SIDE };
    for (const gold of ['yes', 'no'] as const) {
      const ask = { kind: 'yesno' as const, question: `Is it ${gold}?`, gold };
      items.push({ id: `${i}/${gold}`, split: i % 2 ? 'odd' : 'even', cluster: `${i}`, pictures: [shown], ask });
    }
  }
  const prompt = { id: 'bare', template: '{question}' };
  return { name, kind: 'pope', title: 'Small', source: {}, prompt, omitted: [], notes: [], items, probes: [] };
}

/** Two scores from the pixels and the question, the same whenever and with whatever else they are asked. */
export class HashSubject implements Subject {
  readonly kind = 'encoder';
  readonly identity: Record<string, unknown>;
  /** Ids of every call. */
  readonly calls: string[][] = [];
  readonly #delayMs: number;

  constructor(weights = 'w', delayMs = 0) {
    this.identity = { weights, decoding: { cd_alpha: 1 } };
    this.#delayMs = delayMs;
  }

  refuses(): string | null {
    return null;
  }

  async prepare(): Promise<void> {}

  async answer(requests: readonly Request[], { signal }: SubjectRun): Promise<Answer[]> {
    this.calls.push(requests.map(({ item }) => item.id));
    if (this.#delayMs > 0) await sleep(this.#delayMs * requests.length, undefined, { signal });
    return requests.map(({ item, pictures }) => {
      const digest = sha256Hex(`${this.identity.weights} ${pictures[0].key} ${item.id}`);
      const scores = [0, 8].map((at) => Number.parseInt(digest.slice(at, at + 6), 16) / 2 ** 24);
      return { kind: 'scores', scores };
    });
  }

  async dispose(): Promise<void> {}
}

export const smallKind: SuiteKind = {
  kind: 'pope',
  scorers: [
    {
      id: 'scores',
      version: 1,
      score({ id, ask }, answer) {
        if (answer.kind !== 'scores')
          return { itemId: id, label: 'unknown', rule: 'none', correct: 0, margin: null, confidence: null };
        const label = answer.scores[0] > answer.scores[1] ? 'yes' : 'no';
        const correct = ask.kind === 'yesno' && label === ask.gold ? 1 : 0;
        return { itemId: id, label, rule: 'scores', correct, margin: null, confidence: null };
      },
    },
  ],
  measure(suite, judged) {
    const k = judged.reduce((sum, { scored }) => sum + scored.correct, 0);
    const [low, high] = wilson(k, judged.length);
    const count = (label: string) => judged.filter(({ scored }) => scored.label === label).length;
    return [
      {
        suite: suite.manifest.name,
        split: 'all',
        metric: 'accuracy',
        value: k / judged.length,
        n: judged.length,
        unknown: count('unknown'),
        errors: count('error'),
        ci: { low, high, method: 'wilson', level: 0.95 },
        chance: 0.5,
      },
    ];
  },
};

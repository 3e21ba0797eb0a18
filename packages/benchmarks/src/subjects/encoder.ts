// An encoder as a subject, with nothing learned for the test: a question is answered by which of its texts, or of its
// pictures, lies nearest. What only words or numbers could say (captions, estimates) it refuses; probe.ts does not.

import type { Answer } from '../judging/answer.ts';
import type { Item } from '../suite/item.ts';
import type { Suite } from '../suite/suite.ts';
import { classesAnswer, scoresAnswer } from './choosing.ts';
import { dot, Features, type JudgedEncoder } from './features.ts';
import { type Gallery, galleriesOf, ranksAnswer } from './gallery.ts';
import type { Request, Subject, SubjectRun } from './subject.ts';

/** Texts that are encoded together; fewer are padded, so that the arithmetic is always the same. */
const TEXTS = 256;

/** What a suite needs once. */
interface Prepared {
  suite: Suite;
  texts: Map<string, Float32Array>;
  galleries: Map<string, Gallery>;
}

/**
 * Two-way and many-way scores are logitScale · cosine; a tie is nobody's. A suite's `textTemplate` is put around its
 * texts before the encoder's own prompt, if it has one.
 */
export function encoderSubject(judged: JudgedEncoder): Subject {
  const { encoder, identity, imageSize, logitScale = 100 } = judged;
  const features = new Features(judged);
  let prepared: Prepared | null = null;

  async function answer(requests: readonly Request[], run: SubjectRun): Promise<Answer[]> {
    if (prepared === null) throw new Error('An encoder is asked before a suite was prepared.');
    const seen = await features.ofRequests(requests, run);
    return requests.map(({ item }, i) => answerOf(item, seen[i], prepared as Prepared, logitScale));
  }

  return {
    kind: 'encoder',
    identity: { ...identity, imageSize, framing: features.framing, logitScale },
    refuses: (suite) => refusal(suite, judged),
    async prepare(suite, run) {
      const why = refusal(suite, judged);
      if (why !== null) throw new Error(why);
      const texts = await encodeTexts(encoder, templated(suite), run);
      prepared = { suite, texts, galleries: await galleriesOf(suite, features, run) };
    },
    answer,
    async dispose() {},
  };
}

function answerOf(item: Item, seen: Float32Array[], { suite, texts, galleries }: Prepared, scale: number): Answer {
  const { ask } = item;
  const textOf = (text: string) => texts.get(fill(suite, text)) as Float32Array;
  const score = (feature: Float32Array, text: string) => scale * dot(feature, textOf(text));
  switch (ask.kind) {
    case 'yesno':
    case 'choice':
      return scoresAnswer((ask.texts as string[]).map((text) => score(seen[0], text)));
    case 'pick':
      return scoresAnswer(seen.map((feature) => score(feature, ask.text)));
    case 'classify': {
      const { classes = [] } = suite.manifest;
      return classesAnswer(
        classes.map((name) => score(seen[0], name)),
        ask.gold,
      );
    }
    case 'retrieve': {
      const gallery = galleries.get(item.split) as Gallery;
      return ranksAnswer(item.id, seen[0], gallery, (feature, at) => score(feature, gallery.captions[at]));
    }
    case 'caption':
    case 'estimate':
      throw new Error(`An encoder cannot answer ${ask.kind}.`);
  }
}

const fill = ({ manifest: { textTemplate } }: Suite, text: string): string => textTemplate.split('{}').join(text);

/** All texts of a suite as the encoder reads them, each once. */
function templated(suite: Suite): string[] {
  const own = suite.items.flatMap(({ ask }) => textsOf(ask) ?? []);
  return [...new Set([...(suite.manifest.classes ?? []), ...own].map((text) => fill(suite, text)))];
}

/** Texts that an answer compares; null where it needs more than comparing. */
function textsOf(ask: Item['ask']): readonly string[] | null {
  switch (ask.kind) {
    case 'yesno':
      return ask.texts ?? null;
    case 'choice':
      return ask.texts?.length === ask.options.length ? ask.texts : null;
    case 'pick':
      return [ask.text];
    case 'retrieve':
      return ask.captions;
    case 'classify':
      return [];
    case 'caption':
    case 'estimate':
      return null;
  }
}

function refusal(suite: Suite, { encoder }: JudgedEncoder): string | null {
  const { name, classes } = suite.manifest;
  const mute = suite.items.find(({ ask }) => textsOf(ask) === null);
  if (mute)
    return `The suite ${name} asks for more than texts to compare (${mute.ask.kind}, item ${mute.id}); ask a probe.`;
  if (!classes && suite.items.some(({ ask }) => ask.kind === 'classify'))
    return `The suite ${name} asks for classes and names none in its manifest.`;
  const unknown = encoder.unreadable?.(templated(suite)) ?? [];
  if (unknown.length === 0) return null;
  const more = unknown.length > 3 ? ` and ${unknown.length - 3} more` : '';
  return `The suite ${name} uses words that the encoder's text tower does not know: ${unknown.slice(0, 3).join(', ')}${more}; ask a probe.`;
}

async function encodeTexts(
  encoder: JudgedEncoder['encoder'],
  texts: readonly string[],
  run: SubjectRun,
): Promise<Map<string, Float32Array>> {
  const out = new Map<string, Float32Array>();
  for (let first = 0; first < texts.length; first += TEXTS) {
    run.signal?.throwIfAborted();
    const chunk = texts.slice(first, first + TEXTS);
    const padded = Array.from({ length: TEXTS }, (_, i) => chunk[Math.min(i, chunk.length - 1)]);
    const rows = await encoder.textFeatures(padded);
    chunk.forEach((text, i) => {
      out.set(text, rows.slice(i * encoder.dim, (i + 1) * encoder.dim));
    });
    run.progress?.({ step: first + chunk.length, steps: texts.length, text: 'texts' });
  }
  return out;
}

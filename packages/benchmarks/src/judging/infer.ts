// Asks a subject every question of a suite that is not answered yet, and writes the answers down. It judges nothing. Pictures
// are read a chunk ahead, each once a chunk; a picture that cannot be read is an error row, and the rest goes on.

import { setTimeout as sleepFor } from 'node:timers/promises';
import { canonicalJson, inParallel, isUserError } from '@fovea/artifacts';
import { pixelKey } from '../subjects/features.ts';
import type { Request, Shown, Subject, SubjectRun } from '../subjects/subject.ts';
import type { Item, PictureRef } from '../suite/item.ts';
import type { Suite } from '../suite/suite.ts';
import type { Answer } from './answer.ts';
import type { PredictionLog } from './predictions.ts';

export interface InferOptions extends SubjectRun {
  /** Questions at once. @default 256 for what compares features, 8 for what answers one by one */
  chunk?: number;
  /** Pictures decoded at once. @default 4 */
  lanes?: number;
  /** How often a question without an answer is asked in all. @default 3 */
  attempts?: number;
  /** Wait before the second attempt in milliseconds; four times as long before the third. @default 250 */
  delayMs?: number;
}

/** Distinct pictures in memory for a chunk. */
const PICTURES = 64;

/** Answers what `log` does not hold. Throws what the subject throws for good, and the signal's reason. */
export async function infer(
  suite: Suite,
  subject: Subject,
  runKey: string,
  log: PredictionLog,
  options: InferOptions = {},
): Promise<void> {
  const { signal, progress } = options;
  const open = suite.items.filter((item) => !log.answered.has(item.id));
  if (open.length === 0) return;
  signal?.throwIfAborted();
  await withRetries(options, () => subject.prepare(suite, options));
  const chunks = chunksOf(open, options.chunk ?? (isSlow(subject) ? 8 : 256));
  const load = (chunk: readonly Item[] | undefined) => (chunk ? seen(loadPictures(suite, chunk, options)) : undefined);
  const steps = suite.items.length;
  let next = load(chunks[0]);
  for (const [i, chunk] of chunks.entries()) {
    signal?.throwIfAborted();
    const pictures = await next!;
    next = load(chunks[i + 1]);
    const answers = await answersOf(chunk, pictures, subject, options);
    await log.append(chunk.map((item, j) => ({ itemId: item.id, runKey, answer: answers[j] })));
    progress?.({ step: log.answered.size, steps, text: `asking ${suite.manifest.name}` });
  }
}

const isSlow = ({ kind }: Subject): boolean => kind === 'language-model' || kind === 'detector' || kind === 'blind';

/** Nobody awaits a chunk that was read ahead when another fails. */
function seen<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

const nameOf = (picture: PictureRef): string => canonicalJson(picture);

function chunksOf(items: readonly Item[], most: number): Item[][] {
  const chunks: Item[][] = [];
  let names = new Set<string>();
  for (const item of items) {
    const own = item.pictures.map(nameOf);
    const last = chunks.at(-1);
    const isFull = last && (last.length >= most || new Set([...names, ...own]).size > PICTURES);
    if (last && !isFull) last.push(item);
    else {
      chunks.push([item]);
      names = new Set();
    }
    for (const name of own) names.add(name);
  }
  return chunks;
}

interface Fault {
  fault: string;
  attempts: number;
}

type Loaded = Map<string, Shown | Fault>;

/** Every distinct picture of a chunk, decoded once. */
async function loadPictures(suite: Suite, chunk: readonly Item[], options: InferOptions): Promise<Loaded> {
  const refs = new Map(chunk.flatMap((item) => item.pictures.map((picture) => [nameOf(picture), picture] as const)));
  const load = async ([name, ref]: readonly [string, PictureRef]): Promise<[string, Shown | Fault]> => {
    let attempts = 0;
    try {
      const read = () => {
        attempts++;
        options.signal?.throwIfAborted();
        return suite.read(ref);
      };
      const pixels = await withRetries(options, read);
      return [name, { key: pixelKey(pixels), pixels }];
    } catch (error) {
      if (options.signal?.aborted) throw error;
      return [name, { fault: (error as Error).message, attempts }];
    }
  };
  return new Map(await inParallel([...refs], options.lanes ?? 4, load));
}

/** Repeats what failed for a reason that may pass; what a person must mend is final at once. */
async function withRetries<T>(options: InferOptions, action: () => Promise<T>): Promise<T> {
  const { attempts = 3, delayMs = 250, signal } = options;
  for (let attempt = 1; ; attempt++) {
    try {
      return await action();
    } catch (error) {
      if (isUserError(error) || signal?.aborted || attempt >= attempts) throw error;
      await sleepFor(delayMs * 4 ** (attempt - 1), undefined, { signal });
    }
  }
}

/** Answers in the order of the chunk; what could not be shown or answered is an error. */
async function answersOf(
  chunk: readonly Item[],
  pictures: Loaded,
  subject: Subject,
  options: InferOptions,
): Promise<Answer[]> {
  const answers = new Array<Answer>(chunk.length);
  const requests: { at: number; request: Request }[] = [];
  chunk.forEach((item, at) => {
    const shown = item.pictures.map((picture) => pictures.get(nameOf(picture))!);
    const fault = shown.find((each) => 'fault' in each);
    if (fault === undefined) requests.push({ at, request: { item, pictures: shown as Shown[] } });
    else answers[at] = { kind: 'error', message: fault.fault, attempts: fault.attempts };
  });
  const { attempts = 3, delayMs = 250, signal } = options;
  let left = requests;
  for (let attempt = 1; left.length > 0; attempt++) {
    if (attempt > 1) await sleepFor(delayMs * 4 ** (attempt - 2), undefined, { signal });
    const given = await withRetries(options, () =>
      subject.answer(
        left.map(({ request }) => request),
        options,
      ),
    );
    if (given.length !== left.length) throw new Error(`${left.length} questions got ${given.length} answers.`);
    left.forEach(({ at }, i) => {
      const answer = given[i];
      answers[at] = answer.kind === 'error' ? { ...answer, attempts: attempt } : answer;
    });
    if (attempt >= attempts) break;
    left = left.filter(({ at }) => answers[at].kind === 'error');
  }
  return answers;
}

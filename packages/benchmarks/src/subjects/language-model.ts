// A language model as a subject, from its folder. Yes and no, and options, are answered by the log-likelihood of what it
// would say next; captions, by what it says, greedily. Each question is read alone, after what all questions to a picture
// share, so that no answer depends on its neighbours; a model that sees no pictures answers from the words alone.

import { stat } from 'node:fs/promises';
import path from 'node:path';
import { FoveaError, fileHash, filesOf, isUserError, type Preprocessing, readPreprocessing } from '@fovea/artifacts';
import { frame, normalise } from '@fovea/data';
import {
  CHAT_FILES,
  type LanguageModel,
  type LanguageModelOptions,
  openLanguageModel,
  type Reader,
  readJson,
  type SeenPicture,
} from '@fovea/models';
import type { Answer } from '../judging/answer.ts';
import type { Suite } from '../suite/suite.ts';
import { OPTIONS_FORMAT, refusesWords, wordsOf } from './asking.ts';
import { type Candidates, candidatesOf, letters, NO, scoresOf, YES } from './likelihood.ts';
import { promptIds } from './prompt.ts';
import type { Request, Shown, Subject, SubjectRun } from './subject.ts';

export interface LanguageModelSubjectOptions extends LanguageModelOptions {
  /** Whether questions are answered by likelihoods or, as captions always are, in words. @default 'scores' */
  answers?: 'scores' | 'text';
  /** Most tokens of an answer in words. @default 128 */
  maxTokens?: number;
  /** What it is told in front, as the system's message. @default nothing */
  system?: string;
  /** Where hashes of its files are kept. */
  cacheDir?: string;
}

const PICTURE_FILES = ['preprocessor_config.json', 'processor_config.json'];

/** Opens a folder as `from_pretrained` takes it. Throws a FoveaError that says what is wrong with it. */
export async function languageModelSubject(
  folder: string,
  options: LanguageModelSubjectOptions = {},
): Promise<Subject> {
  const model = await openLanguageModel(folder, options);
  const preprocessing = model.picture && (await preprocessingOf(folder, model.picture.side));
  const { answers = 'scores', maxTokens = 128, system = null, device = 'cpu', precision = 'fp32' } = options;
  const decoding = { answers, strategy: 'greedy', maxTokens, system, options: OPTIONS_FORMAT };
  const identity = {
    files: await hashesOf(folder, options.cacheDir),
    family: model.family,
    preprocessing,
    dtype: 'float32',
    device,
    precision,
    chunk: model.chunk,
    decoding: { ...decoding, yes: candidatesOf(model.tokenizer, [YES, NO]) },
  };
  return new LanguageModelSubject(model, preprocessing, { answers, maxTokens, system }, identity);
}

async function preprocessingOf(folder: string, side: number): Promise<Preprocessing> {
  for (const name of PICTURE_FILES) {
    const json = await readJson(folder, name);
    if (json === null) continue;
    const where = `"${path.basename(folder)}/${name}"`;
    const preprocessing = readPreprocessing(json, where);
    const { resize, crop } = preprocessing;
    const out = crop ?? (resize && 'height' in resize ? resize : null);
    if (out?.height === side && out.width === side) return preprocessing;
    throw new FoveaError(
      `The preprocessing ${where} gives pictures that are not ${side} × ${side}, which is what the model's tower takes; mend crop_size.`,
    );
  }
  throw new FoveaError(
    `The language model "${folder}" has no preprocessor_config.json, so nobody knows how pictures are made ready for it; put its own beside the weights.`,
  );
}

/** SHA-256 of every file that answers depend on, by its name. */
async function hashesOf(folder: string, cacheDir?: string): Promise<Record<string, string>> {
  const files = await filesOf(folder);
  for (const name of [...CHAT_FILES, ...PICTURE_FILES]) {
    const file = path.join(folder, name);
    if ((await stat(file).catch(() => null))?.isFile()) files.set(name, file);
  }
  const hashes: [string, string][] = [];
  for (const [name, file] of [...files].sort(([a], [b]) => (a < b ? -1 : 1)))
    hashes.push([name, await fileHash(file, cacheDir)]);
  return Object.fromEntries(hashes);
}

interface Decoding {
  answers: 'scores' | 'text';
  maxTokens: number;
  system: string | null;
}

/** A reader that has read what a picture's questions share. */
interface Begun {
  picture: string;
  shared: string;
  reader: Reader;
}

/** Tokens of an answer that is scored. */
const SCORED = 8;
/** What stands in for a question to find what all share. */
const STAND_INS = ['Is', 'What'];

class LanguageModelSubject implements Subject {
  readonly kind = 'language-model';
  readonly identity: Record<string, unknown>;
  readonly #model: LanguageModel;
  readonly #preprocessing: Preprocessing | null;
  readonly #decoding: Decoding;
  readonly #yesNo: Candidates;
  #suite: Suite | null = null;
  #shared: number[] = [];
  #begun: Begun | null = null;
  #seen: { key: string; tokens: SeenPicture } | null = null;

  constructor(
    model: LanguageModel,
    preprocessing: Preprocessing | null,
    decoding: Decoding,
    identity: Record<string, unknown>,
  ) {
    this.identity = identity;
    this.#model = model;
    this.#preprocessing = preprocessing;
    this.#decoding = decoding;
    this.#yesNo = candidatesOf(model.tokenizer, [YES, NO]);
  }

  refuses(suite: Suite): string | null {
    return refusesWords(suite);
  }

  async prepare(suite: Suite): Promise<void> {
    const why = this.refuses(suite);
    if (why !== null) throw new FoveaError(why);
    const { template } = suite.manifest.prompt;
    const [a, b] = STAND_INS.map((question) => this.#ids(template.replaceAll('{question}', question)));
    const same = a.findIndex((id, i) => id !== b[i]);
    this.#suite = suite;
    this.#shared = a.slice(0, same < 0 ? a.length - 1 : same);
    this.#begun = null;
  }

  async answer(requests: readonly Request[], run: SubjectRun): Promise<Answer[]> {
    const answers = new Array<Answer>(requests.length);
    const order = [...requests.keys()];
    // Questions to one picture in a row read it once.
    order.sort((a, b) => compare(keyOf(requests[a]), keyOf(requests[b])) || a - b);
    for (const at of order) {
      run.signal?.throwIfAborted();
      answers[at] = await this.#answer(requests[at], run);
    }
    return answers;
  }

  async dispose(): Promise<void> {
    await this.#model.dispose();
  }

  async #answer({ item, pictures }: Request, run: SubjectRun): Promise<Answer> {
    if (this.#suite === null) throw new Error('A language model is asked before a suite was prepared.');
    const { answers, maxTokens } = this.#decoding;
    const { ask } = item;
    const isScored = answers === 'scores' && ask.kind !== 'caption';
    try {
      const ids = this.#ids(wordsOf(ask, this.#suite.manifest.prompt.template));
      const { reader, logits } = await this.#read(ids, pictures[0], isScored ? SCORED : maxTokens);
      if (!isScored) return await this.#say(reader, logits, run);
      const candidates =
        ask.kind === 'choice' ? candidatesOf(this.#model.tokenizer, letters(ask.options.length)) : this.#yesNo;
      return { kind: 'scores', scores: await scoresOf(candidates, reader, logits) };
    } catch (error) {
      if (!isUserError(error)) throw error;
      return { kind: 'error', message: error.message, attempts: 1 };
    }
  }

  #ids(words: string): number[] {
    return promptIds(this.#model, words, this.#decoding.system);
  }

  /** Reads a prompt, what is shared first: all that comes before is a matter of this prompt alone. */
  async #read(ids: number[], shown: Shown, more: number): Promise<{ reader: Reader; logits: Float32Array }> {
    const { positions, picture } = this.#model;
    if (ids.length + more > positions)
      throw new FoveaError(
        `The prompt has ${ids.length} tokens, and with ${more} for the answer they are more than the ${positions} that the model was made for; shorten it.`,
      );
    const begins = this.#shared.length < ids.length && this.#shared.every((id, i) => ids[i] === id);
    const isWhole = !picture || [0, picture.tokens].includes(countOf(this.#shared, picture.token));
    const shared = begins && isWhole ? this.#shared : [];
    const tokens = picture ? await this.#see(shown) : undefined;
    const seenIn = (part: readonly number[]) => (picture && part.includes(picture.token) ? tokens : undefined);
    const reader = this.#reader(ids.length + more);
    const wanted = { picture: picture ? shown.key : '', shared: shared.join() };
    const isBegun = this.#begun?.reader === reader && this.#begun.picture === wanted.picture;
    if (!isBegun || this.#begun?.shared !== wanted.shared) {
      reader.rewind(0);
      this.#begun = null;
      if (shared.length > 0) await reader.read(shared, seenIn(shared));
      this.#begun = { ...wanted, reader };
    }
    reader.rewind(shared.length);
    const rest = ids.slice(shared.length);
    return { reader, logits: await reader.read(rest, seenIn(rest)) };
  }

  /** The one that was last used, where it has just the room. */
  #reader(tokens: number): Reader {
    const reader = this.#model.reader(tokens);
    return this.#begun?.reader.capacity === reader.capacity ? this.#begun.reader : reader;
  }

  async #see({ key, pixels }: Shown): Promise<SeenPicture> {
    if (this.#seen?.key !== key) {
      const preprocessing = this.#preprocessing as Preprocessing;
      const tokens = await this.#model.see(normalise(frame(pixels, preprocessing), preprocessing));
      this.#seen = { key, tokens };
    }
    return this.#seen.tokens;
  }

  async #say(reader: Reader, first: Float32Array, run: SubjectRun): Promise<Answer> {
    const { tokenizer } = this.#model;
    const said: number[] = [];
    for (let logits = first; ; logits = await reader.step(said[said.length - 1])) {
      run.signal?.throwIfAborted();
      const id = argmax(logits);
      const isOver = tokenizer.ends.has(id);
      if (!isOver) said.push(id);
      if (!isOver && said.length < this.#decoding.maxTokens) continue;
      const finish = isOver ? 'stop' : 'length';
      return { kind: 'text', text: tokenizer.decode(said).trim(), tokens: said.length, finish };
    }
  }
}

const keyOf = ({ pictures }: Request): string => pictures[0].key;
const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const countOf = (ids: readonly number[], id: number): number => ids.filter((each) => each === id).length;

/** Place of the largest; of equals, the first. */
function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

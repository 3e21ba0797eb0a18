// A language model as it comes from a folder, ready to read and to score what may come next: Llama's family, and LLaVA with
// its pictures. Texts are read in pieces of a fixed number of tokens, one text at a time, so that two programs serve all
// lengths and no text's numbers depend on another's. What is asked, and what an answer is worth, is not known here.

import path from 'node:path';
import { FoveaError, type MappedTensor } from '@fovea/artifacts';
import {
  type CompileOptions,
  compile,
  type NamedTensors,
  type NumericArray,
  type Program,
  type Spec,
  sizeOf,
  type Tensor,
  tf,
} from '@fovea/tensor';
import { type ChatTokenizer, readChatTokenizer } from './chat-tokenizer.ts';
import { mapFolder, readJson } from './from-pretrained.ts';
import { type LlamaConfig, llama, llamaEmbed, llamaLogits, llamaSpecs, readLlamaConfig } from './llama.ts';
import {
  type LlavaConfig,
  llavaEmbed,
  llavaImage,
  llavaPublished,
  llavaSpecs,
  llavaText,
  readLlavaConfig,
} from './llava.ts';
import type { ParamSpecs } from './params.ts';

export interface LanguageModelOptions
  extends Pick<CompileOptions, 'threads' | 'device' | 'precision' | 'mappedWeights'> {
  /** Tokens that a text is read by. Part of what its numbers depend on, to their last bits. @default 32 */
  chunk?: number;
}

/** Tokens of a picture as the language model takes them, [imageTokens, width]. */
export type SeenPicture = Float32Array;

/** A text that is being read. Only the newest of a model's runs at a time. */
export interface Reader {
  /** Tokens read. */
  readonly length: number;
  /** Tokens that it has room for. */
  readonly capacity: number;
  /**
   * Reads on, and gives the logits of what may come next, [vocabulary], which are the caller's. Where `ids` hold the
   * picture's token as often as the picture has tokens, they are its. Throws a {@link FoveaError} where there is no room.
   */
  read(ids: readonly number[], picture?: SeenPicture): Promise<Float32Array>;
  /** The same for one token, by a program that is fastest at that. */
  step(id: number): Promise<Float32Array>;
  /** Forgets all but the first `length` tokens. */
  rewind(length: number): void;
}

export interface LanguageModel {
  /** The folder's model_type. */
  family: string;
  tokenizer: ChatTokenizer;
  vocabulary: number;
  /** Longest text it was made for, in tokens. */
  positions: number;
  /** Null in a model that sees no pictures. */
  picture: { token: number; tokens: number; side: number } | null;
  chunk: number;
  /** pixels [3, side, side], normalised. */
  see(pixels: Float32Array): Promise<SeenPicture>;
  /** Room for a text of `tokens` tokens or more. */
  reader(tokens: number): Reader;
  dispose(): Promise<void>;
}

interface Opened {
  family: string;
  text: LlamaConfig;
  llava: LlavaConfig | null;
  specs: ParamSpecs;
}

/** Buffers of older files, and the second copy of an embedding that serves twice. */
const LEFT_OUT = /(^|\.)(rotary_emb\.inv_freq|position_ids)$/;
/** Room is made for this many tokens or twice, four times, … as many, so that few programs serve all lengths. */
const LEAST_ROOM = 256;

/**
 * Opens a folder as `from_pretrained` takes it: config.json, safetensors (shards too), tokenizer.json. Weights are mapped.
 * Throws a {@link FoveaError} that says what is wrong with it.
 */
export async function openLanguageModel(folder: string, options: LanguageModelOptions = {}): Promise<LanguageModel> {
  const config = await readJson(folder, 'config.json');
  if (config === null)
    throw new FoveaError(
      `The language model "${folder}" has no config.json; give a folder as from_pretrained takes it, with config.json, safetensors and tokenizer.json.`,
    );
  const opened = configured(config, `"${path.basename(folder)}/config.json"`);
  const weights = await mapFolder(folder, opened.specs, neededOf(opened), renamer(opened));
  return new MappedLanguageModel(opened, weights, readChatTokenizer(folder), options);
}

function configured(config: unknown, where: string): Opened {
  const family = (config as { model_type?: unknown }).model_type;
  if (family === 'llava') {
    const llava = readLlavaConfig(config, where);
    return { family, text: llava.text, llava, specs: llavaSpecs(llava) };
  }
  if (family !== 'llama' && family !== 'qwen2')
    throw new FoveaError(
      `The language model ${where} is of model_type "${family}", which Fovea does not know; it knows llama, qwen2 and llava, and others behind an OpenAI-compatible server.`,
    );
  const text = readLlamaConfig(config, where);
  return { family, text, llava: null, specs: llamaSpecs(text) };
}

/** Blocks of the picture tower behind the one that is read from, and what stands behind them, are not loaded. */
function neededOf({ specs, llava }: Opened): ParamSpecs {
  if (!llava) return specs;
  const isUnread = (name: string) => {
    const block = name.match(/^vision_tower\.vision_model\.encoder\.layers\.(\d+)\./);
    return block ? Number(block[1]) >= llava.visionDepth : name.startsWith('vision_tower.vision_model.post_layernorm.');
  };
  return Object.fromEntries(Object.entries(specs).filter(([name]) => !isUnread(name)));
}

function renamer({ llava, text, specs }: Opened) {
  return <T>(tensors: Record<string, T>): Record<string, T> => {
    const named = Object.entries(tensors).map(([name, value]) => [llava ? llavaPublished(name) : name, value] as const);
    const isHead = (name: string) => text.tied && !(name in specs) && /(^|\.)lm_head\.weight$/.test(name);
    return Object.fromEntries(named.filter(([name]) => !isHead(name) && (name in specs || !LEFT_OUT.test(name))));
  };
}

class MappedLanguageModel implements LanguageModel {
  readonly family: string;
  readonly tokenizer: ChatTokenizer;
  readonly vocabulary: number;
  readonly positions: number;
  readonly picture: LanguageModel['picture'];
  readonly chunk: number;
  readonly #opened: Opened;
  readonly #weights: Record<string, MappedTensor>;
  readonly #options: LanguageModelOptions;
  readonly #programs = new Map<string, Promise<Program>>();

  constructor(
    opened: Opened,
    weights: Record<string, MappedTensor>,
    tokenizer: ChatTokenizer,
    options: LanguageModelOptions,
  ) {
    const { llava, text } = opened;
    this.family = opened.family;
    this.tokenizer = tokenizer;
    this.vocabulary = text.vocabulary;
    this.positions = text.positions;
    this.picture = llava && { token: llava.imageToken, tokens: llava.imageTokens, side: llava.vision.imageSize };
    this.chunk = options.chunk ?? 32;
    this.#opened = opened;
    this.#weights = weights;
    this.#options = options;
  }

  async see(pixels: Float32Array): Promise<SeenPicture> {
    const { llava } = this.#opened;
    if (!llava) throw new FoveaError(`A language model of type ${this.family} sees no pictures; ask one that does.`);
    const { imageSize: side } = llava.vision;
    const program = await this.#program('picture', () =>
      this.#compile(
        ({ given }, p) => ({ tokens: llavaImage(p, given, llava) }),
        (name) => !name.startsWith('language_model.'),
        {
          given: { shape: [1, 3, side, side], dtype: 'float32' },
        },
      ),
    );
    return (await program.run({ given: pixels })).tokens.slice() as Float32Array;
  }

  reader(tokens: number): Reader {
    const capacity = Math.max(LEAST_ROOM, 2 ** Math.ceil(Math.log2(tokens)));
    const program = (count: number) =>
      this.#program(`${count}/${capacity}`, () => this.#compileReader(count, capacity));
    return new CachedReader({ c: this.#opened.text, capacity, chunk: this.chunk, picture: this.picture, program });
  }

  async dispose(): Promise<void> {
    const programs = await Promise.all([...this.#programs.values()].map((program) => program.catch(() => null)));
    this.#programs.clear();
    for (const program of programs) await program?.dispose();
  }

  #program(key: string, make: () => Promise<Program>): Promise<Program> {
    const program = this.#programs.get(key) ?? make();
    this.#programs.set(key, program);
    return program;
  }

  #compile(
    fn: (inputs: NamedTensors, p: NamedTensors) => NamedTensors,
    isNeeded: (name: string) => boolean,
    inputs: Record<string, Spec>,
  ): Promise<Program> {
    const { threads, device, precision, mappedWeights } = this.#options;
    const constants = Object.fromEntries(Object.entries(this.#weights).filter(([name]) => isNeeded(name)));
    const step = (given: NamedTensors, _state: NamedTensors, p: NamedTensors) => ({ outputs: fn(given, p) });
    return compile(step, { inputs, constants }, { threads, device, precision, mappedWeights });
  }

  #compileReader(count: number, capacity: number): Promise<Program> {
    const { text: c, llava } = this.#opened;
    const rows: Spec = { shape: [1, c.keyHeads, capacity, c.headWidth], dtype: 'float32' };
    const pictures = llava && count > 1;
    const inputs: Record<string, Spec> = {
      ids: { shape: [1, count], dtype: 'int32' },
      length: { shape: [1], dtype: 'int32' },
      last: { shape: [1], dtype: 'int32' },
      ...(pictures ? { pictures: { shape: [1, count, c.width], dtype: 'float32' } } : {}),
      ...Object.fromEntries(cacheNames(c).map((name) => [name, rows])),
    };
    const step = ({ ids, length, last, ...given }: NamedTensors, p: NamedTensors): NamedTensors => {
      const own = llava ? llavaText(p) : p;
      const x = pictures ? llavaEmbed(p, ids, given.pictures, llava) : llamaEmbed(own, ids); // [1, T, D]
      const out = llama(own, x, c, { keys: ofKind(given, 'keys', c), values: ofKind(given, 'values', c), length });
      const end = tf.gather(tf.reshape(out.hidden, [count, c.width]), last as never) as Tensor; // [1, D]
      const next = out.keys.flatMap((keys, i) => [
        [`new/keys/${i}`, keys],
        [`new/values/${i}`, out.values[i]],
      ]);
      return { logits: llamaLogits(own, end, c), ...Object.fromEntries(next) };
    };
    return this.#compile(step, (name) => !llava || name.startsWith('language_model.'), inputs);
  }
}

const cacheNames = ({ layers }: LlamaConfig): string[] =>
  Array.from({ length: layers }, (_, i) => [`keys/${i}`, `values/${i}`]).flat();

const ofKind = (given: NamedTensors, kind: 'keys' | 'values', { layers }: LlamaConfig): Tensor[] =>
  Array.from({ length: layers }, (_, i) => given[`${kind}/${i}`]);

interface Room {
  c: LlamaConfig;
  capacity: number;
  chunk: number;
  picture: LanguageModel['picture'];
  /** The program that reads so many tokens. */
  program(count: number): Promise<Program>;
}

class CachedReader implements Reader {
  length = 0;
  readonly #room: Room;
  #cache: Record<string, Float32Array> | null = null;

  constructor(room: Room) {
    this.#room = room;
  }

  get capacity(): number {
    return this.#room.capacity;
  }

  async read(ids: readonly number[], picture?: SeenPicture): Promise<Float32Array> {
    const { c, chunk, picture: kind } = this.#room;
    const wanted = ids.filter((id) => id === kind?.token).length;
    const given = picture ? picture.length / c.width : 0;
    if (wanted !== given)
      throw new FoveaError(
        `A prompt has room for ${wanted} tokens of pictures, and ${given} are given; mend the chat template, and keep the picture's token out of the question.`,
      );
    if (ids.length === 0) throw new FoveaError('A prompt has no tokens; ask something.');
    let seen = 0;
    let logits = new Float32Array();
    for (let start = 0; start < ids.length; start += chunk) {
      const part = ids.slice(start, start + chunk);
      const rows = new Float32Array(kind ? chunk * c.width : 0);
      for (const [at, id] of part.entries()) {
        if (!picture || id !== kind?.token) continue;
        rows.set(picture.subarray(seen * c.width, (seen + 1) * c.width), at * c.width);
        seen++;
      }
      logits = await this.#run(part, chunk, kind ? { pictures: rows } : {});
    }
    return logits;
  }

  step(id: number): Promise<Float32Array> {
    return this.#run([id], 1);
  }

  rewind(length: number): void {
    if (length < 0 || length > this.length) throw new RangeError(`${length} of ${this.length} tokens cannot be kept`);
    this.length = length;
  }

  async #run(ids: readonly number[], count: number, more: Record<string, NumericArray> = {}) {
    if (this.length + ids.length > this.capacity)
      throw new FoveaError(
        `A text of ${this.length + ids.length} tokens does not fit into the ${this.capacity} that there is room for; shorten it.`,
      );
    const padded = new Int32Array(count);
    padded.set(ids);
    const program = await this.#room.program(count);
    const { c, capacity } = this.#room;
    const size = sizeOf([c.keyHeads, capacity, c.headWidth]);
    this.#cache ??= Object.fromEntries(cacheNames(c).map((name) => [name, new Float32Array(size)]));
    const out = await program.run({
      ids: padded,
      length: Int32Array.of(this.length),
      last: Int32Array.of(ids.length - 1),
      ...more,
      ...this.#cache,
    });
    const { keyHeads, headWidth } = c;
    for (const [name, rows] of Object.entries(this.#cache)) {
      const made = out[`new/${name}`] as Float32Array;
      for (let head = 0; head < keyHeads; head++) {
        const from = head * count * headWidth;
        rows.set(made.subarray(from, from + ids.length * headWidth), (head * this.capacity + this.length) * headWidth);
      }
    }
    this.length += ids.length;
    return out.logits.slice() as Float32Array<ArrayBuffer>;
  }
}

// The tokenizer of a language model from its folder as published: tokenizer.json by `@huggingface/tokenizers`, and the chat
// template beside it by `@huggingface/jinja`, set up as transformers does. CLIP's and SigLIP's are text-tokenizer.ts.

import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import { Environment, Interpreter, Template } from '@huggingface/jinja';
import { Tokenizer } from '@huggingface/tokenizers';
import { z } from 'zod';
import { readConfig } from './config.ts';
import { readJsonFile, readTextFile } from './json-file.ts';

export type ChatPart = { type: 'image' } | { type: 'text'; text: string };

export interface ChatMessage {
  role: 'system' | 'user' | 'assistant';
  /** A list where there are pictures. */
  content: string | ChatPart[];
}

export interface ChatTokenizer {
  /** Ids of a text as it stands; `special` puts the tokens around it that the model begins and ends texts with. */
  encode(text: string, options?: { special?: boolean }): number[];
  /** The text of ids, special tokens left out. */
  decode(ids: readonly number[]): string;
  /** Id of a token by its own text, such as `</s>`. */
  idOf(token: string): number | undefined;
  /** A token's own text by its id. */
  textOf(id: number): string | undefined;
  /** Ids of every one token that reads as exactly this text. */
  singles(text: string): number[];
  /** Whether the folder brings a chat template. */
  hasTemplate: boolean;
  /** What the model reads for a conversation, up to where it is to answer. Throws a FoveaError without a template. */
  render(messages: readonly ChatMessage[]): string;
  /** Token that begins texts, as text. */
  begin: string | null;
  /** Ids after which an answer is over. */
  ends: ReadonlySet<number>;
}

/** The largest vocabularies in use take 35 MB. */
const LARGEST = 128 * 2 ** 20;
const LONGEST_TEMPLATE = 2 ** 20;
const MOST_RANGE = 100_000;

const token = z.union([z.string(), z.object({ content: z.string() }).transform(({ content }) => content)]);
const template = z.union([z.string(), z.array(z.object({ name: z.string(), template: z.string() }))]);
const settings = z.object({
  bos_token: token.nullish(),
  eos_token: token.nullish(),
  pad_token: token.nullish(),
  unk_token: token.nullish(),
  chat_template: template.nullish(),
  clean_up_tokenization_spaces: z.boolean().nullish(),
});
type Settings = z.infer<typeof settings>;

const ids = z.union([z.int(), z.array(z.int())]).nullish();
const endings = z.object({ eos_token_id: ids, text_config: z.object({ eos_token_id: ids }).nullish() });

const stage = z.looseObject({ type: z.string() }).nullable().default(null);
const definition = z.looseObject({
  added_tokens: z.array(z.looseObject({ id: z.int().nonnegative(), content: z.string() })).default([]),
  normalizer: stage,
  pre_tokenizer: stage,
  post_processor: stage,
  decoder: z
    .looseObject({ type: z.string(), decoders: z.array(z.looseObject({ type: z.string() })).optional() })
    .nullable()
    .default(null),
  model: z.looseObject({ type: z.enum(['BPE', 'Unigram']), byte_fallback: z.boolean().nullish() }),
});

/** The files that {@link readChatTokenizer} reads where they are, for hashing. */
export const CHAT_FILES = [
  ...['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'generation_config.json', 'config.json'],
  ...['chat_template.jinja', 'chat_template.json'],
];

/** The tokenizer in a folder. Throws a {@link FoveaError} where its files are missing, are no JSON, or cannot be done. */
export function readChatTokenizer(folder: string): ChatTokenizer {
  const config = readSettings(folder);
  const found = read(definition, folder, 'tokenizer.json');
  if (!found)
    throw new FoveaError(
      `The folder "${folder}" has no tokenizer.json, by which its language model reads; save one with transformers (AutoTokenizer.from_pretrained(…).save_pretrained(…)).`,
    );
  const tokenizer = build(found, config, folder);
  const idOf = (text: string) => tokenizer.token_to_id(text);
  const chat = templateOf(folder, config);
  const byText = new Map<string, number[]>();
  // A token's own text, whatever marks its spaces.
  for (const [piece, id] of tokenizer.get_vocab(false)) {
    if (piece === undefined) continue;
    const text = piece.replace(/^[\u2581\u0120]/, ' ');
    byText.set(text, [...(byText.get(text) ?? []), id]);
  }
  return {
    encode: (text, { special = false } = {}) => tokenizer.encode(text, { add_special_tokens: special }).ids,
    decode: (list) =>
      list.length === 0
        ? ''
        : tokenizer.decode([...list], {
            skip_special_tokens: true,
            clean_up_tokenization_spaces: config.clean_up_tokenization_spaces ?? false,
          }),
    idOf,
    textOf: (id) => tokenizer.id_to_token(id),
    singles: (text) => byText.get(text) ?? [],
    hasTemplate: chat !== null,
    render(messages) {
      if (chat === null)
        throw new FoveaError(
          `The tokenizer in "${folder}" has no chat template; put chat_template.jinja beside it, or ask without one.`,
        );
      return rendered(chat, messages, config, folder);
    },
    begin: config.bos_token ?? null,
    ends: endsOf(folder, config, idOf),
  };
}

function build(found: z.infer<typeof definition>, config: Settings, folder: string): Tokenizer {
  try {
    const tokenizer = new Tokenizer(found, { eos_token: config.eos_token ?? undefined });
    const { decoders = [] } = (tokenizer.decoder ?? {}) as { decoders?: object[] };
    for (const [i, { type }] of (found.decoder?.decoders ?? []).entries())
      if (type === 'ByteFallback') decoders[i] = STRICT_BYTES;
    return tokenizer;
  } catch (error) {
    throw new FoveaError(
      `The tokenizer in "${folder}" cannot be built (${(error as Error).message}); take its files anew from where the model was published.`,
    );
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Bytes that spell no character come out as one � each, as from Rust's tokenizers; the package joins some, and loses U+FEFF. */
const STRICT_BYTES = {
  decode_chain(tokens: string[]): string[] {
    const out: string[] = [];
    for (let at = 0; at < tokens.length; ) {
      const end = tokens.findIndex((token, i) => i >= at && !BYTE.test(token));
      const bytes = tokens
        .slice(at, end < 0 ? tokens.length : end)
        .map((token) => Number.parseInt(token.slice(3, 5), 16));
      out.push(...spelt(bytes));
      at += bytes.length;
      if (at < tokens.length) out.push(tokens[at++]);
    }
    return out;
  },
};
const BYTE = /^<0x[0-9A-F]{2}>$/;

function spelt(bytes: number[]): string[] {
  if (bytes.length === 0) return [];
  try {
    return [utf8.decode(Uint8Array.from(bytes))];
  } catch {
    return bytes.map(() => '\ufffd');
  }
}

/** What tokenizer_config.json says, and special_tokens_map.json where that is silent. */
function readSettings(folder: string): Settings {
  const parts = ['special_tokens_map.json', 'tokenizer_config.json'].map((name): Settings => {
    const said = read(settings, folder, name) ?? {};
    return Object.fromEntries(Object.entries(said).filter(([, value]) => value != null));
  });
  return Object.assign({}, ...parts);
}

/** As transformers looks for it: a file of its own, the processor's, the tokenizer's. Of several, the default. */
function templateOf(folder: string, config: Settings): Template | null {
  const file = path.join(folder, 'chat_template.jinja');
  const own = readTextFile(file, { ...limits(file), most: LONGEST_TEMPLATE });
  const processors = read(z.object({ chat_template: template.nullish() }), folder, 'chat_template.json')?.chat_template;
  const said = own ?? processors ?? config.chat_template;
  const text = Array.isArray(said) ? said.find(({ name }) => name === 'default')?.template : said;
  if (text == null) return null;
  try {
    return new Template(text);
  } catch (error) {
    throw new FoveaError(
      `The chat template in "${folder}" cannot be read (${(error as Error).message}); mend it, or take it anew from where the model was published.`,
    );
  }
}

/** What a template may use; no clock (`strftime_now`), so one that would name today's date names the one that it holds. */
const GLOBALS = {
  ...{ true: true, false: false, none: null, True: true, False: false, None: null },
  raise_exception: (message: unknown): never => {
    throw new Error(String(message));
  },
  range: (from: number, to?: number, step = 1): number[] => {
    const [start, end] = typeof to === 'number' ? [from, to] : [0, from];
    const count = Math.max(0, Math.ceil((end - start) / step));
    if (!(count <= MOST_RANGE)) throw new Error(`range of ${count} numbers`);
    return Array.from({ length: count }, (_, i) => start + i * step);
  },
};

function rendered(chat: Template, messages: readonly ChatMessage[], config: Settings, folder: string): string {
  const { bos_token = '', eos_token = '', pad_token = '', unk_token = '' } = config;
  const given = { messages, add_generation_prompt: true, bos_token, eos_token, pad_token, unk_token };
  const environment = new Environment();
  for (const [name, value] of Object.entries({ ...GLOBALS, ...given })) environment.set(name, value);
  try {
    return String(new Interpreter(environment).run(chat.parsed).value);
  } catch (error) {
    throw new FoveaError(
      `The chat template in "${folder}" cannot be filled in (${(error as Error).message}); mend it, or ask otherwise.`,
    );
  }
}

function endsOf(folder: string, config: Settings, idOf: (text: string) => number | undefined): Set<number> {
  const said = ['generation_config.json', 'config.json'].map((name) => read(endings, folder, name));
  const listed = said.flatMap((each) => [each?.eos_token_id ?? [], each?.text_config?.eos_token_id ?? []].flat());
  const own = config.eos_token == null ? undefined : idOf(config.eos_token);
  return new Set(own === undefined ? listed : [...listed, own]);
}

const limits = (file: string) => ({
  most: LARGEST,
  kind: 'tokenizer',
  fail: (why: string): never => {
    throw new FoveaError(`The file ${file} ${why}; take it anew from its source.`);
  },
});

/** A JSON file of the folder as its schema reads it; undefined where there is none. */
function read<T>(schema: z.ZodType<T>, folder: string, name: string): T | undefined {
  const file = path.join(folder, name);
  const json = readJsonFile(file, limits(file));
  return json === undefined ? undefined : readConfig(schema, json, file);
}

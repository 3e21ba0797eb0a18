// The tokenizers of CLIP and SigLIP from a model's folder as published: tokenizer.json beside tokenizer_config.json, or the
// vocab.json and merges.txt of older CLIPs. `@huggingface/tokenizers` splits and merges; here is what transformers adds to
// it: cutting with the end of text kept, padding, and SigLIP's own cleaning of the text. The bags of words that the small
// built-in CLIP reads are tokenizer.ts.

import path from 'node:path';
import { FoveaError } from '@fovea/artifacts';
import { Tokenizer } from '@huggingface/tokenizers';
import { z } from 'zod';
import { readConfig } from './config.ts';
import { readJsonFile, readTextFile } from './json-file.ts';

export interface TextTokenizer {
  /** Ids of texts, row by row, each `length` long: cut with the end of text kept, or padded as the model was trained. */
  encode(texts: readonly string[], length: number): Int32Array;
}

/** The largest vocabularies in use take 35 MB. */
const LARGEST = 128 * 2 ** 20;

const token = z.union([z.string(), z.object({ content: z.string() }).transform(({ content }) => content)]);

const settings = z.object({
  tokenizer_class: z.string().nullish(),
  bos_token: token.nullish(),
  eos_token: token.nullish(),
  pad_token: token.nullish(),
  unk_token: token.nullish(),
  padding_side: z.literal('right').nullish(),
  do_lower_case: z.boolean().nullish(),
});

const step = z.looseObject({ type: z.string() });
const stages = z.looseObject({ type: z.string(), normalizers: z.array(step).optional() });

const definition = z.looseObject({
  added_tokens: z.array(z.looseObject({ id: z.int().nonnegative(), content: z.string() })),
  normalizer: stages.nullable().default(null),
  pre_tokenizer: step.nullable().default(null),
  post_processor: step.nullable().default(null),
  decoder: step.nullable().default(null),
  model: z.looseObject({ type: z.enum(['BPE', 'Unigram']) }),
});

type Settings = z.infer<typeof settings>;
type Definition = z.infer<typeof definition>;

/**
 * The tokenizer in a folder. Throws a {@link FoveaError} where its files are missing, are no JSON, or describe what we
 * cannot do.
 */
export function readTokenizer(folder: string): TextTokenizer {
  const config = readSettings(folder);
  const isSiglip = /^SiglipTokenizer/.test(config.tokenizer_class ?? '');
  const end = config.eos_token ?? (isSiglip ? '</s>' : '<|endoftext|>');
  const padding = config.pad_token ?? end;
  const found = read(definition, path.join(folder, 'tokenizer.json')) ?? clipDefinition(folder, config);
  const tokenizer = build(
    isSiglip ? siglipDefinition(found, config.do_lower_case ?? true) : lowerPlainly(found),
    config,
    folder,
  );
  const idOf = (text: string): number => {
    const id = tokenizer.token_to_id(text);
    if (id !== undefined) return id;
    throw new FoveaError(`The tokenizer in ${folder} has no token ${text}, which it ends or pads texts with.`);
  };
  const [endId, padId] = [idOf(end), idOf(padding)];
  const isEnded = tokenizer.encode('').ids.at(-1) === endId;
  const cut = (ids: number[], length: number) =>
    isEnded ? [...ids.slice(0, length - 1), endId] : ids.slice(0, length);
  return {
    encode(texts, length) {
      const ids = new Int32Array(texts.length * length).fill(padId);
      texts.forEach((text, row) => {
        const all = tokenizer.encode(text).ids;
        ids.set(all.length > length ? cut(all, length) : all, row * length);
      });
      return ids;
    },
  };
}

/** What tokenizer_config.json says, and special_tokens_map.json where that is silent. */
function readSettings(folder: string): Settings {
  const parts = ['special_tokens_map.json', 'tokenizer_config.json'].map((name): Settings => {
    const said = read(settings, path.join(folder, name)) ?? {};
    return Object.fromEntries(Object.entries(said).filter(([, value]) => value != null));
  });
  return Object.assign({}, ...parts);
}

function build(found: Definition, config: Settings, folder: string): Tokenizer {
  try {
    return new Tokenizer(found, { eos_token: config.eos_token ?? undefined });
  } catch (error) {
    throw new FoveaError(
      `The tokenizer in ${folder} cannot be built (${(error as Error).message}); take its files anew from where the model was published.`,
    );
  }
}

const limits = (file: string) => ({
  most: LARGEST,
  kind: 'tokenizer',
  fail: (why: string): never => {
    throw new FoveaError(`The file ${file} ${why}; take it anew from its source.`);
  },
});

/** A JSON file as its schema reads it; undefined where there is none. */
function read<T>(schema: z.ZodType<T>, file: string): T | undefined {
  const json = readJsonFile(file, limits(file));
  return json === undefined ? undefined : readConfig(schema, json, file);
}

/** CLIP's byte-level BPE as transformers sets it up around a vocab.json and a merges.txt. */
function clipDefinition(folder: string, config: Settings): Definition {
  const [vocabFile, mergesFile] = ['vocab.json', 'merges.txt'].map((name) => path.join(folder, name));
  const vocab = read(z.record(z.string(), z.int().nonnegative()), vocabFile);
  const lines = readTextFile(mergesFile, limits(mergesFile))?.split('\n');
  if (!vocab || !lines)
    throw new FoveaError(
      `The folder ${folder} has no tokenizer: it needs tokenizer.json, or vocab.json and merges.txt, as published with the model (a spiece.model alone is not read).`,
    );
  const merges = lines
    .filter((line) => line !== '' && !line.startsWith('#version'))
    .map((line) => line.trimEnd().split(' '));
  const begin = config.bos_token ?? '<|startoftext|>';
  const end = config.eos_token ?? '<|endoftext|>';
  const special = (content: string) => {
    const id = vocab[content];
    if (id === undefined)
      throw new FoveaError(`The file ${vocabFile} has no ${content}, which texts begin or end with; take it anew.`);
    return { id, content, special: true, normalized: false };
  };
  const json = {
    added_tokens: [special(begin), special(end)],
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'NFC' },
        { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' },
        { type: 'Lowercase' },
      ],
    },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: CLIP_WORDS }, behavior: 'Removed', invert: true },
        { type: 'ByteLevel', add_prefix_space: false },
      ],
    },
    post_processor: { type: 'RobertaProcessing', cls: [begin, vocab[begin]], sep: [end, vocab[end]] },
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', vocab, merges, unk_token: config.unk_token ?? end, end_of_word_suffix: '</w>' },
  };
  return readConfig(definition, json, vocabFile);
}

const CLIP_WORDS =
  "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";

/** Rust's tokenizers take a capital sigma to σ everywhere, JavaScript to ς at a word's end. */
function lowerPlainly(found: Definition): Definition {
  const { normalizer } = found;
  if (!normalizer) return found;
  const sigma = { type: 'Replace', pattern: { String: 'Σ' }, content: 'σ' };
  const steps = normalizer.normalizers ?? [normalizer];
  const normalizers = steps.flatMap((each) => (each.type === 'Lowercase' ? [sigma, each] : [each]));
  return { ...found, normalizer: { type: 'Sequence', normalizers } };
}

/**
 * tokenizer.json with what transformers' SiglipTokenizer does to a text, whatever the file says of it: lower case, no ASCII
 * punctuation, single spaces. The pieces and the character map are the file's.
 */
function siglipDefinition(found: Definition, lowerCase: boolean): Definition {
  const given = found.normalizer ? (found.normalizer.normalizers ?? [found.normalizer]) : [];
  const replace = (pattern: string, content: string) => ({ type: 'Replace', pattern: { Regex: pattern }, content });
  // The package stands in for every character map with one that loses emoji's joiner, which sentencepiece keeps.
  const [hide, show] = [replace('\u200d', '\ue00d'), replace('\ue00d', '\u200d')];
  return {
    ...found,
    normalizer: {
      type: 'Sequence',
      normalizers: [
        ...(lowerCase ? [{ type: 'Lowercase' }] : []),
        replace('[!-/:-@\\[-`{-~]', ''),
        ...given.flatMap((each) => (each.type === 'Precompiled' ? [hide, each, show] : [])),
        replace('\\s+', ' '),
        { type: 'Strip', strip_left: true, strip_right: true },
      ],
    },
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first' },
  };
}

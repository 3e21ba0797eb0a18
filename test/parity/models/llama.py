"""Writes the fixtures of llama.test.ts: SmolLM2's shape, Llama 3.1's rotary scaling, Vicuna's heads, Qwen2's biases."""

import torch
from common import draw, settle, write
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

TINY = dict(vocab_size=19, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64)
LLAMA3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)


def ids(rows, length, vocabulary=19):
    return torch.randint(0, vocabulary, (rows, length), generator=torch.Generator().manual_seed(7))


def decoder(name, model, tokens):
    settle(model)
    forward = lambda ids: {"logits": model(input_ids=ids.long(), use_cache=False).logits}
    write(name, model, {"ids": tokens}, forward, model.config.to_dict())


decoder("llama-tied", LlamaForCausalLM(LlamaConfig(**TINY, tie_word_embeddings=True, rms_norm_eps=1e-5)), ids(2, 9))
decoder("llama-scaled", LlamaForCausalLM(LlamaConfig(**TINY, rope_parameters=LLAMA3)), ids(1, 40))
decoder("llama-heads", LlamaForCausalLM(LlamaConfig(**TINY | dict(num_key_value_heads=4, num_hidden_layers=1, head_dim=6), attention_bias=True, mlp_bias=True)), ids(1, 5))
decoder("qwen2", Qwen2ForCausalLM(Qwen2Config(**TINY | dict(num_hidden_layers=1))), ids(1, 7))

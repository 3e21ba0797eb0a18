"""Writes the fixtures of text.test.ts: CLIP's text tower under both rules of pooling, alone and projected, and SigLIP's."""

import torch
from common import draw, settle, write
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, SiglipTextConfig, SiglipTextModel

SMALL = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, vocab_size=20, max_position_embeddings=7)
TINY = SMALL | dict(hidden_size=8, num_hidden_layers=1)
# 19 is the highest id; 17 stands in two rows, in one of them several times, and in the last not at all.
IDS = torch.tensor([[18, 3, 4, 17, 5, 19], [18, 17, 17, 19, 17, 17], [18, 4, 4, 6, 7, 8]])


def states(tower):
    hidden = []
    tower.final_layer_norm.register_forward_hook(lambda module, inputs, output: hidden.append(inputs[0]))
    return lambda out: {"hidden": hidden[-1], "normed": out.last_hidden_state, "pooled": out.pooler_output}


def clip(name, eos, **config):
    model = settle(CLIPTextModelWithProjection(CLIPTextConfig(**config, projection_dim=12, bos_token_id=18, eos_token_id=eos)))
    read = states(model.text_model)

    def forward(ids):
        found = read(model.text_model(input_ids=ids))
        return found | {"embeds": model.text_projection(found["pooled"])}

    about = model.config.to_dict() | {"architectures": [type(model).__name__]}
    write(name, model, {"ids": IDS}, forward, about)


def alone(name, model):
    settle(model)
    read = states(model)

    def forward(ids):
        found = read(model(input_ids=ids))
        return found | {"embeds": found["pooled"].clone()}

    # Published files have the prefix that transformers 5 takes away on loading.
    named = torch.nn.ModuleDict({"text_model": model})
    about = model.config.to_dict() | {"architectures": [type(model).__name__]}
    write(name, named, {"ids": IDS}, forward, about)


clip("clip-text", 17, **SMALL)
clip("clip-text-legacy", 2, **TINY | dict(hidden_act="gelu", layer_norm_eps=1e-3))
# As Stable Diffusion's.
alone("clip-text-bare", CLIPTextModel(CLIPTextConfig(**TINY, eos_token_id=2)))
alone("siglip-text", SiglipTextModel(SiglipTextConfig(**TINY | dict(num_hidden_layers=2), projection_size=12)))

"""Writes the fixtures of siglip.test.ts."""

import torch
from common import draw, settle, write
from transformers import SiglipVisionConfig, SiglipVisionModel

SMALL = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=14, patch_size=4)
TINY = SMALL | dict(hidden_size=8, num_hidden_layers=1, image_size=6, patch_size=2)


def tower(name, pixels, interpolate=False, **config):
    model = SiglipVisionModel(SiglipVisionConfig(**config))
    settle(model)
    norm = model.post_layernorm
    hidden = []
    norm.register_forward_hook(lambda module, inputs, output: hidden.append(inputs[0]))

    def forward(pixels):
        out = model(pixels, interpolate_pos_encoding=interpolate)
        pooled = out.pooler_output
        return {"hidden": hidden[-1], "normed": out.last_hidden_state, "pooled": pooled, "embeds": pooled.clone()}

    # Published files have the prefix that transformers 5 takes away on loading.
    named = torch.nn.ModuleDict({"vision_model": model})
    write(name, named, {"pixels": pixels}, forward, model.config.to_dict())


# As SO400M/14 at 384: the patches do not divide the picture.
tower("siglip", draw("pixels", (2, 3, 14, 14)), **SMALL)
tower("siglip-wide", draw("pixels", (1, 3, 4, 11)), interpolate=True, **TINY)
tower("siglip-large", draw("pixels", (1, 3, 10, 10)), interpolate=True, **TINY)

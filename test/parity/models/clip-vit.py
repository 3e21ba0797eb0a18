"""Writes the fixtures of clip-vit.test.ts: OpenAI's tower, LAION's, one without its projection."""

import torch
from common import draw, settle, write
from transformers import CLIPVisionConfig, CLIPVisionModel, CLIPVisionModelWithProjection

SMALL = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, projection_dim=12, image_size=12, patch_size=4)
TINY = SMALL | dict(hidden_size=8, num_hidden_layers=1, image_size=6, patch_size=2)


def outputs(vision, projection, pixels, interpolate=False):
    out = vision(pixels, interpolate_pos_encoding=interpolate)
    hidden, pooled = out.last_hidden_state, out.pooler_output
    return {"hidden": hidden, "normed": vision.post_layernorm(hidden), "pooled": pooled, "embeds": projection(pooled)}


def tower(name, pixels, interpolate=False, **config):
    model = CLIPVisionModelWithProjection(CLIPVisionConfig(**config))
    settle(model)
    forward = lambda pixels: outputs(model.vision_model, model.visual_projection, pixels, interpolate)
    write(name, model, {"pixels": pixels}, forward, model.config.to_dict() | {"architectures": [type(model).__name__]})


tower("clip-vit-quick-gelu", draw("pixels", (2, 3, 12, 12)), **SMALL)
# As LAION's H/14 and DFN's; a picture of 7 pixels leaves one unseen.
tower("clip-vit-gelu", draw("pixels", (2, 3, 7, 7)), **TINY | dict(hidden_act="gelu", image_size=7, layer_norm_eps=1e-3))
tower("clip-vit-wide", draw("pixels", (1, 3, 4, 11)), interpolate=True, **TINY)
tower("clip-vit-large", draw("pixels", (1, 3, 10, 10)), interpolate=True, **TINY)

bare = CLIPVisionModel(CLIPVisionConfig(**TINY))
settle(bare)
about = bare.config.to_dict() | {"architectures": ["CLIPVisionModel"]}
# Published files have the prefix that transformers 5 takes away on loading.
named = torch.nn.ModuleDict({"vision_model": bare})
write("clip-vit-bare", named, {"pixels": draw("pixels", (1, 3, 6, 6))}, lambda pixels: outputs(bare, lambda x: x, pixels), about)

"""Writes the fixtures of clip-vit.test.ts: OpenAI's tower, LAION's, one without its projection."""

import torch
from common import draw, settle, write
from transformers import CLIPVisionConfig, CLIPVisionModel, CLIPVisionModelWithProjection

SMALL = dict(hidden_size=16, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2, projection_dim=12, image_size=12, patch_size=4)


def outputs(vision, projection, pixels, interpolate=False):
    out = vision(pixels, interpolate_pos_encoding=interpolate)
    hidden, pooled = out.last_hidden_state, out.pooler_output
    return {"hidden": hidden, "normed": vision.post_layernorm(hidden), "pooled": pooled, "embeds": projection(pooled)}


def tower(name, pixels, interpolate=False, **config):
    model = CLIPVisionModelWithProjection(CLIPVisionConfig(**SMALL | config))
    settle(model)
    forward = lambda pixels: outputs(model.vision_model, model.visual_projection, pixels, interpolate)
    write(name, model, {"pixels": pixels}, forward, model.config.to_dict() | {"architectures": [type(model).__name__]})


tower("clip-vit-quick-gelu", draw("pixels", (2, 3, 12, 12)))
# As LAION's H/14 and DFN's; 14 pixels leave two unseen.
tower("clip-vit-gelu", draw("pixels", (2, 3, 14, 14)), interpolate=True, hidden_act="gelu", image_size=14, layer_norm_eps=1e-6)
tower("clip-vit-wide", draw("pixels", (1, 3, 8, 21)), interpolate=True)
tower("clip-vit-large", draw("pixels", (1, 3, 20, 20)), interpolate=True, num_hidden_layers=1)

bare = CLIPVisionModel(CLIPVisionConfig(**SMALL | dict(num_hidden_layers=1)))
settle(bare)
about = bare.config.to_dict() | {"architectures": ["CLIPVisionModel"]}
# Published files have the prefix that transformers 5 takes away on loading.
named = torch.nn.ModuleDict({"vision_model": bare})
write("clip-vit-bare", named, {"pixels": draw("pixels", (1, 3, 12, 12))}, lambda pixels: outputs(bare, lambda x: x, pixels), about)

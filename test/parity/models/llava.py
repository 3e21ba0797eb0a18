"""Writes the fixtures of llava.test.ts: patches of the last layer but one, and all tokens of the last."""

import torch
from common import draw, settle, write
from transformers import LlavaConfig, LlavaForConditionalGeneration

VISION = dict(model_type="clip_vision_model", hidden_size=8, intermediate_size=12, num_hidden_layers=3, num_attention_heads=2, projection_dim=12, image_size=8, patch_size=4)
TEXT = dict(model_type="llama", vocab_size=19, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64)
IMAGE = 18


def published(name):
    """As LLaVA 1.5's files on the hub, and those that save_pretrained writes."""
    if name == "lm_head.weight":
        return "language_model.lm_head.weight"
    name = name.replace("model.language_model.", "language_model.model.").replace("model.vision_tower.", "vision_tower.vision_model.")
    return name.replace("model.multi_modal_projector.", "multi_modal_projector.")


class Published(torch.nn.Module):
    """The network under the names of its files."""

    def __init__(self, model):
        super().__init__()
        self.inner = model

    def named_parameters(self, *args, **kwargs):
        return [(published(name), value) for name, value in self.inner.named_parameters()]


def llava(name, tokens, **config):
    model = Published(LlavaForConditionalGeneration(LlavaConfig(vision_config=VISION, text_config=TEXT, image_token_index=IMAGE, **config)))
    settle(model)
    ids = torch.tensor([[1, 4] + [IMAGE] * tokens + [7, 2, 9], [3] + [IMAGE] * tokens + [5, 5, 11, 6]])

    def forward(ids, pixels):
        out = model.inner(input_ids=ids.long(), pixel_values=pixels, use_cache=False)
        return {"tokens": out.image_hidden_states.reshape(2, tokens, -1), "logits": out.logits}

    write(name, model, {"ids": ids, "pixels": draw("pixels", (2, 3, 8, 8))}, forward, model.inner.config.to_dict())


llava("llava", 4)
llava("llava-full", 5, vision_feature_layer=-1, vision_feature_select_strategy="full", multimodal_projector_bias=False, projector_hidden_act="relu")

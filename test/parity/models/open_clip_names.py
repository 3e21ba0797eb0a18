"""A small CLIP of open_clip and the same network as transformers' CLIPModel, checked to agree: python open_clip_names.py"""

import json

import torch
from common import FIXTURES, draw, settle
from open_clip.model import CLIP
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

vision = {"image_size": 16, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8, "mlp_ratio": 2.0}
text = {"context_length": 8, "vocab_size": 20, "width": 12, "heads": 3, "layers": 1}
source = settle(CLIP(embed_dim=12, quick_gelu=True, vision_cfg=vision, text_cfg=text))

shared = {"hidden_act": "quick_gelu", "projection_dim": 12}
config = CLIPConfig(
    projection_dim=12,
    vision_config=shared | {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16, "patch_size": 8},
    text_config=shared | {"hidden_size": 12, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 3, "max_position_embeddings": 8, "vocab_size": 20, "bos_token_id": 18, "eos_token_id": 19},
)
target = CLIPModel(config).eval().double()


def copy(to, weight, bias=None):
    to.weight.data.copy_(weight)
    if bias is not None:
        to.bias.data.copy_(bias)


def copy_layers(blocks, layers):
    for block, layer in zip(blocks, layers, strict=True):
        attention = layer.self_attn
        for i, to in enumerate((attention.q_proj, attention.k_proj, attention.v_proj)):
            copy(to, block.attn.in_proj_weight.chunk(3)[i], block.attn.in_proj_bias.chunk(3)[i])
        pairs = (block.attn.out_proj, attention.out_proj), (block.ln_1, layer.layer_norm1), (block.ln_2, layer.layer_norm2)
        for a, b in (*pairs, (block.mlp.c_fc, layer.mlp.fc1), (block.mlp.c_proj, layer.mlp.fc2)):
            copy(b, a.weight, a.bias)


image, words = target.vision_model, target.text_model
image.embeddings.class_embedding.data.copy_(source.visual.class_embedding)
copy(image.embeddings.patch_embedding, source.visual.conv1.weight)
copy(image.embeddings.position_embedding, source.visual.positional_embedding)
copy(image.pre_layrnorm, source.visual.ln_pre.weight, source.visual.ln_pre.bias)
copy(image.post_layernorm, source.visual.ln_post.weight, source.visual.ln_post.bias)
copy(target.visual_projection, source.visual.proj.T)
copy(words.embeddings.token_embedding, source.token_embedding.weight)
copy(words.embeddings.position_embedding, source.positional_embedding)
copy(words.final_layer_norm, source.ln_final.weight, source.ln_final.bias)
copy(target.text_projection, source.text_projection.T)
target.logit_scale.data.copy_(source.logit_scale)
copy_layers(source.visual.transformer.resblocks, image.encoder.layers)
copy_layers(source.transformer.resblocks, words.encoder.layers)

pixels = draw("pixels", (2, 3, 16, 16)).double()
ids = torch.tensor([[18, 3, 4, 19, 0, 0, 0, 0], [18, 7, 1, 2, 5, 6, 9, 19]])
with torch.no_grad():
    ours = target(input_ids=ids, pixel_values=pixels).logits_per_image
    theirs = source.get_logits(pixels, ids)[0]
torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)

tensors = {f"open_clip/{k}": v.float() for k, v in source.state_dict().items()}
tensors |= {f"clip/{k}": v.float() for k, v in target.state_dict().items()}
model = {"embed_dim": 12, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
about = {"open_clip": {"model_cfg": model}, "clip": config.to_dict()}
path = FIXTURES / "open-clip-names.safetensors"
save_file({k: v.contiguous().clone() for k, v in tensors.items()}, path, metadata={"about": json.dumps(about)})
print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes")

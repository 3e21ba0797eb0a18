"""DiTs of diffusers, steered by class labels (at the size they were made for) and by a vector (at another)."""

import torch
from common import draw, settle, write
from diffusers import DiTTransformer2DModel


def make(**options):
    return settle(
        DiTTransformer2DModel(
            num_attention_heads=2,
            in_channels=4,
            num_layers=2,
            sample_size=8,
            num_embeds_ada_norm=5,
            norm_num_groups=4,
            **options,
        )
    )


t = torch.tensor([17.0, 803.0])

labelled = make(attention_head_dim=6, out_channels=8)
write(
    "dit-label",
    labelled,
    {"latents": draw("latents", (2, 4, 8, 8)), "t": t, "label": torch.tensor([5, 2])},
    lambda latents, t, label: {"prediction": labelled(latents, timestep=t, class_labels=label).sample},
    dict(labelled.config),
)

steered = make(attention_head_dim=4, attention_bias=False, activation_fn="gelu", norm_eps=1e-3)
for block in steered.transformer_blocks:
    block.norm1.emb.class_embedder = torch.nn.Identity()
write(
    "dit-vector",
    steered,
    {"latents": draw("latents", (2, 4, 4, 4)), "t": t, "vector": draw("vector", (2, 8))},
    lambda latents, t, vector: {"prediction": steered(latents, timestep=t, class_labels=vector).sample},
    dict(steered.config),
)

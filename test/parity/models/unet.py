"""Writes unet-*.safetensors: U-Nets of diffusers as Stable Diffusion 1 and 2 and Stable unCLIP have them, made small.

Run by hand when a network of ours learns something: OMP_NUM_THREADS=1 python test/parity/models/unet.py
"""

import torch
from diffusers import UNet2DConditionModel

from common import draw, settle, write

CROSS = 6
NETWORKS = {
    # Convolutions around the transformers, one number of heads, two layers a resolution, an odd side.
    "sd1": {
        "config": {
            "block_out_channels": [4, 8],
            "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
            "layers_per_block": 2,
            "attention_head_dim": 2,
        },
        "sides": (7, 6),
        "timesteps": [999, 3],
    },
    # Linear layers around the transformers, heads by resolution, residuals added as a connector does.
    "sd2": {
        "config": {
            "block_out_channels": [4, 8, 4],
            "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
            "layers_per_block": 1,
            "attention_head_dim": [1, 4, 2],
            "use_linear_projection": True,
            "upcast_attention": True,
        },
        "sides": (8, 8),
        "timesteps": [500, 20],
        "residuals": True,
    },
    # A class embedding; the sines first and samples in [0, 1], which diffusers allows too; a fractional time.
    "unclip": {
        "config": {
            "block_out_channels": [4, 6],
            "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
            "layers_per_block": 1,
            "transformer_layers_per_block": 2,
            "attention_head_dim": [1, 2],
            "use_linear_projection": True,
            "class_embed_type": "projection",
            "projection_class_embeddings_input_dim": 5,
            "center_input_sample": True,
            "flip_sin_to_cos": False,
            "freq_shift": 1,
        },
        "sides": (5, 6),
        "timesteps": [250.5, 77.25],
    },
}


def skip_shapes(model, sides):
    """Of the feature maps from down to up and of the middle, as the model itself makes them."""
    shapes = [(model.config.block_out_channels[0], *sides)]
    hooks = []
    for block in model.down_blocks:
        hooks.append(block.register_forward_hook(lambda *given: shapes.extend(y.shape[1:] for y in given[2][1])))
    hooks.append(model.mid_block.register_forward_hook(lambda *given: shapes.append(given[2].shape[1:])))
    model(torch.zeros(1, 4, *sides).double(), 0, torch.zeros(1, 1, CROSS).double())
    for hook in hooks:
        hook.remove()
    return [list(shape) for shape in shapes]


for name, network in NETWORKS.items():
    sides, timesteps = network["sides"], network["timesteps"]
    model = UNet2DConditionModel(norm_num_groups=2, cross_attention_dim=CROSS, sample_size=8, **network["config"])
    settle(model, 0.2)
    about = {"config": dict(model.config), "timesteps": timesteps}
    batch = len(timesteps)
    inputs = {
        "latents": draw(f"{name}/latents", (batch, 4, *sides)),
        "condition": draw(f"{name}/condition", (batch, 3, CROSS)),
    }
    if "class_embed_type" in network["config"]:
        inputs["classLabels"] = draw(f"{name}/classLabels", (batch, 5))
    if "residuals" in network:
        about["skipShapes"] = skip_shapes(model, sides)
        for i, shape in enumerate(about["skipShapes"]):
            inputs[f"residual{i}"] = draw(f"{name}/residual{i}", (batch, *shape))

    def forward(latents, condition, classLabels=None, **residuals):
        residuals = list(residuals.values())
        sample = model(
            latents,
            torch.tensor(timesteps),
            condition,
            class_labels=classLabels,
            down_block_additional_residuals=tuple(residuals[:-1]) or None,
            mid_block_additional_residual=residuals[-1] if residuals else None,
        ).sample
        return {"sample": sample}

    write(f"unet-{name}", model, inputs, forward, about)

"""CLIP-ConvNeXt of open_clip over timm, small: python convnext.py"""

from unittest import mock

import timm
import torch
from common import draw, settle, write
from open_clip.timm_model import TimmModel

DIMS, DEPTHS = (6, 8, 12, 14), (1, 1, 2, 1)


class Clip(torch.nn.Module):
    def __init__(self, projection, **options):
        super().__init__()
        create = timm.create_model
        small = lambda *args, **kwargs: create(*args, **kwargs, dims=DIMS, depths=DEPTHS)
        with mock.patch("timm.create_model", small):
            self.visual = TimmModel("convnext_base", projection, **options)


def fixture(name, size, projection, proj, bias):
    model = settle(Clip(projection, image_size=size, pool="", proj=proj, proj_bias=bias))
    trunk = model.visual.trunk

    def forward(pixels):
        x, maps = trunk.forward_intermediates(pixels)
        tokens = x.flatten(2).transpose(1, 2)
        hidden = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
        norm = trunk.head.norm
        normed = torch.nn.functional.layer_norm(hidden, (hidden.shape[-1],), norm.weight, norm.bias, norm.eps)
        out = {f"maps.{i}": y for i, y in enumerate(maps)}
        return out | {"hidden": hidden, "normed": normed, "pooled": trunk(pixels), "embeds": model.visual(pixels)}

    vision = {"timm_model_name": "convnext_base", "timm_pool": "", "timm_proj": proj, "timm_proj_bias": bias}
    config = {"model_cfg": {"embed_dim": projection, "vision_cfg": vision | {"image_size": size}}}
    about = {"config": config, "dims": DIMS, "depths": DEPTHS}
    height, width = (size, size) if isinstance(size, int) else size
    write(name, model, {"pixels": draw("pixels", (1, 3, height, width))}, forward, about)


fixture("convnext-linear", 64, 8, "linear", False)
fixture("convnext-mlp", (64, 40), 6, "mlp", True)

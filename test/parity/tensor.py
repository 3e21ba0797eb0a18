"""Writes what PyTorch computes for each function and block of packages/tensor: inputs, outputs and all gradients.

    python test/parity/tensor.py            # needs torch and safetensors; writes test/parity/fixtures/*.safetensors

tensor.test.ts checks the engine against these files without Python. Everything is computed in float64 from float32
inputs and rounded at the end, so the files hold the right answers, not one backend's rounding. The gradients are those
of sum(output * cos(index)). A case is (op, options, inputs, function); its options are those of the TypeScript function.
"""

import json
import math
import zlib
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

FIXTURES = Path(__file__).parent / "fixtures"


class Family:
    """The cases of one file."""

    def __init__(self, name):
        self.name, self.cases, self.tensors = name, [], {}

    def case(self, op, options, inputs, function, label=""):
        """`inputs`: name -> shape (drawn from a normal distribution) or a given tensor (integers: no gradient)."""
        key = f"{len(self.cases):02d}"
        drawn = {name: self.draw(f"{self.name}/{key}/{name}", value) for name, value in inputs.items()}
        wide = {
            name: value.double().requires_grad_() if value.is_floating_point() else value
            for name, value in drawn.items()
        }
        out = function(**wide)
        free = {name: value for name, value in wide.items() if value.requires_grad}
        weights = torch.cos(torch.arange(out.numel(), dtype=torch.float64)).reshape(out.shape)
        if out.is_floating_point() and out.requires_grad:
            grads = torch.autograd.grad((out * weights).sum(), list(free.values()), allow_unused=True)
        else:
            grads = [None] * len(free)
        for name, value in drawn.items():
            stored = value if value.is_floating_point() or value.dtype == torch.bool else value.to(torch.int32)
            self.tensors[f"{key}/in/{name}"] = stored.contiguous()
        self.tensors[f"{key}/out"] = out.detach().to(torch.float32).contiguous()
        for name, grad in zip(free, grads):
            if grad is not None:
                self.tensors[f"{key}/grad/{name}"] = grad.to(torch.float32).contiguous()
        self.cases.append({"key": key, "op": op, "label": label, "options": options, "inputs": list(inputs)})

    @staticmethod
    def draw(name, value):
        if isinstance(value, torch.Tensor):
            return value
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        return torch.randn(value, generator=generator, dtype=torch.float32)

    def write(self):
        FIXTURES.mkdir(exist_ok=True)
        path = FIXTURES / f"{self.name}.safetensors"
        save_file(self.tensors, path, metadata={"cases": json.dumps(self.cases)})
        print(f"{path.name}: {len(self.cases)} cases, {path.stat().st_size} bytes")


def conv():
    f = Family("conv")
    sets = [
        ((2, 3, 7, 6), (4, 3, 3, 3), {}),
        ((2, 3, 7, 6), (4, 3, 3, 3), {"padding": 1}),
        ((1, 3, 7, 6), (4, 3, 3, 2), {"padding": "same", "dilation": 2}),
        ((2, 4, 8, 7), (6, 4, 3, 3), {"stride": 2, "padding": 1}),
        ((1, 4, 9, 8), (6, 2, 3, 2), {"stride": [2, 1], "padding": [1, 0], "groups": 2}),
        ((2, 4, 6, 6), (8, 1, 3, 3), {"padding": 1, "groups": 4}),
        ((2, 5, 4, 4), (6, 5, 1, 1), {}),
        ((2, 3, 8, 8), (5, 3, 4, 4), {"stride": 4}),
        ((1, 17, 5, 5), (18, 17, 3, 3), {"padding": 1}),
    ]
    for x, w, options in sets:
        f.case("conv2d", options, {"x": x, "w": w, "b": w[:1]}, lambda x, w, b, o=options: F.conv2d(x, w, b, **o))
    explicit = {"padding": [1, 0, 2, 1]}
    f.case("conv2d", explicit, {"x": (1, 2, 5, 6), "w": (3, 2, 3, 3), "b": (3,)},
           lambda x, w, b: F.conv2d(F.pad(x, (0, 1, 1, 2)), w, b))
    for x, w, options in [
        ((2, 3, 4, 5), (3, 4, 3, 3), {}),
        ((2, 3, 4, 5), (3, 4, 3, 3), {"stride": 2, "padding": 1, "outputPadding": 1}),
        ((1, 4, 4, 3), (4, 2, 3, 2), {"stride": [2, 3], "groups": 2, "dilation": [1, 2]}),
        ((1, 3, 4, 4), (3, 2, 2, 2), {"stride": 2}),
    ]:
        names = {"outputPadding": "output_padding"}
        torch_options = {names.get(key, key): value for key, value in options.items()}
        filters = w[1] * options.get("groups", 1)
        f.case("convTranspose2d", options, {"x": x, "w": w, "b": (filters,)},
               lambda x, w, b, o=torch_options: F.conv_transpose2d(x, w, b, **o))
    f.write()


def norm():
    f = Family("norm")
    for shape, groups in [((2, 6, 4, 3), 3), ((3, 4, 5), 1), ((1, 8, 3, 3), 8)]:
        c = shape[1:2]
        f.case("groupNorm", {"groups": groups}, {"x": shape, "gamma": c, "beta": c},
               lambda x, gamma, beta, g=groups: F.group_norm(x, g, gamma, beta))
    for shape in [(3, 5), (2, 3, 8)]:
        d = shape[-1:]
        f.case("layerNorm", {}, {"x": shape, "gamma": d, "beta": d},
               lambda x, gamma, beta, d=d: F.layer_norm(x, d, gamma, beta))
        f.case("rmsNorm", {}, {"x": shape, "gamma": d}, lambda x, gamma, d=d: F.rms_norm(x, d, gamma, 1e-6))
    for shape in [(4, 3), (3, 4, 3, 2)]:
        c = shape[1:2]
        f.case("batchNormTraining", {}, {"x": shape, "gamma": c, "beta": c},
               lambda x, gamma, beta: F.batch_norm(x, None, None, gamma, beta, training=True))
        variance = torch.rand(c, generator=torch.Generator().manual_seed(1)) + 0.5
        f.case("batchNorm", {}, {"x": shape, "gamma": c, "beta": c, "mean": c, "variance": variance},
               lambda x, gamma, beta, mean, variance: F.batch_norm(x, mean.detach(), variance.detach(), gamma, beta))
    f.write()


def activation():
    f = Family("activation")
    f.case("silu", {}, {"x": (4, 9)}, lambda x: F.silu(x))
    f.case("gelu", {"approximate": "none"}, {"x": (4, 9)}, lambda x: F.gelu(x))
    f.case("gelu", {"approximate": "tanh"}, {"x": (4, 9)}, lambda x: F.gelu(x, approximate="tanh"))
    f.case("quickGelu", {}, {"x": (4, 9)}, lambda x: x * torch.sigmoid(1.702 * x))
    f.case("softmax", {}, {"x": (3, 7)}, lambda x: F.softmax(x, -1))
    f.case("logSoftmax", {}, {"x": (3, 7)}, lambda x: F.log_softmax(x, -1))
    f.case("elu", {}, {"x": (4, 5)}, lambda x: F.elu(x))
    f.case("selu", {}, {"x": (4, 5)}, lambda x: F.selu(x))
    labels = torch.tensor([4, 0, 2, 6])
    f.case("crossEntropy", {}, {"x": (4, 7), "labels": labels}, lambda x, labels: F.cross_entropy(x, labels))
    f.write()


def resize():
    f = Family("resize")
    x = (1, 2, 5, 4)
    for mode in ["nearest", "bilinear", "bicubic"]:
        variants = [{"size": [8, 3]}, {"scale": 2}, {"scale": 1.7}, {"scale": [0.5, 1.5]}]
        if mode != "nearest":
            variants += [{"size": [8, 3], "alignCorners": True}, {"size": [3, 9], "antialias": True},
                         {"size": [2, 2], "antialias": True}, {"size": [1, 6], "alignCorners": True}]
        for variant in variants:
            given = {"mode": mode}
            if "alignCorners" in variant:
                given["align_corners"] = True
            if "antialias" in variant:
                given["antialias"] = True
            if "scale" in variant:
                given["scale_factor"] = variant["scale"]
            else:
                given["size"] = variant["size"]
            f.case("interpolate", {"mode": mode, **variant}, {"x": x}, lambda x, g=given: F.interpolate(x, **g))
    f.write()


def pool():
    f = Family("pool")
    x = (2, 2, 7, 6)
    for kernel, options in [(2, {}), (3, {"stride": 2, "padding": 1}), ([2, 3], {"stride": 1})]:
        f.case("maxPool2d", {"kernel": kernel, **options}, {"x": x},
               lambda x, k=kernel, o=options: F.max_pool2d(x, k, **o))
        f.case("avgPool2d", {"kernel": kernel, **options}, {"x": x},
               lambda x, k=kernel, o=options: F.avg_pool2d(x, k, **o))
    f.case("avgPool2d", {"kernel": 3, "padding": 1, "countIncludePad": False}, {"x": x},
           lambda x: F.avg_pool2d(x, 3, padding=1, count_include_pad=False))
    for size in [1, 3, [2, 4]]:
        f.case("adaptiveAvgPool2d", {"size": size}, {"x": x}, lambda x, s=size: F.adaptive_avg_pool2d(x, s))
    f.write()


def select():
    f = Family("select")
    ids = torch.tensor([[2, 0, 2], [4, 1, 2]])
    f.case("embedding", {}, {"weight": (5, 4), "ids": ids}, lambda weight, ids: F.embedding(ids, weight))
    f.case("topK", {"k": 3}, {"x": (3, 7)}, lambda x: torch.topk(x, 3).values)
    f.case("topKIndices", {"k": 3}, {"x": (3, 7)}, lambda x: torch.topk(x, 3).indices)
    f.case("argmax", {"axis": 1}, {"x": (3, 7)}, lambda x: torch.argmax(x, 1))
    for equation, a, b in [("ab,bc->ac", (3, 4), (4, 2)), ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
                           ("bnhd,hdc->bnc", (2, 3, 2, 4), (2, 4, 5)), ("abc,ad->dc", (2, 3, 4), (2, 3))]:
        f.case("einsum", {"equation": equation}, {"a": a, "b": b}, lambda a, b, e=equation: torch.einsum(e, a, b))
    f.case("cumsum", {"axis": 1}, {"x": (3, 5)}, lambda x: torch.cumsum(x, 1))
    mask = torch.tensor([[True, False, True], [False, False, True]])
    f.case("where", {}, {"mask": mask, "a": (2, 3), "b": (2, 3)}, lambda mask, a, b: torch.where(mask, a, b))
    f.case("pad", {"paddings": [[0, 1], [2, 0]], "value": 0.5}, {"x": (2, 3)}, lambda x: F.pad(x, (2, 0, 0, 1), value=0.5))
    f.case("tile", {"reps": [2, 3]}, {"x": (2, 3)}, lambda x: x.repeat(2, 3))
    f.case("concat", {"axis": 1}, {"a": (2, 3), "b": (2, 2)}, lambda a, b: torch.cat([a, b], 1))
    f.case("split", {"sizes": [1, 4], "axis": 1}, {"x": (2, 5)},
           lambda x: torch.cat([part * (i + 1) for i, part in enumerate(x.split([1, 4], 1))][::-1], 1))
    f.case("oneHot", {"depth": 6}, {"ids": ids}, lambda ids: F.one_hot(ids, 6).double())
    f.write()


def attention():
    f = Family("attention")
    q, kv = (2, 2, 5, 4), (2, 2, 7, 4)
    plain = F.scaled_dot_product_attention
    f.case("attention", {}, {"q": q, "k": kv, "v": kv}, lambda q, k, v: plain(q, k, v))
    f.case("attention", {"scale": 0.3}, {"q": q, "k": kv, "v": kv}, lambda q, k, v: plain(q, k, v, scale=0.3))
    seen = torch.rand((2, 1, 5, 7), generator=torch.Generator().manual_seed(3)) > 0.4
    seen[..., 0] = True
    f.case("attention", {}, {"q": q, "k": kv, "v": kv, "mask": seen},
           lambda q, k, v, mask: plain(q, k, v, attn_mask=mask), "boolean mask")
    f.case("attention", {}, {"q": q, "k": kv, "v": kv, "mask": (1, 2, 5, 7)},
           lambda q, k, v, mask: plain(q, k, v, attn_mask=mask.detach()), "additive mask")
    f.case("attention", {"causal": True}, {"q": q, "k": q, "v": q}, lambda q, k, v: plain(q, k, v, is_causal=True))
    f.write()


def linear(name, out, inner):
    return {f"{name}.weight": (out, inner), f"{name}.bias": (out,)}


def attend(x, context, p, name, heads):
    """Multi-head attention with separate projections, as Hugging Face names them."""
    def split(projection, source):
        y = F.linear(source, p[f"{name}.{projection}.weight"], p.get(f"{name}.{projection}.bias"))
        return y.unflatten(-1, (heads, -1)).transpose(1, 2)

    q, k, v = split("q_proj", x), split("k_proj", context), split("v_proj", context)
    y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
    return F.linear(y, p[f"{name}.out_proj.weight"], p[f"{name}.out_proj.bias"])


def norm_shapes(name, d):
    return {f"{name}.weight": (d,), f"{name}.bias": (d,)}


def projections(name, d, context, bias=True):
    shapes = {}
    for projection, inner in [("q_proj", d), ("k_proj", context), ("v_proj", context)]:
        shapes.update(linear(f"{name}.{projection}", d, inner))
        if not bias:
            del shapes[f"{name}.{projection}.bias"]
    return {**shapes, **linear(f"{name}.out_proj", d, d)}


def scaled(shapes):
    """Weights of the size that training starts from."""
    drawn = {}
    for name, shape in shapes.items():
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        value = torch.randn(shape, generator=generator)
        if name.endswith("weight") and len(shape) > 1:
            value = value / math.sqrt(math.prod(shape[1:]))
        elif name.endswith("weight"):
            value = 1 + 0.2 * value
        else:
            value = 0.2 * value
        drawn[name] = value
    return drawn


def blocks():
    f = Family("blocks")
    d, heads = 16, 4

    def layer_norm(x, p, name):
        return F.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"], 1e-5)

    vit = scaled({**norm_shapes("layer_norm1", d), **projections("self_attn", d, d), **norm_shapes("layer_norm2", d),
                  **linear("mlp.fc1", 4 * d, d), **linear("mlp.fc2", d, 4 * d)})

    def vit_block(x, **p):
        y = layer_norm(x, p, "layer_norm1")
        x = x + attend(y, y, p, "self_attn", heads)
        y = F.linear(layer_norm(x, p, "layer_norm2"), p["mlp.fc1.weight"], p["mlp.fc1.bias"])
        y = y * torch.sigmoid(1.702 * y)
        return x + F.linear(y, p["mlp.fc2.weight"], p["mlp.fc2.bias"])

    f.case("vitBlock", {"heads": heads}, {"x": (2, 9, d), **vit}, vit_block)

    c, o, t = 8, 12, 10
    res = scaled({**norm_shapes("norm1", c), "conv1.weight": (o, c, 3, 3), "conv1.bias": (o,),
                  **linear("time_emb_proj", o, t), **norm_shapes("norm2", o), "conv2.weight": (o, o, 3, 3),
                  "conv2.bias": (o,), "conv_shortcut.weight": (o, c, 1, 1), "conv_shortcut.bias": (o,)})

    def res_block(x, time, **p):
        y = F.silu(F.group_norm(x, 4, p["norm1.weight"], p["norm1.bias"]))
        y = F.conv2d(y, p["conv1.weight"], p["conv1.bias"], padding=1)
        y = y + F.linear(F.silu(time), p["time_emb_proj.weight"], p["time_emb_proj.bias"])[:, :, None, None]
        y = F.silu(F.group_norm(y, 4, p["norm2.weight"], p["norm2.bias"]))
        y = F.conv2d(y, p["conv2.weight"], p["conv2.bias"], padding=1)
        return F.conv2d(x, p["conv_shortcut.weight"], p["conv_shortcut.bias"]) + y

    f.case("unetResBlock", {"groups": 4}, {"x": (2, c, 6, 6), "time": (2, t), **res}, res_block)

    context = 10
    cross = scaled({**norm_shapes("norm", d), "proj_in.weight": (d, d, 1, 1), "proj_in.bias": (d,),
                    **norm_shapes("norm1", d), **projections("attn1", d, d, bias=False),
                    **norm_shapes("norm2", d), **projections("attn2", d, context, bias=False),
                    **norm_shapes("norm3", d), **linear("ff.proj", 8 * d, d), **linear("ff.out", d, 4 * d),
                    "proj_out.weight": (d, d, 1, 1), "proj_out.bias": (d,)})

    def cross_block(x, condition, **p):
        b, c, h, w = x.shape
        y = F.group_norm(x, 4, p["norm.weight"], p["norm.bias"], 1e-6)
        y = F.conv2d(y, p["proj_in.weight"], p["proj_in.bias"]).flatten(2).transpose(1, 2)
        z = layer_norm(y, p, "norm1")
        y = y + attend(z, z, p, "attn1", heads)
        y = y + attend(layer_norm(y, p, "norm2"), condition, p, "attn2", heads)
        z, gate = F.linear(layer_norm(y, p, "norm3"), p["ff.proj.weight"], p["ff.proj.bias"]).chunk(2, -1)
        y = y + F.linear(z * F.gelu(gate), p["ff.out.weight"], p["ff.out.bias"])
        y = y.transpose(1, 2).reshape(b, c, h, w)
        return x + F.conv2d(y, p["proj_out.weight"], p["proj_out.bias"])

    f.case("crossAttentionBlock", {"heads": heads, "groups": 4}, {"x": (2, d, 3, 3), "condition": (2, 5, context), **cross},
           cross_block)
    f.write()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for family in (conv, norm, activation, resize, pool, select, attention, blocks):
        family()

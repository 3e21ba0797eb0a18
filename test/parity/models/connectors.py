"""Connectors: linear and MLP, DEEM's Q-Former (transformers' own, with norms on queries and keys put in as DEEM does), its
adapters, and deformable sampling written with grid_sample, one head, level and picture at a time, ignore token included."""

import math

import torch
from common import draw, settle, write
from torch import nn
from torch.nn import functional as F
from transformers import Blip2QFormerConfig, Blip2QFormerModel


def sincos(width, side, base):
    """Sines and cosines of a base x base grid's places, resized to side x side."""
    rows, columns = (x.reshape(-1) for x in torch.meshgrid(*2 * [torch.arange(base, dtype=torch.float64)], indexing="ij"))
    rates = 10000 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    table = torch.cat([f(x[:, None] * rates) for x in (columns, rows) for f in (torch.sin, torch.cos)], 1)
    field = table.T.reshape(1, width, base, base)
    return F.interpolate(field, size=(side, side), mode="bicubic", align_corners=False)[0].flatten(1).T


# Linear and MLP ---------------------------------------------------------------------------------------------------------


class Simple(nn.Module):
    def __init__(self):
        super().__init__()
        self.visual_proj = nn.Linear(6, 8)
        self.project_clip = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 8))

    def forward(self, tokens, text):
        linear = self.visual_proj(tokens)
        mlp = self.project_clip(tokens)
        repeated = self.project_clip(tokens[:, 0]).unsqueeze(1).expand(-1, 5, -1)
        return {
            "linear": linear + text.mean(1, keepdim=True),
            "mlp": mlp,
            "repeated": repeated + text,
        }


simple = settle(Simple(), 0.5)
inputs = {"tokens": draw("tokens", (2, 3, 6)), "text": draw("text", (1, 5, 8))}
write("connectors-simple", simple, inputs, simple, {})

# Q-Former ---------------------------------------------------------------------------------------------------------------

HEADS = 2


def norm_heads(attention, part, epsilon):
    """Layer norm on each head of a projection's result."""
    projection = getattr(attention, part)
    norm = nn.LayerNorm(projection.out_features // HEADS, eps=epsilon)
    setattr(attention, f"{part[0]}_norm", norm)
    projection.register_forward_hook(lambda _module, _inputs, y: norm(y.unflatten(-1, (HEADS, -1))).flatten(-2))


class Perceiver(nn.Module):
    def __init__(self, config, queries, width):
        super().__init__()
        inputs = config.encoder_hidden_size
        self.pos_proj = nn.Linear(inputs, inputs)
        self.pos_ln = nn.LayerNorm(inputs, eps=1e-6)
        self.post_ln = nn.LayerNorm(inputs, eps=1e-6)
        self.perceiver_resampler = nn.Module()
        self.perceiver_resampler.blip2qformer = Blip2QFormerModel(config)
        self.perceiver_resampler.queries = nn.Parameter(torch.zeros(1, queries, config.hidden_size))
        self.proj_i = nn.Linear(config.hidden_size, width)
        for layer in self.perceiver_resampler.blip2qformer.encoder.layer:
            for module in (layer.attention, getattr(layer, "crossattention", None)):
                for part in ("query", "key") if module else ():
                    norm_heads(module.attention, part, config.layer_norm_eps)

    def forward(self, tokens):
        side = math.isqrt(tokens.shape[1] - 1)
        width = tokens.shape[2]
        places = torch.cat([torch.zeros(1, width, dtype=tokens.dtype), sincos(width, side, 16)])
        picture = self.post_ln(self.pos_ln(self.pos_proj(tokens)) + places)
        queries = self.perceiver_resampler.queries.expand(tokens.shape[0], -1, -1)
        out = self.perceiver_resampler.blip2qformer(query_embeds=queries, encoder_hidden_states=picture)
        return {"condition": self.proj_i(out.last_hidden_state)}


config = Blip2QFormerConfig(
    hidden_size=12,
    num_hidden_layers=3,
    num_attention_heads=HEADS,
    intermediate_size=20,
    encoder_hidden_size=8,
    cross_attention_frequency=2,
)
holder = nn.Module()
holder.connector = Perceiver(config, 4, 10)
settle(holder, 0.3)
write(
    "connectors-perceiver",
    holder,
    {"tokens": draw("tokens", (2, 10, 8))},
    holder.connector,
    {"queries": 4, "width": 12, "layers": 3, "heads": HEADS, "hidden": 20, "crossAttentionFrequency": 2},
)

# Dense skips ------------------------------------------------------------------------------------------------------------


class Mmfs(nn.Module):
    def __init__(self, query, width, levels, heads, points):
        super().__init__()
        self.levels, self.heads, self.points = levels, heads, points
        self.sampling_offsets = nn.Linear(query, heads * points * 2)
        self.dynamic_offset_mask = nn.Linear(query, query)
        self.attention_weights = nn.Linear(query, heads * levels * points)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, query)

    def forward(self, query, maps, side):
        b, q, _ = query.shape
        query = self.dynamic_offset_mask(query)
        offsets = self.sampling_offsets(query).reshape(b, q, self.heads, self.points, 2)
        logits = self.attention_weights(query).reshape(b, q, self.heads, self.levels, self.points)
        ignore = torch.full((b, q, self.heads, self.levels, 1), -math.log(self.levels), dtype=query.dtype)
        weights = torch.cat([logits, ignore], -1).flatten(-2).softmax(-1).reshape(b, q, self.heads, self.levels, -1)
        centres = (torch.arange(side, dtype=query.dtype) + 0.5) / side
        y, x = (at.reshape(-1) for at in torch.meshgrid(centres, centres, indexing="ij"))
        reference = torch.stack([x, y], -1)[:, None]
        pictures = []
        for i in range(b):
            heads = []
            for head in range(self.heads):
                total = 0
                for level, map_ in enumerate(maps):
                    size = math.isqrt(map_.shape[1])
                    value = self.value_proj(map_[i]).unflatten(-1, (self.heads, -1))[:, head]
                    at = reference + offsets[i, :, head] * (size / side) / size
                    field = value.T.reshape(1, -1, size, size)
                    sampled = F.grid_sample(field, 2 * at[None] - 1, mode="bilinear", padding_mode="zeros", align_corners=False)
                    total = total + (sampled[0] * weights[i, :, head, level, : self.points]).sum(-1)
                heads.append(total)
            pictures.append(torch.cat(heads).T)
        return self.output_proj(torch.stack(pictures))


class Block(nn.Module):
    def __init__(self, query, width, levels, heads, points):
        super().__init__()
        self.query_norm = nn.LayerNorm(query, eps=1e-6)
        self.feat_norm = nn.LayerNorm(width, eps=1e-6)
        self.mmfs = Mmfs(query, width, levels, heads, points)
        self.conv = nn.Conv2d(query, query, 1)

    def forward(self, feature, maps):
        side = feature.shape[-1]
        rows = self.query_norm(feature.flatten(2).transpose(1, 2)) + sincos(feature.shape[1], side, 64)
        out = self.mmfs(rows, [self.feat_norm(m) for m in maps], side)
        return self.conv(out.transpose(1, 2).reshape(feature.shape))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        width, levels, heads, points = 8, 2, 2, 3
        self.adapter_c2 = nn.Linear(3, width)
        self.adapter_c3 = nn.Linear(5, width)
        self.adapter_cls = nn.Linear(6, width)
        self.mmfs_down_blocks = nn.ModuleList([Block(8, width, levels, heads, points)])
        self.mmfs_mid_block = Block(12, width, levels, heads, points)

    def forward(self, skip, mid, fine, coarse, pooled):
        maps = [
            adapter(m.flatten(2).transpose(1, 2))
            for adapter, m in ((self.adapter_c2, fine), (self.adapter_c3, coarse))
        ]
        tokens = torch.cat([self.adapter_cls(pooled)[:, None], maps[-2]], 1)
        placed = [m + sincos(8, math.isqrt(m.shape[1]), 16) for m in maps]
        return {
            "tokens": tokens,
            "skip": self.mmfs_down_blocks[0](skip, placed),
            "mid": self.mmfs_mid_block(mid, placed),
        }


net = nn.Module()
net.dense = settle(Net(), 0.3)
for block in (net.dense.mmfs_down_blocks[0], net.dense.mmfs_mid_block):  # some of the points fall outside
    block.mmfs.sampling_offsets.bias.data = draw("offsets", (12,), 1.5).double()
write(
    "connectors-dense",
    net,
    {
        "skip": draw("skip", (2, 8, 4, 4)),
        "mid": draw("mid", (2, 12, 2, 2)),
        "fine": draw("fine", (2, 3, 6, 6)),
        "coarse": draw("coarse", (2, 5, 3, 3)),
        "pooled": draw("pooled", (2, 6)),
    },
    net.dense,
    {},
)

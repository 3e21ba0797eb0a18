"""Writes the fixtures of dinov2.test.ts.

transformers 5 renames DINOv2's tensors and splits the SwiGLU's on loading, and undoes both on saving. The fixtures have the
names of the files, so the network's own parameters are computed from those.
"""

import torch
from common import draw, settle, write
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

SMALL = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=12, patch_size=4)
TINY = SMALL | dict(hidden_size=8, num_hidden_layers=1, image_size=6, patch_size=2)
RENAMED = {
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
    "mlp.down_proj": "mlp.weights_out",
}


class Published:
    """The parameters of a network by the names of its files."""

    def __init__(self, model):
        self.places = {}
        self.tensors = {}
        own = dict(model.named_parameters())
        for name, tensor in own.items():
            file = name
            for old, new in RENAMED.items():
                file = file.replace(old, new)
            if "up_proj" in name:
                continue
            if "gate_proj" in name:
                file = file.replace("gate_proj", "weights_in")
                tensor = torch.cat([tensor, own[name.replace("gate_proj", "up_proj")]])
            self.places[name] = file
            self.tensors[file] = tensor.detach().requires_grad_()

    def named_parameters(self):
        return self.tensors.items()

    def own(self):
        tensors = {}
        for name, file in self.places.items():
            tensor = self.tensors[file]
            if "gate_proj" in name:
                tensors[name], tensors[name.replace("gate_proj", "up_proj")] = tensor.chunk(2)
            else:
                tensors[name] = tensor
        return tensors


def network(name, model, pixels):
    settle(model)
    published = Published(model)
    hidden = []
    model.layernorm.register_forward_hook(lambda module, inputs, output: hidden.append(inputs[0]))

    def forward(pixels):
        out = torch.func.functional_call(model, published.own(), pixels)
        pooled = out.pooler_output
        return {"hidden": hidden[-1], "normed": out.last_hidden_state, "pooled": pooled, "embeds": pooled.clone()}

    write(name, published, {"pixels": pixels}, forward, model.config.to_dict())


plain = lambda config: Dinov2Model(Dinov2Config(**config))
registers = lambda config: Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**config))

network("dinov2", plain(SMALL), draw("pixels", (2, 3, 12, 12)))
network("dinov2-wide", plain(TINY | dict(qkv_bias=False)), draw("pixels", (1, 3, 10, 7)))
# The SwiGLU is two thirds of an MLP's width, up to a multiple of 8.
network("dinov2-swiglu", plain(TINY | dict(use_swiglu_ffn=True, mlp_ratio=3, use_mask_token=False)), draw("pixels", (2, 3, 6, 6)))
network("dinov2-registers", registers(TINY | dict(num_hidden_layers=2, num_register_tokens=3)), draw("pixels", (2, 3, 6, 6)))
network("dinov2-registers-wide", registers(TINY | dict(use_swiglu_ffn=True)), draw("pixels", (1, 3, 10, 5)))

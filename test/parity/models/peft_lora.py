"""Adapters: a CLIP vision tower of transformers with peft's LoRA, once by a list of names, once rank-stabilised on every
linear layer. The fixture names parameters as files do: the base as transformers', the adapters as peft's.

    python test/parity/models/peft_lora.py && npm run format
"""

import json
import shutil

import torch
from common import FIXTURES, draw, settle, write
from peft import LoraConfig, get_peft_model
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

CONFIG = CLIPVisionConfig(
    hidden_size=8,
    intermediate_size=12,
    num_hidden_layers=2,
    num_attention_heads=2,
    image_size=8,
    patch_size=4,
    projection_dim=6,
    hidden_act="quick_gelu",
    attn_implementation="eager",
)


class Named:
    """The model's parameters under the names of the files."""

    def __init__(self, model):
        self.model = model

    def named_parameters(self):
        for name, parameter in self.model.named_parameters():
            if ".lora_" in name:
                yield name.replace(".default.", "."), parameter
            else:
                yield name.removeprefix("base_model.model.").replace(".base_layer.", "."), parameter


def adapted(name, **lora):
    torch.manual_seed(0)
    model = get_peft_model(CLIPVisionModelWithProjection(CONFIG), LoraConfig(r=4, lora_alpha=8, **lora))
    settle(model, 0.1).requires_grad_(True)

    def forward(pixels):
        given = model(pixel_values=pixels)
        return {"hidden": given.last_hidden_state, "embeds": given.image_embeds}

    write(f"peft-{name}", Named(model), {"pixels": draw("pixels", (2, 3, 8, 8))}, forward, {"config": CONFIG.to_dict()})
    folder = FIXTURES / f"peft-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    model.float().save_pretrained(folder)
    (folder / "README.md").unlink()
    config = folder / "adapter_config.json"
    about = json.loads(config.read_text())
    about["target_modules"].sort()
    config.write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    adapted("list", target_modules=["q_proj", "v_proj", "mlp.fc1"], lora_dropout=0.1)
    adapted("all", target_modules="all-linear", use_rslora=True)

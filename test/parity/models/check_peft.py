"""Loads an adapter that we wrote into peft, over the fixture's base weights, and compares what the model gives with the
fixture's outputs.

    python test/parity/models/check_peft.py FIXTURE.safetensors ADAPTER_FOLDER
"""

import json
import sys

import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

fixture, folder = sys.argv[1:]
tensors = load_file(fixture)
with safe_open(fixture, "pt") as file:
    config = json.loads(file.metadata()["about"])["config"]
base = CLIPVisionModelWithProjection(CLIPVisionConfig(**config))
weights = {k.removeprefix("param/"): v for k, v in tensors.items() if k.startswith("param/") and ".lora_" not in k}
missing, unexpected = base.load_state_dict(weights, strict=False)
assert not unexpected and all("position_ids" in name for name in missing), (missing, unexpected)
model = PeftModel.from_pretrained(base, folder).eval()
adapters = [name for name, _ in model.named_parameters() if ".lora_" in name]
with torch.no_grad():
    given = model(pixel_values=tensors["in/pixels"])
torch.testing.assert_close(given.image_embeds, tensors["out/embeds"], rtol=1e-4, atol=1e-5)
torch.testing.assert_close(given.last_hidden_state, tensors["out/hidden"], rtol=1e-4, atol=1e-5)
print(f"{len(adapters)} adapter tensors in peft give the fixture's outputs")

"""What the scripts of this folder share: one small network of a published architecture, written as a fixture.

A fixture holds the network's parameters under the names of its own state dict, its inputs, what it gives and the
gradients of sum(output * cos(index)) over all outputs, by the floating inputs and by every parameter. Everything is
computed in float64 from float32 parameters and rounded at the end, so that a file holds the right answers and not one
backend's rounding. Its metadata is the network's config.json and whatever else the reader must know.
"""

import json
import zlib
from pathlib import Path

import torch
from safetensors.torch import save_file

FIXTURES = Path(__file__).parent.parent / "fixtures" / "models"


def draw(name, shape, std=1.0):
    """Normal numbers that depend on the name alone."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return std * torch.randn(shape, generator=generator, dtype=torch.float32)


def settle(model, std=0.1):
    """Redraws all parameters by their names: zero-initialised ones would hide what they multiply."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            base = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0
            parameter.copy_(base + draw(name, parameter.shape, std))
    return model.eval().double()


def write(name, model, inputs, forward, about):
    """`inputs`: name -> float32 or integer tensor; `forward(**inputs)` -> name -> output, inputs wide."""
    wide = {k: v.double().requires_grad_() if v.is_floating_point() else v for k, v in inputs.items()}
    outputs = forward(**wide)
    total = sum((out * torch.cos(torch.arange(out.numel(), dtype=out.dtype)).reshape(out.shape)).sum() for out in outputs.values())
    leaves = {f"in/{k}": v for k, v in wide.items() if v.requires_grad}
    leaves |= {f"param/{k}": v for k, v in model.named_parameters() if v.requires_grad}
    grads = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    tensors = {f"in/{k}": v if v.is_floating_point() else v.to(torch.int32) for k, v in inputs.items()}
    tensors |= {f"param/{k}": v.detach().float() for k, v in model.named_parameters()}
    tensors |= {f"out/{k}": v.detach().float() for k, v in outputs.items()}
    tensors |= {f"grad/{k}": v.float() for k, v in zip(leaves, grads) if v is not None}
    FIXTURES.mkdir(parents=True, exist_ok=True)
    path = FIXTURES / f"{name}.safetensors"
    metadata = {"about": json.dumps(about)}
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, path, metadata=metadata)
    print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes")

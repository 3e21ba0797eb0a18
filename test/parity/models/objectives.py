"""What the methods' objectives are made of: noise schedules and velocities of diffusers, DEEM's masked loss and DCR's contrast
of predicted noises, the latter two written as those methods state them."""

import json

import torch
from common import FIXTURES, draw, write
from diffusers import DDPMScheduler
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

SCHEDULES = [
    {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": "epsilon"},
    {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True},
    {"prediction_type": "sample"},
    {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 500, "prediction_type": "v_prediction"},
]
made = [DDPMScheduler(**options) for options in SCHEDULES]
about = [dict(scheduler.config) | {"_class_name": "DDPMScheduler"} for scheduler in made]
save_file(
    {f"out/{i}": scheduler.alphas_cumprod.float() for i, scheduler in enumerate(made)},
    FIXTURES / "objectives-schedules.safetensors",
    metadata={"about": json.dumps(about)},
)

steps = torch.tensor([0, 200, 500, 799, 999])
shape = (5, 2, 3, 3)


def velocity(x0, noise):
    scheduler = made[0]
    return {"noisy": scheduler.add_noise(x0, noise, steps), "velocity": scheduler.get_velocity(x0, noise, steps)}


made[0].alphas_cumprod = made[0].alphas_cumprod.double()
write(
    "objectives-velocity",
    nn.Module(),
    {"x0": draw("x0", shape), "noise": draw("noise", shape)},
    velocity,
    {"steps": steps.tolist()},
)


def masked(output, target, mask):
    mask = (F.interpolate(mask.double(), size=(4, 4), mode="bilinear", align_corners=False) > 0).double()
    error = (output - target) ** 2
    scale = 16 / mask.sum(dim=(2, 3), keepdim=True)
    return {"loss": (error * mask * scale).mean()}


region = torch.zeros(2, 1, 8, 8, dtype=torch.int64)
region[0, :, 1:4, 2:7] = 1
region[1, :, 7:, :] = 1
inputs = {"output": draw("output", (2, 3, 4, 4)), "target": draw("target", (2, 3, 4, 4)), "mask": region}
write("objectives-masked", nn.Module(), inputs, masked, {})


def contrast(predictions, target, positive=None, tau=0.1):
    b = len(target)
    normal = lambda x: F.normalize(x.flatten(1), dim=1)  # noqa: E731
    rows = F.normalize(predictions.flatten(2), dim=2)
    anchor = torch.stack([rows[i, i] for i in range(b)])
    positives = [(anchor * normal(x)).sum(1) / tau for x in (target, positive) if x is not None]
    losses = []
    for i in range(b):
        negatives = [(anchor[i] @ rows[i, k] / tau).exp() for k in range(b) if k != i]
        denominator = sum(p[i].exp() for p in positives) + sum(negatives)
        losses += [-(p[i].exp() / denominator).log() for p in positives]
    return {"loss": torch.stack(losses).mean()}


inputs = {"predictions": draw("predictions", (3, 3, 2, 2, 2)), "target": draw("target", (3, 2, 2, 2))}
write("objectives-contrast", nn.Module(), inputs, contrast, {})
inputs["positive"] = draw("positive", (3, 2, 2, 2))
write("objectives-contrast-view", nn.Module(), inputs, contrast, {})

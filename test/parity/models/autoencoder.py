"""Autoencoders: diffusers' AutoencoderKL as Stable Diffusion and as FLUX configure it, AutoencoderTiny as TAESD does, and
the pooled blocks of TAEF2, which diffusers does not have.

    python test/parity/models/autoencoder.py
"""

import torch
from common import draw, settle, write
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import nn


def config_of(model):
    return {k: v for k, v in dict(model.config).items() if not k.startswith("_")}


def kl(name, height, width, **config):
    stages = len(config["block_out_channels"])
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * stages,
        up_block_types=("UpDecoderBlock2D",) * stages,
        norm_num_groups=2,
        **config,
    )
    settle(model, 0.3)
    channels, stride = config["latent_channels"], 2 ** (stages - 1)
    latent = (2, channels, height // stride, width // stride)
    inputs = {
        "pixels": draw("pixels", (2, 3, height, width), 0.5),
        "noise": draw("noise", latent),
        "latents": draw("latents", latent, 0.5),
    }
    shift, scale = model.config.shift_factor or 0, model.config.scaling_factor

    def forward(pixels, noise, latents):
        moments = model.encode(pixels).latent_dist
        drawn = (moments.mean + moments.std * noise - shift) * scale
        decoded = model.decode(latents / scale + shift).sample
        return {"mean": moments.mean, "logvar": moments.logvar, "drawn": drawn, "decoded": decoded}

    write(name, model, inputs, forward, {"config": config_of(model)})


def tiny(name, **config):
    model = settle(AutoencoderTiny(**config), 0.2)
    inputs = {"pixels": draw("pixels", (1, 3, 8, 12), 0.5), "latents": draw("latents", (1, config["latent_channels"], 2, 3), 2)}

    def forward(pixels, latents):
        return {"encoded": model.encode(pixels).latents, "decoded": model.decode(latents).sample}

    write(name, model, inputs, forward, {"config": config_of(model)})


class Pooled(nn.Module):
    """A block of TAEF2's narrow end."""

    def __init__(self, width):
        super().__init__()
        convs = [nn.Conv2d(width, width, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.ReLU(), convs[2])
        wide, narrow = nn.Conv2d(width, 4 * width, 1, bias=False), nn.Conv2d(4 * width, width, 1, bias=False)
        self.pool = nn.Sequential(wide, nn.GroupNorm(4, 4 * width), nn.ReLU(), narrow)

    def forward(self, x):
        y = x + self.pool(x)
        return torch.relu(self.conv(y) + y)


class Bound(nn.Module):
    def forward(self, x):
        return 3 * torch.tanh(x / 3)


def bare():
    """One stage: the encoder's and the decoder's chains differ by the bound and the activation in front."""
    encoder = settle(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Pooled(4), nn.Conv2d(4, 2, 3, padding=1)), 0.2)
    decoder = settle(
        nn.Sequential(Bound(), nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), Pooled(4), nn.Conv2d(4, 3, 3, padding=1)), 0.2
    )
    pixels, latents = draw("pixels", (1, 3, 4, 6), 0.5), draw("latents", (1, 2, 4, 6), 2)
    write("taef2-encoder", encoder, {"pixels": pixels}, lambda pixels: {"out": encoder(pixels / 2 + 0.5)}, {})
    write("taef2-decoder", decoder, {"latents": latents}, lambda latents: {"out": decoder(latents) * 2 - 1}, {})


if __name__ == "__main__":
    kl("kl-sd", 4, 6, block_out_channels=(4, 6), layers_per_block=1, latent_channels=4)
    kl(
        "kl-flux",
        *(8, 16),
        block_out_channels=(4, 4, 4),
        layers_per_block=2,
        latent_channels=3,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=0.3611,
        shift_factor=0.1159,
    )
    kl("kl-plain", 4, 4, block_out_channels=(2,), layers_per_block=1, latent_channels=2, mid_block_add_attention=False)
    widths = {"encoder_block_out_channels": (4, 4, 4), "decoder_block_out_channels": (4, 4, 4)}
    counts = {"num_encoder_blocks": (1, 2, 1), "num_decoder_blocks": (1, 2, 1)}
    tiny("taesd", latent_channels=4, **widths, **counts)
    bare()

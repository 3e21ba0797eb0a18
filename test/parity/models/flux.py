"""Flow transformers of diffusers on latents: with a guidance embedding and wider row and column axes, and without."""

import torch
from common import draw, settle, write
from diffusers import FluxPipeline, FluxTransformer2DModel


def fixture(name, heads, axes, singles, guidance, height, width):
    model = settle(
        FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=singles,
            attention_head_dim=sum(axes),
            num_attention_heads=heads,
            joint_attention_dim=10,
            pooled_projection_dim=6,
            guidance_embeds=guidance,
            axes_dims_rope=axes,
        )
    )
    inputs = {
        "latents": draw("latents", (2, 4, height, width)),
        "t": torch.tensor([0.2, 0.7]),
        "tokens": draw("tokens", (2, 1, 10)),
        "vector": draw("vector", (2, 6)),
    }
    if guidance:
        inputs["guidance"] = torch.tensor([4.0, 2.5])

    def forward(latents, t, tokens, vector, guidance=None):
        packed = FluxPipeline._pack_latents(latents, 2, 4, height, width)
        ids = FluxPipeline._prepare_latent_image_ids(2, height // 2, width // 2, "cpu", torch.float64)
        velocity = model(
            hidden_states=packed,
            encoder_hidden_states=tokens,
            pooled_projections=vector,
            timestep=t,
            img_ids=ids,
            txt_ids=torch.zeros(1, 3, dtype=torch.float64),
            guidance=guidance,
        ).sample
        return {"velocity": FluxPipeline._unpack_latents(velocity, 8 * height, 8 * width, 8)}

    write(name, model, inputs, forward, dict(model.config))


fixture("flux-guidance", 2, (2, 2, 4), 1, True, 4, 6)
fixture("flux", 2, (2, 2, 2), 2, False, 4, 4)

"""The bench's cases as a PyTorch user writes them: functional, fused attention, gradients for what learns only, fused
AdamW. `--compile` wraps the differentiated function in torch.compile; everything else is the same.

Parameter names and numerics are those of packages/models and packages/alignment.
"""

import ctypes
import math
import os
import sys

import torch
import torch.nn.functional as F
from protocol import serve

COMPILE = "--compile" in sys.argv
THREADS = int(os.environ["FOVEA_BENCH_THREADS"])
PIXEL_MEAN, PIXEL_STD = 0.6, 0.3
MIN_NOISE = 0.05
TIME_WIDTH = 64


def maybe_compile(fn):
    return torch.compile(fn) if COMPILE else fn


def tensor(entry):
    dtype, shape, data = entry
    kind = {"F32": torch.float32, "I32": torch.int32}[dtype]
    return torch.frombuffer(data, dtype=kind).reshape(shape).clone()


def raw(x):
    x = x.detach().to(torch.float32).contiguous()
    return list(x.shape), ctypes.string_at(x.data_ptr(), 4 * x.numel())


def part(tensors, prefix):
    return {name[len(prefix) :]: tensor(entry) for name, entry in tensors.items() if name.startswith(prefix)}


# --- the models, in the order of packages/models/src -----------------------------------------------------------------


def linear(p, name, x):
    return F.linear(x, p[f"{name}.weight"], p.get(f"{name}.bias"))


def layer_norm(p, name, x):
    return F.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"])


def self_attention(p, name, x, heads):
    b, t, d = x.shape
    q, k, v = (linear(p, f"{name}.{part}_proj", x).view(b, t, heads, d // heads).transpose(1, 2) for part in "qkv")
    mixed = F.scaled_dot_product_attention(q, k, v)  # [B, H, T, D / H]
    return linear(p, f"{name}.out_proj", mixed.transpose(1, 2).reshape(b, t, d))


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


def encoder_layer(p, layer, x, heads):
    x = x + self_attention(p, f"{layer}.self_attn", layer_norm(p, f"{layer}.layer_norm1", x), heads)
    hidden = quick_gelu(linear(p, f"{layer}.mlp.fc1", layer_norm(p, f"{layer}.layer_norm2", x)))
    return x + linear(p, f"{layer}.mlp.fc2", hidden)


def encode_image(p, pixels, c):
    """-> tokens [B, N, D], pooled [B, D], embeds [B, projection]."""
    x = (pixels - PIXEL_MEAN) / PIXEL_STD
    kernel = p["vision_model.embeddings.patch_embedding.weight"].flatten(1)
    patches = F.linear(patchify(x, c["patchSize"]), kernel)  # [B, N, D]; a little faster than a strided convolution
    cls = p["vision_model.embeddings.class_embedding"].expand(x.shape[0], 1, -1)
    x = torch.cat([cls, patches], 1) + p["vision_model.embeddings.position_embedding.weight"]
    x = layer_norm(p, "vision_model.pre_layrnorm", x)
    for i in range(c["layers"]):
        x = encoder_layer(p, f"vision_model.encoder.layers.{i}", x, c["heads"])
    pooled = layer_norm(p, "vision_model.post_layernorm", x[:, 0])
    return x[:, 1:], pooled, linear(p, "visual_projection", pooled)


def encode_text(p, bags):
    words = bags @ p["text_model.token_embedding.weight"]
    hidden = quick_gelu(linear(p, "text_model.mlp.fc1", words))
    return linear(p, "text_projection", words + linear(p, "text_model.mlp.fc2", hidden))


def l2_normalise(x):
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-12)


def select_tokens(tokens, pooled, count):
    patches = tokens.shape[1]
    at = [int((i + 0.5) * patches / (count - 1)) for i in range(min(count - 1, patches))]
    return torch.cat([pooled[:, None], tokens[:, at]], 1)


def project_condition(p, selected):
    vector = linear(p, "projector.fc2", F.silu(linear(p, "projector.fc1", selected[:, 0])))
    return vector, linear(p, "projector.token", selected)


def time_features(t):
    half = TIME_WIDTH // 2
    frequencies = 1000 * torch.exp(torch.arange(half) * (-math.log(10000) / half))
    angles = t[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], 1)


def plain_norm(x):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def modulate(x, shift, scale):
    return x * (scale + 1) + shift


def patchify(pixels, patch):
    b, c, h, w = pixels.shape
    split = pixels.view(b, c, h // patch, patch, w // patch, patch)
    return split.permute(0, 2, 4, 1, 3, 5).reshape(b, -1, c * patch * patch)


def unpatchify(patches, patch, channels=3):
    b, n, _ = patches.shape
    side = math.isqrt(n)
    split = patches.view(b, side, side, channels, patch, patch)
    return split.permute(0, 3, 1, 4, 2, 5).reshape(b, channels, side * patch, side * patch)


def denoise(p, noisy, t, condition, c):
    vector, tokens = condition
    patches = linear(p, "denoiser.patch_in", patchify(noisy, c["patchSize"]))
    x = torch.cat([tokens, patches], 1) + p["denoiser.position_embedding"]  # [B, K + N, D]
    time = linear(p, "denoiser.time.fc2", F.silu(linear(p, "denoiser.time.fc1", time_features(t))))
    signal = F.silu(time + vector)
    for i in range(c["layers"]):
        block = f"denoiser.blocks.{i}"
        shift1, scale1, gate1, shift2, scale2, gate2 = linear(p, f"{block}.modulation", signal)[:, None].chunk(6, 2)
        x = x + gate1 * self_attention(p, f"{block}.attn", modulate(plain_norm(x), shift1, scale1), c["heads"])
        hidden = F.silu(linear(p, f"{block}.mlp.fc1", modulate(plain_norm(x), shift2, scale2)))
        x = x + gate2 * linear(p, f"{block}.mlp.fc2", hidden)
    shift, scale = linear(p, "denoiser.norm_out", signal)[:, None].chunk(2, 2)
    picture = x[:, c["conditionTokens"] :]
    return unpatchify(linear(p, "denoiser.patch_out", modulate(plain_norm(picture), shift, scale)), c["patchSize"])


def resnet(p, name, x, signal, groups):
    def norm(part, y):
        return F.group_norm(y, groups, p[f"{name}.{part}.weight"], p[f"{name}.{part}.bias"])

    def conv(part, y, padding=1):
        return F.conv2d(y, p[f"{name}.{part}.weight"], p[f"{name}.{part}.bias"], padding=padding)

    y = conv("conv1", F.silu(norm("norm1", x))) + linear(p, f"{name}.time_emb_proj", signal)[:, :, None, None]
    y = conv("conv2", F.silu(norm("norm2", y)))
    return (conv("conv_shortcut", x, 0) if f"{name}.conv_shortcut.weight" in p else x) + y


def cross_attention(p, name, x, over, heads):
    q, k, v = (linear(p, f"{name}.to_{part}", y).unflatten(2, (heads, -1)).transpose(1, 2)
               for part, y in zip("qkv", (x, over, over)))
    return linear(p, f"{name}.to_out.0", F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def transformer(p, name, x, condition, heads, groups):
    b, d, h, w = x.shape
    y = F.group_norm(x, groups, p[f"{name}.norm.weight"], p[f"{name}.norm.bias"], 1e-6)
    y = linear(p, f"{name}.proj_in", y.flatten(2).transpose(1, 2))  # [B, HW, D]
    block = f"{name}.transformer_blocks.0"
    normed = layer_norm(p, f"{block}.norm1", y)
    y = y + cross_attention(p, f"{block}.attn1", normed, normed, heads)
    y = y + cross_attention(p, f"{block}.attn2", layer_norm(p, f"{block}.norm2", y), condition, heads)
    hidden, gate = linear(p, f"{block}.ff.net.0.proj", layer_norm(p, f"{block}.norm3", y)).chunk(2, 2)
    y = y + linear(p, f"{block}.ff.net.2", hidden * F.gelu(gate))
    return linear(p, f"{name}.proj_out", y).transpose(1, 2).reshape(b, d, h, w) + x


def unet(p, x, t, condition, c):
    def conv(name, y, **options):
        return F.conv2d(y, p[f"{name}.weight"], p[f"{name}.bias"], padding=1, **options)

    def layer(block, j, y, heads):
        y = resnet(p, f"{block}.resnets.{j}", y, signal, c["normNumGroups"])
        return transformer(p, f"{block}.attentions.{j}", y, condition, heads, c["normNumGroups"])

    half = c["blockOutChannels"][0] // 2
    angles = t[:, None] * torch.exp(torch.arange(half) * (-math.log(10000) / half))
    time = linear(p, "time_embedding.linear_1", torch.cat([angles.cos(), angles.sin()], 1))
    signal = F.silu(linear(p, "time_embedding.linear_2", F.silu(time)))
    x = conv("conv_in", x)
    skips, last = [x], len(c["heads"]) - 1
    for i, heads in enumerate(c["heads"]):
        for j in range(c["layersPerBlock"]):
            x = layer(f"down_blocks.{i}", j, x, heads)
            skips.append(x)
        if i < last:
            x = conv(f"down_blocks.{i}.downsamplers.0.conv", x, stride=2)
            skips.append(x)
    x = resnet(p, "mid_block.resnets.1", layer("mid_block", 0, x, c["heads"][-1]), signal, c["normNumGroups"])
    for i, heads in enumerate(reversed(c["heads"])):
        for j in range(c["layersPerBlock"] + 1):
            x = layer(f"up_blocks.{i}", j, torch.cat([x, skips.pop()], 1), heads)
        if i < last:
            x = conv(f"up_blocks.{i}.upsamplers.0.conv", F.interpolate(x, scale_factor=2.0))
    x = F.group_norm(x, c["normNumGroups"], p["conv_norm_out.weight"], p["conv_norm_out.bias"])
    return conv("conv_out", F.silu(x))


# --- the cases, in the order of src/bench/cases.ts --------------------------------------------------------------------


def diffusion_loss(output, clean, noise, coefficients, prediction):
    a, b, x, e = (each.view(-1, 1, 1, 1) for each in coefficients.unbind(1))
    if prediction == "target":
        return F.mse_loss(output, clean * x + noise * e)
    gain = (x - e * (a / b.clamp(min=MIN_NOISE))).flatten()
    return ((output - clean).square().mean((1, 2, 3)) * gain.square()).mean()


def align_step(settings, tensors):
    inputs, frozen, start = (part(tensors, prefix) for prefix in ("input/", "constant/", "state/p/"))
    params = {name: value.requires_grad_() for name, value in start.items()}
    vision, denoiser, stage, draws = (settings[key] for key in ("vision", "denoiser", "stage", "draws"))
    labels = inputs["labels"].long()
    lr = float(inputs["scalars"][0])
    # The text tower is frozen and its input never changes: computed once.
    texts = l2_normalise(encode_text(frozen, frozen["names"])) * frozen["logit_scale"].clamp(max=math.log(100)).exp()

    def loss_of(params, pixels, noise, t, coefficients):
        p = {**frozen, **params}
        tokens, pooled, embeds = encode_image(p, pixels, vision)
        contrastive = F.cross_entropy(l2_normalise(embeds) @ texts.T, labels)
        condition = project_condition(p, select_tokens(tokens, pooled, denoiser["conditionTokens"]))
        clean = pixels * 2 - 1
        if draws > 1:
            clean = clean.repeat(draws, 1, 1, 1)
            condition = tuple(each.repeat(draws, *[1] * (each.ndim - 1)) for each in condition)
        a, b, _, _ = (each.view(-1, 1, 1, 1) for each in coefficients.unbind(1))
        output = denoise(p, clean * a + noise * b, t, condition, denoiser)
        feedback = diffusion_loss(output, clean, noise, coefficients, settings["prediction"])
        return stage["contrastive"] * contrastive + stage["feedback"] * feedback

    decayed = [value for value in params.values() if value.ndim >= 2]
    others = [value for value in params.values() if value.ndim < 2]
    groups = [{"params": decayed, "weight_decay": stage["weightDecay"]}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=lr, betas=stage["betas"], eps=stage["eps"], fused=True)
    fn = maybe_compile(loss_of)
    batch = [inputs[name] for name in ("pixels", "noise", "t", "coefficients")]

    def step():
        loss = fn(params, *batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params.values(), stage["clip"])
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return loss

    def digest(loss):
        found = {"loss": raw(loss)}
        for name, value in params.items():
            moments = optimiser.state[value]
            found[f"state/p/{name}"] = raw(value)
            found[f"state/m/{name}"] = raw(moments["exp_avg"])
            found[f"state/v/{name}"] = raw(moments["exp_avg_sq"])
        return found

    return step, digest


def vit_stack(settings, tensors):
    inputs = {name: value.requires_grad_() for name, value in part(tensors, "input/").items()}

    def loss_of(p):
        x = p["x"]
        for i in range(settings["layers"]):
            x = encoder_layer(p, f"layers.{i}", x, settings["heads"])
        return x.square().mean()

    return gradient_case(inputs, loss_of)


def unet_stack(settings, tensors):
    inputs, p = part(tensors, "input/"), part(tensors, "constant/")
    for name in ("x", "condition"):
        inputs[name].requires_grad_()
    return gradient_case(
        inputs, lambda given: F.mse_loss(unet(p, given["x"], given["t"], given["condition"], settings), given["target"])
    )


def gradient_case(inputs, loss_of):
    """Value and gradient of a scalar by everything in `inputs` that wants one."""
    fn = maybe_compile(loss_of)
    wanted = {name: value for name, value in inputs.items() if value.requires_grad}

    def step():
        loss = fn(inputs)
        return loss, torch.autograd.grad(loss, list(wanted.values()))

    def digest(result):
        loss, grads = result
        return {"loss": raw(loss), **{f"grad/{name}": raw(grad) for name, grad in zip(wanted, grads)}}

    return step, digest


def encoder_inference(settings, tensors):
    pixels = tensor(tensors["input/pixels"])
    params = part(tensors, "constant/")
    fn = maybe_compile(lambda pixels: l2_normalise(encode_image(params, pixels, settings["vision"])[2]))

    def step():
        with torch.inference_mode():
            return fn(pixels)

    return step, lambda features: {"features": raw(features)}


def encoder_pictures(settings, tensors):
    pictures = list(tensor(tensors["input/pictures"]).to(torch.uint8).numpy())
    params = part(tensors, "constant/")
    fn = maybe_compile(lambda pixels: l2_normalise(encode_image(params, pixels, settings["vision"])[2]))

    def to_tensor(picture):
        """As torchvision's: bytes [H, W, 3] to [3, H, W] in 0 to 1."""
        return torch.from_numpy(picture).permute(2, 0, 1).contiguous().to(torch.float32).div(255)

    def step():
        with torch.inference_mode():
            return fn(torch.stack([to_tensor(picture) for picture in pictures]))

    return step, lambda features: {"features": raw(features)}


CASES = {"align-step": align_step, "vit-stack": vit_stack, "unet-stack": unet_stack, "encoder-inference": encoder_inference, "encoder-pictures": encoder_pictures}


def open_case(name, settings, tensors):
    if name not in CASES:
        raise NotImplementedError(f"the PyTorch peer has no case {name}")
    return CASES[name](settings, tensors)


def warm_up():
    """Loads what PyTorch loads on first use, so that the baseline of the memory holds it."""
    torch.set_num_threads(THREADS)
    x = torch.ones(8, 8, requires_grad=True)
    F.layer_norm(x @ x, (8,)).square().mean().backward()


serve(warm_up, open_case)

"""The bench's cases as a JAX user writes them: pure functions under jit, value_and_grad, donated state.

Parameter names and numerics are those of packages/models and packages/alignment.
"""

import math
import os

# JAX has no setting for its number of threads that all its parts heed; it counts the cores it may run on.
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
if CORES:
    os.sched_setaffinity(0, CORES[: int(os.environ["FOVEA_BENCH_THREADS"])])

import jax
import jax.numpy as jnp
import numpy as np
from protocol import serve

PIXEL_MEAN, PIXEL_STD = 0.6, 0.3
MIN_NOISE = 0.05
TIME_WIDTH = 64


def tensor(entry):
    dtype, shape, data = entry
    kind = {"F32": np.float32, "I32": np.int32}[dtype]
    return jnp.array(np.frombuffer(data, kind).reshape(shape))


def raw(x):
    x = np.asarray(x, np.float32)
    return list(x.shape), x.tobytes()


def part(tensors, prefix):
    return {name[len(prefix) :]: tensor(entry) for name, entry in tensors.items() if name.startswith(prefix)}


# --- the models, in the order of packages/models/src -----------------------------------------------------------------


def linear(p, name, x):
    y = x @ p[f"{name}.weight"].T
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def plain_norm(x, epsilon):
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + epsilon)


def layer_norm(p, name, x):
    return plain_norm(x, 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def self_attention(p, name, x, heads):
    b, t, d = x.shape
    q, k, v = (linear(p, f"{name}.{part}_proj", x).reshape(b, t, heads, d // heads) for part in "qkv")
    return linear(p, f"{name}.out_proj", jax.nn.dot_product_attention(q, k, v).reshape(b, t, d))


def quick_gelu(x):
    return x * jax.nn.sigmoid(1.702 * x)


def encoder_layer(p, layer, x, heads):
    x = x + self_attention(p, f"{layer}.self_attn", layer_norm(p, f"{layer}.layer_norm1", x), heads)
    hidden = quick_gelu(linear(p, f"{layer}.mlp.fc1", layer_norm(p, f"{layer}.layer_norm2", x)))
    return x + linear(p, f"{layer}.mlp.fc2", hidden)


def patchify(pixels, patch):
    b, c, h, w = pixels.shape
    split = pixels.reshape(b, c, h // patch, patch, w // patch, patch)
    return split.transpose(0, 2, 4, 1, 3, 5).reshape(b, -1, c * patch * patch)


def unpatchify(patches, patch, channels=3):
    b, n, _ = patches.shape
    side = math.isqrt(n)
    split = patches.reshape(b, side, side, channels, patch, patch)
    return split.transpose(0, 3, 1, 4, 2, 5).reshape(b, channels, side * patch, side * patch)


def encode_image(p, pixels, c):
    kernel = p["vision_model.embeddings.patch_embedding.weight"].reshape(c["width"], -1)
    patches = patchify((pixels - PIXEL_MEAN) / PIXEL_STD, c["patchSize"]) @ kernel.T  # [B, N, D]
    cls = jnp.broadcast_to(p["vision_model.embeddings.class_embedding"], (pixels.shape[0], 1, c["width"]))
    x = jnp.concatenate([cls, patches], 1) + p["vision_model.embeddings.position_embedding.weight"]
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
    return x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-12)


def modulate(x, shift, scale):
    return x * (scale + 1) + shift


def denoise(p, noisy, t, vector, tokens, c):
    patches = linear(p, "denoiser.patch_in", patchify(noisy, c["patchSize"]))
    x = jnp.concatenate([tokens, patches], 1) + p["denoiser.position_embedding"]  # [B, K + N, D]
    half = TIME_WIDTH // 2
    angles = t[:, None] * (1000 * jnp.exp(jnp.arange(half) * (-math.log(10000) / half)))
    time = linear(p, "denoiser.time.fc1", jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], 1))
    signal = jax.nn.silu(linear(p, "denoiser.time.fc2", jax.nn.silu(time)) + vector)
    for i in range(c["layers"]):
        block = f"denoiser.blocks.{i}"
        parts = jnp.split(linear(p, f"{block}.modulation", signal)[:, None], 6, 2)
        shift1, scale1, gate1, shift2, scale2, gate2 = parts
        y = modulate(plain_norm(x, 1e-6), shift1, scale1)
        x = x + gate1 * self_attention(p, f"{block}.attn", y, c["heads"])
        hidden = jax.nn.silu(linear(p, f"{block}.mlp.fc1", modulate(plain_norm(x, 1e-6), shift2, scale2)))
        x = x + gate2 * linear(p, f"{block}.mlp.fc2", hidden)
    shift, scale = jnp.split(linear(p, "denoiser.norm_out", signal)[:, None], 2, 2)
    picture = modulate(plain_norm(x[:, c["conditionTokens"] :], 1e-6), shift, scale)
    return unpatchify(linear(p, "denoiser.patch_out", picture), c["patchSize"])


def conv(p, name, x, stride=1):
    padding = p[f"{name}.weight"].shape[2] // 2
    y = jax.lax.conv_general_dilated(x, p[f"{name}.weight"], (stride, stride), [(padding, padding)] * 2)
    return y + p[f"{name}.bias"][:, None, None]


def group_norm(p, name, x, groups, epsilon=1e-5):
    y = plain_norm(x.reshape(x.shape[0], groups, -1), epsilon).reshape(x.shape)
    return y * p[f"{name}.weight"][:, None, None] + p[f"{name}.bias"][:, None, None]


def resnet(p, name, x, signal, groups):
    y = conv(p, f"{name}.conv1", jax.nn.silu(group_norm(p, f"{name}.norm1", x, groups)))
    y = y + linear(p, f"{name}.time_emb_proj", signal)[:, :, None, None]
    y = conv(p, f"{name}.conv2", jax.nn.silu(group_norm(p, f"{name}.norm2", y, groups)))
    return (conv(p, f"{name}.conv_shortcut", x) if f"{name}.conv_shortcut.weight" in p else x) + y


def cross_attention(p, name, x, over, heads):
    q, k, v = (
        linear(p, f"{name}.to_{part}", y).reshape(*y.shape[:2], heads, -1)
        for part, y in zip("qkv", (x, over, over))
    )
    return linear(p, f"{name}.to_out.0", jax.nn.dot_product_attention(q, k, v).reshape(x.shape))


def transformer(p, name, x, condition, heads, groups):
    b, d, h, w = x.shape
    y = group_norm(p, f"{name}.norm", x, groups, 1e-6).reshape(b, d, h * w).transpose(0, 2, 1)
    y = linear(p, f"{name}.proj_in", y)  # [B, HW, D]
    block = f"{name}.transformer_blocks.0"
    normed = layer_norm(p, f"{block}.norm1", y)
    y = y + cross_attention(p, f"{block}.attn1", normed, normed, heads)
    y = y + cross_attention(p, f"{block}.attn2", layer_norm(p, f"{block}.norm2", y), condition, heads)
    hidden, gate = jnp.split(linear(p, f"{block}.ff.net.0.proj", layer_norm(p, f"{block}.norm3", y)), 2, 2)
    y = y + linear(p, f"{block}.ff.net.2", hidden * jax.nn.gelu(gate, approximate=False))
    return linear(p, f"{name}.proj_out", y).transpose(0, 2, 1).reshape(b, d, h, w) + x


def unet(p, x, t, condition, c):
    def layer(block, j, y, heads):
        y = resnet(p, f"{block}.resnets.{j}", y, signal, c["normNumGroups"])
        return transformer(p, f"{block}.attentions.{j}", y, condition, heads, c["normNumGroups"])

    half = c["blockOutChannels"][0] // 2
    angles = t[:, None] * jnp.exp(jnp.arange(half) * (-math.log(10000) / half))
    time = linear(p, "time_embedding.linear_1", jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], 1))
    signal = jax.nn.silu(linear(p, "time_embedding.linear_2", jax.nn.silu(time)))
    x = conv(p, "conv_in", x)
    skips, last = [x], len(c["heads"]) - 1
    for i, heads in enumerate(c["heads"]):
        for j in range(c["layersPerBlock"]):
            x = layer(f"down_blocks.{i}", j, x, heads)
            skips.append(x)
        if i < last:
            x = conv(p, f"down_blocks.{i}.downsamplers.0.conv", x, 2)
            skips.append(x)
    x = resnet(p, "mid_block.resnets.1", layer("mid_block", 0, x, c["heads"][-1]), signal, c["normNumGroups"])
    for i, heads in enumerate(reversed(c["heads"])):
        for j in range(c["layersPerBlock"] + 1):
            x = layer(f"up_blocks.{i}", j, jnp.concatenate([x, skips.pop()], 1), heads)
        if i < last:
            x = conv(p, f"up_blocks.{i}.upsamplers.0.conv", x.repeat(2, 2).repeat(2, 3))
    return conv(p, "conv_out", jax.nn.silu(group_norm(p, "conv_norm_out", x, c["normNumGroups"])))


# --- the cases, in the order of src/bench/cases.ts --------------------------------------------------------------------


def align_loss(params, frozen, texts, inputs, settings):
    p = {**frozen, **params}
    pixels, noise, coefficients = (inputs[name] for name in ("pixels", "noise", "coefficients"))
    denoiser, draws = settings["denoiser"], settings["draws"]
    tokens, pooled, embeds = encode_image(p, pixels, settings["vision"])
    scores = jax.nn.log_softmax(l2_normalise(embeds) @ texts.T)
    contrastive = -jnp.take_along_axis(scores, inputs["labels"][:, None], 1).mean()
    count, patches = denoiser["conditionTokens"], tokens.shape[1]
    at = [int((i + 0.5) * patches / (count - 1)) for i in range(min(count - 1, patches))]
    selected = jnp.concatenate([pooled[:, None], *(tokens[:, i : i + 1] for i in at)], 1)
    vector = linear(p, "projector.fc2", jax.nn.silu(linear(p, "projector.fc1", selected[:, 0])))
    given = (pixels * 2 - 1, vector, linear(p, "projector.token", selected))
    clean, vector, tokens = (jnp.tile(each, (draws, *[1] * (each.ndim - 1))) for each in given)
    a, b, x, e = (coefficients[:, i].reshape(-1, 1, 1, 1) for i in range(4))
    output = denoise(p, clean * a + noise * b, inputs["t"], vector, tokens, denoiser)
    if settings["prediction"] == "target":
        feedback = jnp.square(output - (clean * x + noise * e)).mean()
    else:
        gain = (x - e * (a / jnp.maximum(b, MIN_NOISE))).reshape(-1)
        feedback = (jnp.square(output - clean).mean((1, 2, 3)) * jnp.square(gain)).mean()
    return settings["stage"]["contrastive"] * contrastive + settings["stage"]["feedback"] * feedback


def adamw(stage, scalars, p, g, m, v):
    lr, c1, c2 = scalars[0], scalars[1], scalars[2]
    b1, b2 = stage["betas"]
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * jnp.square(g)
    decay = stage["weightDecay"] if p.ndim >= 2 else 0.0
    return p * (1 - lr * decay) - lr * c1 * m / (jnp.sqrt(v * c2) + stage["eps"]), m, v


def align_step(settings, tensors):
    inputs, frozen = part(tensors, "input/"), part(tensors, "constant/")
    state = tuple(part(tensors, f"state/{kind}/") for kind in "pmv")
    stage = settings["stage"]
    # The text tower is frozen and its input never changes: computed once.
    scale = jnp.exp(jnp.minimum(frozen["logit_scale"], math.log(100)))
    texts = l2_normalise(encode_text(frozen, frozen["names"])) * scale

    @jax.jit
    def gradient(params, frozen, inputs):
        return jax.value_and_grad(align_loss)(params, frozen, texts, inputs, settings)

    def update(state, frozen, inputs):
        params, m, v = state
        loss, grads = gradient(params, frozen, inputs)
        norm = jnp.sqrt(sum(jnp.square(g).sum() for g in grads.values()))
        factor = jnp.minimum(1, stage["clip"] / (norm + 1e-6)) if stage["clip"] > 0 else 1.0
        each = {k: adamw(stage, inputs["scalars"], params[k], grads[k] * factor, m[k], v[k]) for k in params}
        return loss, tuple({k: values[i] for k, values in each.items()} for i in range(3))

    jitted = jax.jit(update, donate_argnums=0)

    def step():
        nonlocal state
        loss, state = jax.block_until_ready(jitted(state, frozen, inputs))
        return loss

    def digest(loss):
        moments = {f"state/{kind}/{k}": raw(x) for kind, values in zip("pmv", state) for k, x in values.items()}
        return {"loss": raw(loss), **moments}

    return step, digest


def gradient_case(inputs, loss_of):
    """Value and gradient of a scalar by everything in `inputs`."""
    gradient = jax.jit(jax.value_and_grad(loss_of))

    def digest(result):
        loss, grads = result
        return {"loss": raw(loss), **{f"grad/{name}": raw(grad) for name, grad in grads.items()}}

    return lambda: jax.block_until_ready(gradient(inputs)), digest


def vit_stack(settings, tensors):
    def loss_of(p):
        x = p["x"]
        for i in range(settings["layers"]):
            x = encoder_layer(p, f"layers.{i}", x, settings["heads"])
        return jnp.square(x).mean()

    return gradient_case(part(tensors, "input/"), loss_of)


def unet_stack(settings, tensors):
    inputs, p = part(tensors, "input/"), part(tensors, "constant/")
    t, target = inputs.pop("t"), inputs.pop("target")
    return gradient_case(
        inputs, lambda given: jnp.square(unet(p, given["x"], t, given["condition"], settings) - target).mean()
    )


def encoder_inference(settings, tensors):
    pixels, params = tensor(tensors["input/pixels"]), part(tensors, "constant/")
    features = jax.jit(lambda p, pixels: l2_normalise(encode_image(p, pixels, settings["vision"])[2]))
    return lambda: jax.block_until_ready(features(params, pixels)), lambda found: {"features": raw(found)}


CASES = {"align-step": align_step, "vit-stack": vit_stack, "unet-stack": unet_stack, "encoder-inference": encoder_inference}


def open_case(name, settings, tensors):
    if name not in CASES:
        raise NotImplementedError(f"the JAX peer has no port of {name}")
    return CASES[name](settings, tensors)


def warm_up():
    """Loads what JAX loads on first use, so that the baseline of the memory holds it."""
    jax.block_until_ready(jax.jit(jax.grad(lambda x: jnp.square(x @ x).mean()))(jnp.ones((8, 8))))


serve(warm_up, open_case)

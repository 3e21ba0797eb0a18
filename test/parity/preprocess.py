"""Small pictures of every kind, what transformers, open_clip and timm make of them, and of photographs: samples of it.

    python preprocess.py COCO_TINY_IMAGES
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from open_clip.transform import image_transform
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform
from transformers import BitImageProcessor, CLIPImageProcessor, SiglipImageProcessor
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

HERE = Path(__file__).parent / "fixtures"
PICTURES = HERE / "pictures"
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
# Every EVERY-th value of a photograph is kept.
EVERY = 797


def scene(height, width, channels, seed):
    """Waves with noise on them, in 8 bits."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (3 + c) + seed) * np.cos(y / (4 + 2 * c)) for c in range(channels)]
    noise = np.random.default_rng(seed).normal(0, 25, (height, width, channels))
    return np.clip(128 + 100 * np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def draw_pictures():
    PICTURES.mkdir(parents=True, exist_ok=True)
    photo = Image.fromarray(scene(47, 61, 3, 1))
    photo.save(PICTURES / "photo.jpg", quality=85)
    photo.save(PICTURES / "photo.webp", lossless=True)
    Image.fromarray(scene(120, 33, 3, 2)).save(PICTURES / "tall.png")
    Image.fromarray(scene(40, 51, 1, 3)[..., 0]).save(PICTURES / "grey.png")
    Image.fromarray(scene(52, 40, 4, 4)).save(PICTURES / "alpha.png")
    Image.fromarray(scene(40, 44, 2, 5), "LA").save(PICTURES / "grey-alpha.png")
    Image.fromarray(scene(44, 40, 3, 6)).quantize(16).save(PICTURES / "palette.png", transparency=3)
    Image.fromarray(scene(36, 48, 4, 7), "CMYK").save(PICTURES / "cmyk.jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(scene(36, 60, 3, 8)).save(PICTURES / "turned.jpg", quality=95, exif=exif)
    Image.fromarray(scene(14, 21, 3, 9)).save(PICTURES / "small.png")


levels = {"do_rescale": False, "do_normalize": False}
processors = {
    "clip": CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size=24),
    "bit": BitImageProcessorPil(size={"shortest_edge": 37}, crop_size={"height": 28, "width": 25}),
    "siglip": SiglipImageProcessorPil(size={"height": 16, "width": 27}),
    "bilinear": CLIPImageProcessorPil(size={"shortest_edge": 21}, crop_size=21, resample=2),
    "lanczos": CLIPImageProcessorPil(size={"shortest_edge": 19}, crop_size=19, resample=1),
    "nearest": CLIPImageProcessorPil(size={"shortest_edge": 17}, crop_size=17, resample=0),
    "padded": CLIPImageProcessor(do_resize=False, crop_size={"height": 25, "width": 30}),
}
full = {
    "clip-336": CLIPImageProcessor(size={"shortest_edge": 336}, crop_size=336),
    "siglip-384": SiglipImageProcessor(size={"height": 384, "width": 384}),
    "dinov2": BitImageProcessor(size={"shortest_edge": 256}, crop_size=224, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]),
}
pil = {"clip-336": CLIPImageProcessorPil, "siglip-384": SiglipImageProcessorPil, "dinov2": BitImageProcessorPil}

def in_rows_first(resize):
    """Newer Pillow may resize columns before rows, which ends some levels away; older ones, as encoders were trained, do not."""

    def resized(self, size, resample=None, *args, **kwargs):
        if resample == Image.Resampling.NEAREST:
            return resize(self, size, resample)
        return resize(resize(self, (size[0], self.height), resample), size, resample)

    return resized


draw_pictures()
tensors, configs = {}, {}
for name, processor in (processors | full).items():
    configs[name] = {k: v for k, v in processor.to_dict().items() if k != "_processor_class"}
own = Image.Image.resize
Image.Image.resize = in_rows_first(own)
for path in sorted(PICTURES.iterdir()):
    picture = Image.open(path)
    for name, processor in processors.items():
        pixels = processor(picture, return_tensors="pt", **levels)["pixel_values"][0]
        tensors[f"{path.name}/{name}"] = pixels.to(torch.uint8)

photo = Image.open(PICTURES / "tall.png")
tensors["normalised/clip"] = processors["clip"](photo, return_tensors="pt")["pixel_values"][0]
vision = {"image_size": 24}
for mode in ("shortest", "squash"):
    transform = image_transform(24, is_train=False, mean=MEAN, std=STD, interpolation="bicubic", resize_mode=mode)
    tensors[f"normalised/open_clip-{mode}"] = transform(photo)
    cfg = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": mode}
    configs[f"open_clip-{mode}"] = {"model_cfg": {"vision_cfg": vision}, "preprocess_cfg": cfg}
cfg = {"input_size": [3, 20, 20], "crop_pct": 0.9, "interpolation": "bilinear", "mean": MEAN, "std": STD, "crop_mode": "center"}
tensors["normalised/timm"] = create_transform((3, 20, 20), crop_pct=0.9, interpolation="bilinear", mean=MEAN, std=STD)(photo)
configs["timm"] = {"architecture": "any", "pretrained_cfg": cfg}

Image.Image.resize = own
for path in sorted(Path(sys.argv[1]).iterdir()):
    picture = Image.open(path)
    for name, processor in full.items():
        fast = processor(picture, return_tensors="pt", **levels)["pixel_values"][0].int()
        size = {k: processor.to_dict()[k] for k in ("size", "crop_size") if processor.to_dict().get(k)}
        slow = pil[name](**size)(picture, return_tensors="pt", **levels)["pixel_values"][0].int()
        tensors[f"photo/{path.stem}/{name}"] = fast.flatten()[::EVERY].to(torch.uint8)
        gap = (fast - slow).abs().float()
        print(f"{path.stem} {name}: torchvision's differs from Pillow's by {gap.mean():.4f} levels, at most {gap.max():.0f}")

about = {"configs": configs, "every": EVERY}
path = HERE / "pictures" / "preprocess.safetensors"
save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata={"about": json.dumps(about)})
print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes; pictures {sum(p.stat().st_size for p in PICTURES.iterdir())} bytes")

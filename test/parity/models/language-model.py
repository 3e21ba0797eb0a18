"""Writes the folders of language-model.test.ts, as save_pretrained writes them, and what transformers answers by them: log-
probabilities of the next token, and greedy texts.

    llama   SmolLM2's shape in two shards, its tokenizer's kind, a chat template
    llava   LLaVA 1.5's, with a processor
"""

import importlib.util
import json
import shutil
from pathlib import Path

import torch
from common import FIXTURES, draw
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPImageProcessor, LlamaConfig, LlamaForCausalLM, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerFast

spec = importlib.util.spec_from_file_location("chat_tokenizer", Path(__file__).parent / "chat-tokenizer.py")
chat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(chat)

ROOT = FIXTURES / "language-models"
QUESTIONS = ["Is there a dog in the image?", "Is there an old man's hat on the beach? Please answer this question with one word.", "3D-printed robot №7 — yes or no?", "Is it?", "Is there a naïve café owner next to a fire-truck, under 1,000 stars, at 24°C? " * 2]
NEW = 12


def settle(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            base = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0
            std = 0.6 if "embed_tokens" in name or "lm_head" in name else 0.25
            # Values that half precision holds, so that files are small.
            parameter.copy_((base + draw(name, parameter.shape, std)).half().float())
    return model.eval()


def save(model, folder, **options):
    shutil.rmtree(folder, ignore_errors=True)
    model.half().save_pretrained(folder, **options)
    model.float()


def answer(tokenizer, model, inputs):
    with torch.no_grad():
        logits = model.double()(**inputs).logits[0, -1]
        said = model.generate(**inputs, do_sample=False, max_new_tokens=NEW, pad_token_id=0)[0, inputs["input_ids"].shape[1] :]
        spelt = [spell(model, inputs, tokenizer.encode(word, add_special_tokens=False)) for word in ["Yes", "No"]]
    model.float()
    return logits.log_softmax(-1).float(), said, torch.tensor(spelt)


def spell(model, inputs, ids):
    """Log-probability of these tokens after the prompt."""
    whole = torch.cat([inputs["input_ids"], torch.tensor([ids])], 1)
    more = {k: v for k, v in inputs.items() if k == "pixel_values"}
    logs = model(input_ids=whole, **more).logits[0, -len(ids) - 1 : -1].log_softmax(-1)
    return sum(row[i] for row, i in zip(logs, ids)).item()


def llama():
    backend, config, _ = chat.smollm2()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **config)
    size = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=512)
    ends = tokenizer.convert_tokens_to_ids("<|im_end|>")
    model = settle(LlamaForCausalLM(LlamaConfig(**size, vocab_size=len(tokenizer), tie_word_embeddings=True, rope_theta=100000.0, bos_token_id=ends, eos_token_id=ends)))
    save(model, ROOT / "llama", max_shard_size="20KB")
    tokenizer.save_pretrained(ROOT / "llama")
    asked = []
    for question in QUESTIONS:
        text = tokenizer.apply_chat_template([{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True)
        inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        asked.append((question, None, inputs.input_ids[0], *answer(tokenizer, model, inputs)))
    return tokenizer, asked


def pictures():
    for i, (height, width) in enumerate([(20, 33), (8, 8), (15, 9)]):
        noise = draw(f"picture {i}", (height, width, 3), 1.0)
        yield ((noise + 2) * 64).clamp(0, 255).to(torch.uint8)


def llava():
    backend, config, _ = chat.sentencepiece(True)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **config)
    vision = dict(model_type="clip_vision_model", hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2, projection_dim=12, image_size=12, patch_size=4)
    text = dict(model_type="llama", vocab_size=len(tokenizer), hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512)
    image = tokenizer.convert_tokens_to_ids("<image>")
    model = settle(LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_index=image)))
    processor = LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 12}, crop_size={"height": 12, "width": 12}),
        tokenizer, patch_size=4, vision_feature_select_strategy="default", chat_template=config["chat_template"], image_token="<image>", num_additional_image_tokens=1,
    )
    save(model, ROOT / "llava")
    processor.save_pretrained(ROOT / "llava")
    asked = []
    for i, pixels in enumerate(pictures()):
        for question in QUESTIONS:
            message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
            prompt = processor.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
            inputs = processor(images=Image.fromarray(pixels.numpy()), text=prompt, return_tensors="pt")
            wide = {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}
            asked.append((question, i, inputs.input_ids[0], *answer(tokenizer, model, wide)))
    return tokenizer, asked


tensors, about = {}, {}
for name, make in {"llama": llama, "llava": llava}.items():
    tokenizer, asked = make()
    about[name] = []
    for row, (question, picture, ids, logs, said, spelt) in enumerate(asked):
        tensors |= {f"{name}/{row}/ids": ids.int(), f"{name}/{row}/logs": logs, f"{name}/{row}/said": said.int(), f"{name}/{row}/spelt": spelt}
        about[name].append({"question": question, "picture": picture, "text": tokenizer.decode(said, skip_special_tokens=True)})
for i, pixels in enumerate(pictures()):
    tensors[f"picture/{i}"] = pixels.int()
path = FIXTURES / "language-models.safetensors"
save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata={"about": json.dumps(about, ensure_ascii=False)})
print(path.name, path.stat().st_size, sum(f.stat().st_size for f in ROOT.rglob("*") if f.is_file()))

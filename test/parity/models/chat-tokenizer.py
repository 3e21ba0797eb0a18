"""Writes the fixture of chat-tokenizer.test.ts: tokenizers of language models as published, of tiny vocabularies, with
what transformers makes of TEXTS and of CHATS.

    chat-tokenizer.py                  the committed one
    chat-tokenizer.py FOLDER OUT.json  what transformers makes of TEXTS by a real tokenizer in FOLDER
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from common import FIXTURES
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

NOUNS = ["a cat", "two dogs", "an old man's hat", "Elephants", "traffic light", "naïve café owner", "3D-printed robot №7", "STOP sign", "dining table", "skis"]
PLACES = ["in the image?", "on the beach", "next to a fire-truck", "(left of the tree)", "at 10:45pm", "under 1,000 stars", "like a 🐱 in a 📦", "at 24°C — it's hot", "with \"quotes\" & ampersands"]
ODD = [
    "", " ", "  ", "\n", "\n\n", " \n \n", "\t", "Yes", " Yes", "yes", "No.", " no,", "A", " B", "(a) Open (b) Closed", "Answer: A", "- hello", "  leading and trailing  ", "a  b\tc\nd", "a\n\n\nb", "\u00a0no-break\u00a0space", "zero\u200bwidth", "\ufeffbom",
    "I'm you're he's we've they'll she'd don't", "I’M YOU’RE", "'S 'T 'RE", "O'Neill's", "café", "cafe\u0301", "Ångström", "A\u030angstro\u0308m", "ß ẞ", "İstanbul", "ΑΣ ΟΔΟΣ", "ﬁne ﬂow", "①②③", "½ ⅓ x² H₂O", "１２３ ＡＢＣ",
    "😀", "👩‍👩‍👧‍👦 family", "🇫🇷🇯🇵", "👍🏽 ok", "日本語のテキスト", "中文字符。", "한국어 텍스트", "العربية", "עברית", "हिन्दी", "ไทย", "русский язык", "mixed日本語english",
    "under_score", "CamelCaseWord", "a.b.c", "...", "……", "http://x.org/a?b=c&d=e#f", "$5.99", "50%", "1", "12", "123", "1234", "1234567890", "3.14159", "1e-5", "7 8 9", "year2024was",
    "{curly} [square] <angle>", "`tick` ~tilde~ ^hat^", "</w>", "▁low ▁line", "Ġbyte", "<0x41>", "<s>", "</s>", "a </s> b", "a</s>b", "<image>", "USER: <image>\nIs it?", "<|im_start|>user\nhi<|im_end|>\n", "x<|eot_id|>  y",
    "word " * 40, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "." * 70, " " * 33, "\n" * 9, "\u0001control\u001f", "line\r\nbreak", "\r\n\r\n", "a\u0300\u0301\u0302", "ſ", "K (kelvin)", "tab\there", "end with space ", "end with newline\n",
]
TEXTS = [f"Is there {n} {p}" for n in NOUNS for p in PLACES] + [f"{n.upper()}, please.\n" for n in NOUNS] + ODD

# Words that SmolLM2 has tokens for.
ANSWERS = [space + word for word in ["Yes", "yes", "No", "no"] for space in ["", " "]]

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

CHATML = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}{% endif %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
HEADERS = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
VICUNA = "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}{# Render all images first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}{# Render all text next #}{% if message['role'] != 'assistant' %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}{% endfor %}{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
INST = "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'].strip() + ' [/INST]' }}{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"

QUESTION = "Is there a dog in the image?"
TEXT_CHATS = [
    [{"role": "user", "content": QUESTION}],
    [{"role": "user", "content": "  Padded, <b>marked</b> & 'quoted' "}, {"role": "assistant", "content": "Yes"}, {"role": "user", "content": "Sure?\n"}],
    [{"role": "system", "content": "Say yes."}, {"role": "user", "content": QUESTION}],
]
PICTURE_CHATS = [[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}], [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]]


def byte_level(split, special, vocab_size=420, normalizer=None, digits=False, ignore_merges=False):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        tokenizer.normalizer = normalizer
    first = pre_tokenizers.Digits(individual_digits=True) if digits else pre_tokenizers.Split(Regex(split), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([first, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=digits)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False, special_tokens=[] if digits is False else special)
    words = ANSWERS * 60 if digits else []
    tokenizer.train_from_iterator([t for t in TEXTS if t.isascii()] + words, trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    return tokenizer


def llama3():
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokenizer = byte_level(LLAMA3, special, ignore_merges=True)
    begin = tokenizer.token_to_id("<|begin_of_text|>")
    template = processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A $B", special_tokens=[("<|begin_of_text|>", begin)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return tokenizer, dict(bos_token="<|begin_of_text|>", eos_token="<|eot_id|>", chat_template=HEADERS), TEXT_CHATS


def qwen2():
    tokenizer = byte_level(QWEN2, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], normalizer=normalizers.NFC())
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer, dict(eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHATML), TEXT_CHATS


def smollm2():
    tokenizer = byte_level(None, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], digits=True)
    return tokenizer, dict(bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>", unk_token="<|endoftext|>", chat_template=CHATML), TEXT_CHATS


def sentencepiece(metaspace):
    """Llama 2's: pieces of sentencepiece, what they lack as bytes. Of two layouts: the normalizer's, and the later one."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    pieces = trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>"], show_progress=False)
    trained.train_from_iterator([t for t in TEXTS if t.isascii() and "<" not in t], pieces)
    model = json.loads(trained.to_str())["model"]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    # As in Llama 2, merged pieces come first and single letters last.
    learned = sorted((t for t in model["vocab"] if t != "<unk>"), key=lambda t: (len(t) == 1, model["vocab"][t]))
    vocab = {token: i for i, token in enumerate(tokens + learned)}
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ["<unk>", "<s>", "</s>", "<image>"]])
    return tokenizer, dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=VICUNA if metaspace else INST), PICTURE_CHATS if metaspace else TEXT_CHATS[:2]


def answers(tokenizer):
    plain = [tokenizer(t, add_special_tokens=False).input_ids for t in TEXTS]
    return {
        "plain": plain,
        "special": [tokenizer(t).input_ids for t in TEXTS],
        "decoded": [tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) for ids in plain],
    }


def tiny():
    about = {"texts": TEXTS, "folders": {}, "answers": {}}
    for name, make in {"llama3": llama3, "qwen2": qwen2, "smollm2": smollm2, "llama2": lambda: sentencepiece(False), "llava": lambda: sentencepiece(True)}.items():
        backend, config, chats = make()
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **config)
        with tempfile.TemporaryDirectory() as scratch:
            tokenizer.save_pretrained(scratch)
            files = {file.name: file.read_text() for file in sorted(Path(scratch).iterdir())}
        files["tokenizer.json"] = json.dumps(json.loads(files["tokenizer.json"]), ensure_ascii=False, separators=(",", ":"))
        about["folders"][name] = files
        # transformers gives templates today's date; answers must not depend on it, so ours gives none.
        date = "26 Jul 2024"
        rendered = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True, date_string=date) for chat in chats]
        about["answers"][name] = answers(tokenizer) | {"chats": chats, "rendered": rendered}
    path = FIXTURES / "chat-tokenizer.safetensors"
    save_file({"nothing": torch.zeros(1)}, path, metadata={"about": json.dumps(about, ensure_ascii=False)})
    print(f"{path.name}: {len(TEXTS)} texts, {path.stat().st_size} bytes")


def real(folder, out):
    Path(out).write_text(json.dumps({"texts": TEXTS} | answers(AutoTokenizer.from_pretrained(folder))))


if __name__ == "__main__":
    real(*sys.argv[1:]) if len(sys.argv) > 1 else tiny()

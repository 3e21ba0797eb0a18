"""Writes the fixture of text-tokenizer.test.ts: folders as published, with what transformers makes of TEXTS.

    text-tokenizer.py           the committed one, of tiny vocabularies (needs the package sentencepiece)
    text-tokenizer.py FOLDER    CLIP's real vocabulary, from open_clip, into FOLDER/{files,json} and FOLDER/ids.json
"""

import gzip
import io
import json
import sys
import tempfile
from pathlib import Path

import torch
from common import FIXTURES
from safetensors.torch import save_file
from transformers import CLIPTokenizer

LENGTH = 20
SUBJECTS = ["a cat", "two dogs", "an old man's hat", "Elephants", "the red car", "New York", "a naïve café owner", "3D-printed robot №7", "école", "STOP sign"]
PLACES = ["on the beach", "in the rain…", "next to a fire-truck", "(left of the tree)", "at 10:45pm", "under 1,000 stars", "in the café’s naïve painting", "at 24°C — it's hot", "like a 🐱 in a 📦", "— blurry —", "with \"quotes\" & ampersands"]
ODD = [
    "", " ", "\t\n", ".", "!!!", "- hello", "  leading and trailing  ", "a  b\tc\nd", "\u00a0no-break\u00a0space", "zero\u200bwidth", "\ufeffbom",
    "I'm you're he's we've they'll she'd don't", "I’m you’re", "'s 't 're", "O'Neill's", "rock'n'roll", "ROCK'N'ROLL IT'S",
    "café", "cafe\u0301", "Ångström", "A\u030angstro\u0308m", "ÀÉÎÕÜ", "ß ẞ", "İstanbul", "ΑΣ ΟΔΟΣ", "ﬁne ﬂow", "①②③", "½ ⅓ x² H₂O", "Ⅷ", "１２３ ＡＢＣ",
    "😀", "👩‍👩‍👧‍👦 family", "🇫🇷🇯🇵", "👍🏽 ok", "❤️ vs ❤", "cat🐱dog🐶", "日本語のテキスト", "中文字符", "한국어 텍스트", "العربية", "עברית", "हिन्दी", "ไทย", "русский язык",
    "mixed日本語english", "under_score", "snake_case_name", "CamelCaseWord", "a.b.c", "...", "……", "e.g. i.e. etc.", "http://x.org/a?b=c&d=e#f", "me@mail.com", "#tag @user", "$5.99", "50%", "1234567890", "3.14159", "1e-5",
    "a/b\\c", "{curly} [square] <angle>", "`tick` ~tilde~ ^hat^", "|pipe|", "x+y=z", "<|startoftext|>", "<|endoftext|> after", "a <|endoftext|> b", "the <|ENDOFTEXT|>", "</w>", "<unk>x", "▁low ▁line",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "supercalifragilisticexpialidocious", "pneumonoultramicroscopicsilicovolcanoconiosis",
    "word " * 100, "a photo of " * 40 + "a cat", "🐱" * 60, "1" * 100, "." * 200, "\u0001control\u001f", "tab\there", "line\r\nbreak", "a\u0300\u0301\u0302", "ǅ ǆ", "ſ", "K (kelvin)",
]
TEXTS = [f"{s} {p}" for s in SUBJECTS for p in PLACES] + [f"a photo of {s}." for s in SUBJECTS] + [f"A PHOTO OF {p.upper()}!" for p in PLACES] + [f"{s}, which {p} they'd seen" for s in SUBJECTS for p in PLACES[::2]] + ODD


def ids(tokenizer, length):
    return tokenizer(TEXTS, padding="max_length", truncation=True, max_length=length).input_ids


def clip_files(folder, vocab, merges):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")


def clip_vocab(merges):
    from open_clip.tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    tokens = letters + [c + "</w>" for c in letters] + ["".join(m.split()) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    return {token: i for i, token in enumerate(tokens)}


def real_merges():
    import open_clip

    packed = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    return gzip.open(packed).read().decode().split("\n")[1 : 49152 - 256 - 2 + 1]


def real(folder):
    merges = real_merges()
    clip_files(folder / "files", clip_vocab(merges), merges)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "files")
    tokenizer.save_pretrained(folder / "json")
    (folder / "ids.json").write_text(json.dumps(ids(tokenizer, 77)))


def tiny_clip(folder):
    """The first merges of CLIP's, so that ranks are as there; in both layouts."""
    merges = real_merges()[:300]
    clip_files(folder / "clip-files", clip_vocab(merges), merges)
    plain = CLIPTokenizer.from_pretrained(folder / "clip-files")
    # As Stable Diffusion 2's and OpenCLIP's H/14.
    bang = CLIPTokenizer.from_pretrained(folder / "clip-files", pad_token="!")
    bang.save_pretrained(folder / "clip")
    return {"clip-files": plain, "clip": bang}


def tiny_siglip(folder):
    """As SigLIP's: unigram pieces, ids 0, 1 and 2 for padding, end and unknown, NFKC."""
    import sentencepiece
    from transformers import SiglipTokenizer, convert_slow_tokenizer

    class Converter(convert_slow_tokenizer.SpmConverter):
        def post_processor(self):
            return convert_slow_tokenizer.processors.TemplateProcessing(single=["$A", "</s>"], special_tokens=[("</s>", 1)])

    model = io.BytesIO()
    words = iter([t.lower() for t in TEXTS if t.isascii() and t.strip() and len(t) < 90])
    ids = dict(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=words, model_writer=model, vocab_size=160, normalization_rule_name="nmt_nfkc", **ids)
    (folder / "spiece.model").write_bytes(model.getvalue())
    tokenizer = SiglipTokenizer(str(folder / "spiece.model"))
    tokenizer.save_pretrained(folder / "siglip")
    (folder / "siglip" / "spiece.model").unlink()
    json_file = json.loads(Converter(tokenizer).converted().to_str())
    # Hundreds of kilobytes that the reader does not look at: it takes NFKC by name.
    for step in json_file["normalizer"]["normalizers"]:
        step.pop("precompiled_charsmap", None)
    special = dict(special=True, normalized=False, lstrip=True, rstrip=True, single_word=False)
    json_file["added_tokens"] = [{"id": 1, "content": "</s>", **special}, {"id": 2, "content": "<unk>", **special}]
    (folder / "siglip" / "tokenizer.json").write_text(json.dumps(json_file))
    return {"siglip": tokenizer}


def tiny():
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        tokenizers = tiny_clip(folder) | tiny_siglip(folder)
        files = {name: {file.name: compact(file) for file in sorted((folder / name).iterdir())} for name in tokenizers}
    about = json.dumps({"texts": TEXTS, "folders": files}, ensure_ascii=False)
    tensors = {f"out/{name}": torch.tensor(ids(t, LENGTH), dtype=torch.int32) for name, t in tokenizers.items()}
    path = FIXTURES / "text-tokenizer.safetensors"
    save_file(tensors, path, metadata={"about": about})
    print(f"{path.name}: {len(TEXTS)} texts, {path.stat().st_size} bytes")


def compact(file):
    return json.dumps(json.loads(file.read_text()), ensure_ascii=False, separators=(",", ":")) if file.suffix == ".json" else file.read_text()


real(Path(sys.argv[1])) if len(sys.argv) > 1 else tiny()

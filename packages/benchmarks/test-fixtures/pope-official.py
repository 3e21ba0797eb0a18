"""What POPE's own scorer says of 1,000 made-up answer files over its three question files; pope-official.test.ts must say the same.

    python3 packages/benchmarks/test-fixtures/pope-official.py ../shared/data/pope > packages/benchmarks/test-fixtures/pope-official.json

The rule is that of RUCAIBox/POPE evaluate.py (3df3ba1), told anew; nothing here is shared with the TypeScript but the
answers' recipe: file f, split s draw from Philox 4x32-10 with key (f, FNV-1a("pope-answers")) and counter (block, s, 0, 0).
File 0 always says "Yes", file 1 always "No". Python 3.9 or later, nothing else; about a minute.
"""

import hashlib
import json
import struct
import sys
from pathlib import Path

SPLITS = ["random", "popular", "adversarial"]
FILES = 1000
RIGHT = {"yes": ["Yes", "Yes, there is.", "yes"], "no": ["No", "No, there is not.", "no"]}
ANY = [
    "Yes.", "No.", "NO", "no\n", "No!", "No; there isn't", "There isn't a dog.", "The image does not show a dog.",
    "Yes, there is no doubt a dog.", "Yes. There is no cat though.", "I don't know", "Not sure", "A snowboard is visible",
    "", "dog", "**Yes**", "There is a person. No dog.", "是", "not, really", "It is. Not", " no", "yes no", "Nothing",
]  # fmt: skip
MASK = 0xFFFFFFFF


def philox(counter, key):
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & MASK, (p0 >> 32) ^ c3 ^ k1, p0 & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def stream(name):
    h = 0x811C9DC5
    for unit in name:
        h = ((h ^ ord(unit)) * 0x01000193) & MASK
    return h


def official(answer):
    words = answer.split(".")[0].replace(",", "").split(" ")
    return not ("No" in words or "not" in words or "no" in words)


def answers(file, split, labels):
    if file < 2:
        return ["Yes" if file == 0 else "No"] * len(labels)
    out = []
    for i, label in enumerate(labels):
        if i % 4 == 0:
            words = philox((i // 4, split, 0, 0), (file, stream("pope-answers")))
        high, low = words[i % 4] >> 16, words[i % 4] & 0xFFFF
        pool = RIGHT[label] if high * FILES < file * 65536 else ANY
        out.append(pool[low % len(pool)])
    return out


def evaluate(said, labels):
    tp = sum(a and b for a, b in zip(said, labels))
    fp = sum(a and not b for a, b in zip(said, labels))
    tn = sum(not a and not b for a, b in zip(said, labels))
    fn = sum(not a and b for a, b in zip(said, labels))
    precision = tp / (tp + fp) if tp + fp else None
    recall = tp / (tp + fn)
    f1 = 2 * precision * recall / (precision + recall) if precision else None
    return [tp, fp, tn, fn, (tp + tn) / (tp + tn + fp + fn), precision, recall, f1, said.count(True) / len(said)]


def main(folder):
    known = {text: official(text) for text in [*RIGHT["yes"], *RIGHT["no"], *ANY]}
    files = [[json.loads(line)["label"] for line in open(folder / f"coco_pope_{name}.json")] for name in SPLITS]
    shown, hashes = {}, []
    for file in range(FILES):
        numbers = []
        for split, labels in enumerate(files):
            said = [known[text] for text in answers(file, split, labels)]
            numbers.append(evaluate(said, [label == "yes" for label in labels]))
        if file in (0, 1, 2, 500, 999):
            shown.update({f"{file} {name}": row for name, row in zip(SPLITS, numbers)})
        flat = [float("nan") if x is None else float(x) for row in numbers for x in row]
        packed = struct.pack(f">{len(flat)}d", *flat)
        hashes.append(hashlib.sha256(packed).hexdigest()[:12])
    rows = {name: json.dumps(numbers) for name, numbers in shown.items()}
    columns = json.dumps(["tp", "fp", "tn", "fn", "accuracy", "precision", "recall", "f1", "yes-ratio"])
    lines = [f'    "{name}": {row}' for name, row in rows.items()]
    print(f'{{\n  "columns": {columns},\n  "shown": {{\n' + ",\n".join(lines) + "\n  },")
    print(f'  "hashes": "{" ".join(hashes)}"\n}}')


main(Path(sys.argv[1]))

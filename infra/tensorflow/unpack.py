"""Reads a TensorFlow wheel for provision.mjs; standard library only.

unpack.py inspect WHEEL                  prints its name, version and what its extra [and-cuda] needs, as JSON
unpack.py unpack WHEEL FOLDER PATTERN    unpacks the members whose names match, and the modes of programs with them
"""

import json
import os
import re
import sys
import zipfile


def inspect(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = next((n for n in names if re.fullmatch(r"[^/]+\.dist-info/METADATA", n)), None)
        lines = archive.read(metadata).decode().splitlines() if metadata else []
    fields = dict(line.split(": ", 1) for line in reversed(lines) if re.match(r"(Name|Version): ", line))
    needs = [re.fullmatch(r"Requires-Dist: ([^;]+?) *; *extra == [\"']and-cuda[\"']", line) for line in lines]
    return {
        "name": fields.get("Name", ""),
        "version": fields.get("Version", ""),
        "cuda": [need[1] for need in needs if need],
        "libraries": [n for n in names if re.fullmatch(r"tensorflow/libtensorflow_(cc|framework)\.so\.2", n)],
    }


def unpack(wheel, folder, pattern):
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if not re.search(pattern, member.filename):
                continue
            where = archive.extract(member, folder)
            if member.external_attr >> 16 & 0o100:
                os.chmod(where, 0o755)


try:
    command, *rest = sys.argv[1:]
    print(json.dumps({"inspect": inspect, "unpack": unpack}[command](*rest)))
except (OSError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
    sys.exit(f"{error}")

"""The child's side of the bench's talk: one JSON request a line in, one JSON answer a line out.

Framework-free, so that each peer needs nothing but its own framework: safetensors files are read and written here by
hand, and memory is read from Linux's /proc. A peer module gives `serve` its warm-up and its cases.
"""

import json
import os
import resource
import struct
import sys
import time


def read_safetensors(path):
    """name -> (dtype, shape, writable bytes)."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        tensors = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            file.seek(8 + length + begin)
            data = bytearray(end - begin)
            file.readinto(data)
            tensors[name] = (entry["dtype"], entry["shape"], data)
        return tensors


def write_safetensors(path, tensors):
    """Writes name -> (shape, float32 bytes)."""
    header, offset = {}, 0
    for name, (shape, data) in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, data in tensors.values():
            file.write(data)


def status_mb(field):
    """A field of /proc/self/status in MiB, or None where there is no /proc."""
    try:
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    return None


def resident_mb():
    found = status_mb("VmRSS")
    return found if found is not None else lifetime_peak_mb()


def lifetime_peak_mb():
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def reset_peak():
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass


def peak_mb():
    found = status_mb("VmHWM")
    return found if found is not None else lifetime_peak_mb()


def serve(warm_up, open_case):
    """`open_case(name, settings, tensors, compiled)` returns (step, digest): a step of the case, and its results as
    name -> (shape, bytes). It raises NotImplementedError with the reason where the peer has no such case."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warm_up()
    baseline = resident_mb()
    step = digest = None

    def answer(request):
        nonlocal step, digest
        do = request["do"]
        if do == "prepare":
            step, digest = open_case(request["case"], request["settings"], read_safetensors(request["file"]))
            return {}
        if do == "check":
            started = time.perf_counter()
            write_safetensors(request["file"], digest(step()))
            return {"ms": 1000 * (time.perf_counter() - started)}
        if do == "mark":
            reset_peak()
            return {}
        if do == "run":
            step()
            started = time.perf_counter()
            step()
            return {"ms": 1000 * (time.perf_counter() - started)}
        if do == "memory":
            return {"peakMB": max(0.0, peak_mb() - baseline)}
        raise ValueError(f"unknown request {do}")

    for line in sys.stdin:
        try:
            reply = {"ok": True, **answer(json.loads(line))}
        except NotImplementedError as error:
            reply = {"ok": False, "error": str(error)}
        except Exception as error:  # the parent names it and goes on without this peer
            import traceback

            traceback.print_exc()
            reply = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        out.write(json.dumps(reply) + "\n")

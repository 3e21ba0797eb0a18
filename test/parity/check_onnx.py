"""Checks ONNX models with onnx.checker (shapes inferred in full) and opens each in stock onnxruntime.

    python test/parity/check_onnx.py FOLDER    # needs onnx and onnxruntime; exits 1 and names the models that fail
"""

import sys
from pathlib import Path

import onnx
import onnxruntime


def fault(path):
    try:
        onnx.checker.check_model(onnx.load(path), full_check=True)
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever they raise is the finding
        return f"{path.name}: {error}"
    return None


if __name__ == "__main__":
    models = sorted(Path(sys.argv[1]).glob("*.onnx"))
    faults = [found for found in map(fault, models) if found]
    print("\n".join([*faults, f"{len(models)} models checked, {len(faults)} faulty"]))
    sys.exit(1 if faults or not models else 0)

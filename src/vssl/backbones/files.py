"""Files that others wrote, read as data: tensors and plain values, never code."""

import re
from pathlib import Path
from typing import Any

import torch

from vssl.errors import UserError


def read_plain(path: Path) -> Any:
    """What `torch.save` or safetensors wrote, on the CPU.

    Raises:
        UserError: Truncated, of no such format, or holding anything but tensors and plain values.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # foreign bytes: a broken file makes the unpickler raise KeyError, struct.error, ...
        raise _refusal(path, error) from None


def _refusal(path: Path, error: Exception) -> UserError:
    text = " ".join(str(error).split())
    code = re.search(r"GLOBAL (\S+)|function <?(?:built-in function |class )?'?([\w.]+)", text)
    if code and "weights_only" in text:
        rule = f"refused: it holds more than tensors and plain values ({code[1] or code[2]}), which can run code"
        remedy = "If you trust it, load it elsewhere with weights_only=False and save its state dict alone."
        return UserError(path, rule, remedy)
    if "TorchScript" in text:
        return UserError(path, "refused: it is a TorchScript archive, which is code", "Save its state_dict() instead.")
    reason = text[:120] if isinstance(error, RuntimeError) else type(error).__name__
    return UserError(path, f"not a readable checkpoint ({reason})", "It may be truncated; copy or save it again.")

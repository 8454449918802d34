"""Pretrained weights from a local file, into a trunk, strictly. Nothing is ever downloaded."""

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from vssl.backbones.files import read_plain
from vssl.errors import UserError

# some publishers wrap the state dict (pytorchvideo: model_state)
_WRAPPERS = ("model_state", "state_dict", "model")


def load_weights(file: str, wanted: Mapping[str, Tensor], *, own: Mapping[str, Tensor], spare: Collection[str]) -> None:
    """Copy a state-dict file into an encoder.

    Args:
        file: Local path of a state dict (`.safetensors`, else what `torch.save` wrote; tensors only).
        wanted: The encoder's tensors under the library's names.
        own: The same tensors under the encoder's names, for a file saved from the encoder itself.
        spare: Names the file may hold besides, because the library's whole network has them (its classifier).

    Raises:
        UserError: No such file, not a state dict, or any tensor missing, unknown or of another shape.
    """
    tensors = read_weights(file)
    if tensors.keys() == own.keys():
        wanted = own
    _check(file, tensors, wanted, spare)
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(tensors[name])


def read_weights(file: str) -> dict[str, Tensor]:
    """The tensors of a local file; `UserError` where it is none or holds anything else."""
    path = Path(file)
    if not path.is_file():
        raise UserError(path, "no such weights file", "Weights are local files; vssl downloads none.")
    content = read_plain(path)
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(
            path, "is not a state dict of tensors", "Save it again with torch.save(model.state_dict(), FILE)."
        )
    return content


def _check(file: str, tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], spare: Collection[str]) -> None:
    faults = {
        "missing": [name for name in wanted if name not in tensors],
        "unknown": [name for name in tensors if name not in wanted and name not in spare],
        "of another shape": [n for n, t in wanted.items() if n in tensors and tensors[n].shape != t.shape],
    }
    told = [f"{len(names)} {fault} ({', '.join(names[:2])})" for fault, names in faults.items() if names]
    if told:
        remedy = "Give the name (and model arguments) of the network this file was saved from."
        raise UserError(file, f"does not fit this network: tensors {'; '.join(told)}", remedy)

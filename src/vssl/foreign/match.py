"""Which tensor of a foreign file is which of an encoder: all of the encoder's, or none."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from vssl.backbones.base import Backbone
from vssl.backbones.files import read_plain
from vssl.errors import UserError
from vssl.foreign.layouts import Layout

_WRAPPERS = ("state_dict", "model_state", "model_state_dict", "model")
_COUNTER = "num_batches_tracked"  # unused in evaluation, and not in files from before PyTorch 0.4.1


class Matched(NamedTuple):
    """An encoder's tensors from a file, and the report on every name of both."""

    tensors: dict[str, Tensor]
    kept: dict[str, str]
    """Name in the file -> name in the encoder."""
    dropped: dict[str, str]
    """Name in the file -> why it is not used."""
    filled: list[str]
    """Step counters of batch norms that the file lacks; nothing else is ever filled."""


def read(file: Path) -> tuple[dict[str, Tensor], str | None]:
    """The tensors of a file by name, and what it calls its architecture.

    Raises:
        UserError: No such file, unsafe, truncated, or no state dict inside.
    """
    if not file.is_file():
        raise UserError(file, "no such file", "Give a local .pth, .pt, .tar, .ckpt or .safetensors file.")
    content: Any = read_plain(file)
    arch = content.get("arch") if isinstance(content, dict) else None
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors or len(tensors) != len(content):
        remedy = "Save it again with torch.save(model.state_dict(), FILE)."
        raise UserError(file, "holds no state dict of tensors", remedy)
    return tensors, arch if isinstance(arch, str) else None


def match(
    file: Path,
    tensors: Mapping[str, Tensor],
    backbone: Backbone,
    *,
    layout: Layout,
    network: str,
    key_map: Mapping[str, str | None],
) -> Matched:
    """Find every tensor of the encoder in the file.

    Args:
        file: Named in errors.
        tensors: Of the file.
        backbone: The encoder; not changed.
        layout: Of the file.
        network: The encoder's name.
        key_map: Prefix of a name -> what stands for it; None: drop. The first that fits decides.

    Raises:
        UserError: A tensor of the encoder is missing, misshapen or there twice, or one of the trunk is unknown.
    """
    own = backbone.state_dict()
    rename, heads = _renaming(backbone, layout, network)
    short = {name: _mapped(re.sub(r"(?<![^.])module\.", "", name), key_map) for name in tensors}
    names = {name: mapped for name, mapped in short.items() if mapped is not None}
    dropped = {name: "dropped by the key map" for name in short if name not in names}
    trunk = max(layout.trunks, key=lambda prefix: sum(rename(name, prefix) in own for name in names.values()))
    kept: dict[str, str] = {}
    unknown = []
    for name, mapped in names.items():
        ours, inner = rename(mapped, trunk), mapped.removeprefix(trunk)
        if ours in own:
            if ours in kept.values():
                raise UserError(file, f"two of its tensors are the encoder's {ours} ({name})", "Drop one: --key-map.")
            kept[name] = ours
        elif not mapped.startswith(trunk):
            dropped[name] = f"outside of {trunk}"
        elif inner in heads or any(re.fullmatch(pattern, inner) for pattern in layout.heads):
            dropped[name] = "head"
        else:
            unknown.append(name)
    found = {ours: tensors[theirs] for theirs, ours in kept.items()}
    values, filled = _complete(file, own, found, unknown=unknown, network=network)
    return Matched(values, kept, dropped, filled)


def _renaming(backbone: Backbone, layout: Layout, network: str) -> tuple[Callable[[str, str], str | None], set[str]]:
    """(name, trunk) -> the encoder's name or None, and the names of the library's own head."""
    modules = (layout.networks or {}).get(network)
    if modules:

        def of_layout(name: str, trunk: str) -> str | None:
            module, _, leaf = name.removeprefix(trunk).rpartition(".")
            return f"{modules[module]}.{leaf}" if name.startswith(trunk) and module in modules else None

        return of_layout, set()
    library: Any = getattr(backbone, "library_names", None)
    names, spare = library() if library else ({}, set())
    names = {own: own for own in backbone.state_dict()} | names

    def of_library(name: str, trunk: str) -> str | None:
        return names.get(name.removeprefix(trunk)) if name.startswith(trunk) else None

    return of_library, spare


def _mapped(name: str, key_map: Mapping[str, str | None]) -> str | None:
    for prefix, replacement in key_map.items():
        if name.startswith(prefix):
            return None if replacement is None else replacement + name.removeprefix(prefix)
    return name


def _complete(
    file: Path, own: Mapping[str, Tensor], found: dict[str, Tensor], *, unknown: list[str], network: str
) -> tuple[dict[str, Tensor], list[str]]:
    """All of the encoder's tensors in its types, step counters filled in; or a refusal."""
    filled = [name for name in own if name not in found and name.endswith(_COUNTER)]
    found = found | {name: own[name] for name in filled}
    faults = {
        "missing": [name for name in own if name not in found],
        "unknown": unknown,
        "of another shape": [name for name, t in found.items() if t.shape != own[name].shape],
    }
    told = [f"{len(names)} {fault} ({', '.join(names[:2])})" for fault, names in faults.items() if names]
    if told:
        rule = f"is not a {network} of this layout: of {len(own)} tensors {'; '.join(told)}"
        raise UserError(file, rule, "Choose another --backbone or --layout, or name its tensors in a --key-map.")
    return {name: found[name].to(tensor.dtype) for name, tensor in own.items()}, filled

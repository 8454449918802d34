"""Start a method from the backbone of another run: strict, and it says what was taken and what was not."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table
from torch import Tensor

from vssl import checkpoint
from vssl.checkpoint import CheckpointInfo
from vssl.errors import UserError
from vssl.methods.base import Method


class Inventory(NamedTuple):
    """Names of tensors, as in the two state dicts."""

    kept: list[str]
    """Of the backbone: taken over."""
    dropped: list[str]
    """Of the other run alone: its heads, teachers, bank."""
    new: list[str]
    """Of this method alone: as initialised; teachers are copies of their students."""

    def table(self) -> Table:
        """One line per kind and module, with the number of its tensors."""
        table = Table()
        for column in ("", "module", "tensors"):
            table.add_column(column, justify="right" if column == "tensors" else "left")
        for kind, keys in self._asdict().items():
            for module, number in Counter(key.partition(".")[0] for key in keys).items():
                table.add_row(kind, module, str(number))
        return table


def init_from(method: Method, path: str | Path) -> Inventory:
    """Load another run's backbone into a method's, make its teachers copies of it, and record where it came from.

    Args:
        method: Not trained yet; its backbone is the same network.
        path: A checkpoint, or a run directory (its last one; of its last finished stage).

    Raises:
        UserError: Not a checkpoint of vssl's, another network, a key that is missing, left over or of another shape.
    """
    file = checkpoint.resolve(path)
    loaded = checkpoint.load(file)
    info = checkpoint.describe(file, loaded)
    weights = checkpoint.backbone_weights(loaded)
    _check_spec(info, method.backbone.spec())
    if (card := checkpoint.card(file, loaded)) not in (None, method.backbone.input):
        rule = f"its weights want {tuple(card)}, this run's encoder sees {tuple(method.backbone.input)}"
        raise UserError(file, rule, "Give this run's backbone that size, mean and std.")
    _check_keys(file, weights, method.backbone.state_dict())
    method.backbone.load_state_dict(weights, strict=True)
    method.restart_teachers()
    method.phases = [*info.phases, _phase(info)]
    prefix = loaded["vssl"]["prefix"]
    theirs = [key for key in loaded["state_dict"] if not key.startswith(prefix)]
    ours = [key for key in method.state_dict() if not key.startswith("backbone.")]
    return Inventory([f"backbone.{key}" for key in weights], theirs, ours)


def _phase(info: CheckpointInfo) -> dict[str, Any]:
    seen = None if info.seen is None else {name: value for name, value in info.seen.items() if name != "earlier"}
    record = {name: getattr(info, name) for name in ("method", "step", "epoch", "sha", "budget", "frozen")}
    return {**record, "file": str(info.path), "seen": seen}


def _check_spec(info: CheckpointInfo, spec: Mapping[str, Any]) -> None:
    theirs, ours = (json.loads(json.dumps(value)) for value in (info.spec, spec))  # tuples read back as lists
    if different := difference(theirs, ours):
        rule = f"its encoder is another one: {different}"
        raise UserError(info.path, rule, "Give this run the backbone of that one.")


def difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """The first setting in which two encoder specs differ, in words; empty where none does."""
    if theirs["class_path"] != ours["class_path"]:
        return f"{theirs['class_path']}, here {ours['class_path']}"
    one, other = theirs.get("init_args") or {}, ours.get("init_args") or {}
    for name in dict.fromkeys([*one, *other]):
        if one.get(name) != other.get(name):
            return f"{name} {one.get(name)}, here {other.get(name)}"
    return ""


def _check_keys(file: Path, theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> None:
    shaped = [key for key in ours if key in theirs and theirs[key].shape != ours[key].shape]
    found = {
        "is missing": sorted(ours.keys() - theirs.keys()),
        "is not this encoder's": sorted(theirs.keys() - ours.keys()),
        "has another shape": shaped,
    }
    for rule, keys in found.items():
        if keys:
            more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
            raise UserError(file, f"its backbone.{keys[0]} {rule}{more}", "Give a checkpoint of the same encoder.")

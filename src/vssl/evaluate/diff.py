"""What differs between two runs, most telling first: from the records they left, without torch.

A run leaves config.yaml, environment.json and data.json (with a suffix .resumedN where it was continued: the last one
counts), and `vssl evaluate` leaves results. A run in stages stands for its last finished stage; the settings of those
before it count too.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from vssl import staged
from vssl.errors import UserError
from vssl.evaluate.protocol import HARD, SOFT
from vssl.evaluate.result import FOLDER, TRAINED, Result, of_run

PARTS = ("data", "protocol", "method", "optimisation", "seed", "code", "decoder", "environment", "paths")
"""By likely effect on a score, largest first."""

ABSENT = "-"
"""Stands for a field that one run does not have."""

_CONFIG = (
    (r"run_dir|ckpt_path|init_from|data\.(root|manifest)|trainer\.default_root_dir|.*\.weights", "paths"),
    (r"seed_everything|data\.seed", "seed"),
    (r"data\.reader", "decoder"),
    (r"data\.num_workers", "environment"),
    (r"data\.batch_size|model\.init_args\.optim(\..+)?", "optimisation"),
    (r"data\..+", "data"),
    (r"model(\..+)?", "method"),
    (r"trainer\.(max|min)_(epochs|steps|time)|trainer\.(limit_train|overfit)_batches", "optimisation"),
    (r"trainer\.(accumulate|gradient|precision|devices|num_nodes|strategy|sync_batchnorm|plugins).*", "optimisation"),
    (r".*", "environment"),
)
"""Dotted name of a setting -> its part; the first that matches decides."""
_PACKAGES = {"vssl": "code", "av": "decoder", "torchcodec": "decoder"}
_SELDOM_SAID = ("time", "executable")  # differ between any two runs, or say nothing


class Difference(NamedTuple):
    """One field that is not equal in both runs."""

    part: str
    field: str
    first: Any
    second: Any


def differences(first: Path, second: Path) -> list[Difference]:
    """The fields that differ between two run directories, in the order of PARTS.

    Raises:
        UserError: a directory is no run, or a record in it cannot be read.
    """
    (a, scored), (b, scored_too) = _record(first), _record(second)
    for name in scored.keys() & scored_too.keys():  # of a protocol that one lacks, its name says enough
        a |= scored[name]
        b |= scored_too[name]
    found = [
        Difference(part, field, a.get((part, field), ABSENT), b.get((part, field), ABSENT))
        for part, field in dict.fromkeys([*a, *b])
        if a.get((part, field), ABSENT) != b.get((part, field), ABSENT)
    ]
    return sorted(found, key=lambda difference: PARTS.index(difference.part))  # stable: a part keeps its order


_Record = dict[tuple[str, str], Any]


def _record(run: Path) -> tuple[_Record, dict[str, _Record]]:
    """(part, field) -> plain value, of all that a run says of itself; and of each protocol it was scored under."""
    home = staged.last_stage(run)
    fitted = [
        {(part, field if stage == home else f"{stage.name}: {field}"): v for (part, field), v in _fitted(stage).items()}
        for stage in reversed(staged.phases(home))
    ]
    found = of_run(home) if (home / FOLDER).is_dir() and any((home / FOLDER).glob("*.json")) else []
    results = [result for result in found if result.kind == TRAINED]
    protocols = {
        name: _joined(_protocol(result) for result in results if _unstamped(result) == name)
        for name in sorted(set(map(_unstamped, results)))
    }
    return _joined(fitted) | _joined(map(_scored, results)), protocols


def _joined(records: Iterable[_Record]) -> _Record:
    """One record; where several say different things of a field, all that they say."""
    every: dict[tuple[str, str], list[Any]] = {}
    for record in records:
        for field, value in record.items():
            if value not in every.setdefault(field, []):
                every[field].append(value)
    return {field: values[0] if len(values) == 1 else sorted(values, key=str) for field, values in every.items()}


def _fitted(run: Path) -> _Record:
    """What a run, or a stage of one, was fitted with."""
    if not (run / "config.yaml").is_file():
        raise UserError(run, "is no run directory: it has no config.yaml", "Give one that `vssl fit` made.")
    record = {("data", field): value for field, value in _seen(_json(run, "data")).items()}
    for name, value in _flat(_yaml(_last(run, "config", "yaml"))):
        part = next(part for pattern, part in _CONFIG if re.fullmatch(pattern, name))
        record[part, name.removeprefix("model.init_args.")] = value
    return record | _environment(_json(run, "environment"), "")


def _seen(data: Mapping[str, Any]) -> dict[str, Any]:
    """What pretraining saw: hashes and counts; the groups as one sorted list, so that equal sets are equal."""
    names = {"manifest": "manifest hash", "rows": "hash of the rows seen", "group_hashes": "source groups seen"}
    return {names.get(name, name): sorted(v) if name == "group_hashes" else v for name, v in data.items()}


def _scored(result: Result) -> _Record:
    """What a trained encoder's score was measured on, with what, and under which protocol."""
    dataset = result.dataset
    record: _Record = {
        ("data", f"{dataset}: manifest hash at evaluation"): result.manifest,
        ("data", f"{dataset} split {result.split}: leaked"): result.leaked,
        ("protocol", f"{dataset} split {result.split} {result.label}: {result.protocol['name']}"): "scored",
    }
    return record | _environment(result.environment, "evaluation: ")


def _protocol(result: Result) -> _Record:
    fields = result.protocol[HARD] | result.protocol[SOFT]
    return {("protocol", f"{_unstamped(result)}: {field}"): value for field, value in fields.items()}


def _unstamped(result: Result) -> str:
    """Name of the protocol; what follows in brackets is a field, too."""
    return result.protocol["name"].partition(" (")[0]


def _environment(found: Mapping[str, Any], prefix: str) -> _Record:
    record: _Record = {}
    for name, value in _flat({k: v for k, v in found.items() if k not in _SELDOM_SAID}):
        short = name.removeprefix("packages.")
        part = "code" if name.startswith("git") else _PACKAGES.get(short, "environment")
        record[part, prefix + short] = value
    return record


def _flat(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings under their dotted names; lists and empty mappings are leaves."""
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    elif name:
        yield name, tree


def _last(run: Path, stem: str, suffix: str) -> Path | None:
    """The newest of STEM.SUFFIX, STEM.resumed1.SUFFIX, ..."""

    def number(path: Path) -> int:
        return int(path.name.removeprefix(f"{stem}.resumed").removesuffix(f".{suffix}"))

    resumed = sorted(run.glob(f"{stem}.resumed[0-9]*.{suffix}"), key=number)
    first = run / f"{stem}.{suffix}"
    return resumed[-1] if resumed else first if first.is_file() else None


def _json(run: Path, stem: str) -> dict[str, Any]:
    """A record; empty where an old run has none."""
    path = _last(run, stem, "json")
    try:
        return _mapping(path, json.loads(path.read_text(encoding="utf-8"))) if path else {}
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(path, f"is not readable ({error})", "Restore it from a copy of the run.") from error


def _yaml(path: Path | None) -> dict[str, Any]:
    assert path is not None
    try:
        return _mapping(path, yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(path, f"is not readable ({reason})", "Restore it from a copy of the run.") from error


def _mapping(path: Path, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(path, "is not a record of a run", "Restore it from a copy of the run.")
    return value

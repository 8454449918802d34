"""Runs of one recipe: other seeds, or pretrained on other splits. They become one row. Reads records only; no torch."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from vssl.evaluate import stats
from vssl.evaluate.result import Result
from vssl.evaluate.rows import Row, identity, recipe

_ELSEWHERE = {
    "": ("seed_everything", "run_dir", "ckpt_path"),
    "data": ("manifest", "root", "split", "num_workers", "reader"),
    "trainer": ("logger", "callbacks", "default_root_dir", "enable_progress_bar", "enable_model_summary"),
}
"""Settings in which runs of one recipe may differ; what was seen is compared by the data set's name."""


class Origin(NamedTuple):
    """Where a run comes from."""

    seed: int | None
    recipe: str
    """Hash of its settings, but for the seed, the split, and where files lie."""


def origin(run: Path) -> Origin | None:
    """Seed and recipe of a run directory, from its config.yaml; None where it has none (weights from elsewhere)."""
    file = run / "config.yaml"
    if not file.is_file():
        return None
    # the C parser, where PyYAML has it: ten times as fast
    config = yaml.load(file.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    seed = config.get("seed_everything")
    for section, names in _ELSEWHERE.items():
        part = config.get(section) or {} if section else config
        for name in names:
            part.pop(name, None)
    if start := config.pop("init_from", None):  # a stage: the recipe of what it started from is part of its own
        earlier = origin(Path(start).parent.parent)
        config["init_from"] = earlier.recipe if earlier else start
    text = json.dumps(config, sort_keys=True, default=str)
    return Origin(seed, hashlib.blake2b(text.encode(), digest_size=6).hexdigest())


def merge(rows: list[Row], origins: Mapping[str, Origin]) -> list[Row]:
    """One row for the runs of one recipe; a leaked split stays in a row of its own run.

    Args:
        rows: Trained rows, one per run.
        origins: Run -> where it comes from; a run without one stays alone.
    """
    families: dict[Any, list[Row]] = {}
    for row in rows:
        families.setdefault((_family(row, origins), recipe(row.first)), []).append(row)
    merged = []
    for (key, _), own in families.items():
        for row in own:
            found = origins.get(row.run)
            row.family, row.seed = str(key), found.seed if found else None
        own = _without_copies(own)
        whole = [row for row in own if row.clean]
        merged += own if len(whole) < 2 else [_one(whole), *_leaked(own)]
    return merged


def _without_copies(rows: list[Row]) -> list[Row]:
    """A checkpoint that lies in two places is one run."""
    first: dict[str, Row] = {}
    for row in rows:
        kept = first.setdefault(row.first.checkpoint["sha"], row)
        if kept is not row:
            kept.flags.append(f"also in {row.run}")
            kept.results |= {split: found for split, found in row.results.items() if split not in kept.results}
    return list(first.values())


def spread(row: Row) -> stats.Runs | None:
    """Mean and standard deviation over the runs of a row, where all were scored on the same splits."""
    values = [[v for split in run.clean for v in run.values[split]] for run in row.runs]
    if len(row.runs) < 2 or len({tuple(run.clean) for run in row.runs}) > 1:
        return None
    return stats.over_runs([sum(own) / len(own) for own in values])


def _family(row: Row, origins: Mapping[str, Origin]) -> tuple[str, ...]:
    found, data = origins.get(row.run), row.first.pretraining.get("data") or {}
    if found is None or not data:
        return row.name, row.run
    seen = [(one["dataset"], one["subset"], one["manifest"]) for one in (*data.get("earlier", ()), data)]
    return row.name, found.recipe, identity(row.first), *map(str, seen)


def _splits(rows: Iterable[Row]) -> set[int]:
    """Splits of pretraining."""
    return {data["split"] for row in rows if (data := row.first.pretraining.get("data"))}


def _one(runs: list[Row]) -> Row:
    """The runs' clean splits together: several results where several runs share a split."""
    results: dict[int, list[Result]] = {}
    for run in runs:
        for split in run.clean:
            results.setdefault(split, []).extend(run.results[split])
    first = runs[0]
    row = Row(first.kind, first.name, ", ".join(run.run for run in runs), results, runs=runs, family=first.family)
    seeds, splits = {run.seed for run in runs}, _splits(runs)
    # an epoch of another split has other steps
    differ = [len({run.first.checkpoint[name] for run in runs}) > 1 for name in ("step", "epoch")]
    if all(differ) or (any(differ) and len(splits) == 1):
        row.flags.append("runs of different length")
    if len(splits) == len(runs):
        row.many = f"pretrained on each of {len(runs)} splits"
    else:
        row.many = f"mean of {len(runs)} {'seeds' if len(seeds) == len(runs) else 'runs'}"
        if len({tuple(run.clean) for run in runs}) > 1:
            row.flags.append("not every run on every split")
    return row


def _leaked(rows: list[Row]) -> list[Row]:
    left = [(row, {s: found for s, found in row.results.items() if s not in row.clean}) for row in rows]
    return [replace(row, results=results, family=f"{row.family} {row.run}") for row, results in left if results]

"""From a folder of videos to a manifest, and from a manifest back to the folder: every file decoded once."""

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vssl.data.layouts import Listing
from vssl.data.manifest import Manifest
from vssl.data.manifest_file import PROBED, SPLIT, save
from vssl.data.pool import Lost, run_isolated
from vssl.data.probe import Probe, probe
from vssl.data.reader import installed_readers
from vssl.errors import UserError

FIRST = 10
"""How many names of a kind the terminal shows; the JSON has all."""


class Change(NamedTuple):
    """Where a file is not what its manifest says."""

    path: str
    column: str
    stored: Any
    found: Any


def build(listing: Listing, *, out: Path, num_workers: int, timeout_s: float) -> dict[str, Any]:
    """Probe every file of a listing and write the manifest.

    Returns:
        The JSON beside the manifest: counts, bad, missing, duplicate and unlisted files by name.

    Raises:
        UserError: There is no video at all, or `out` is no CSV.
    """
    paths = listing.columns["path"]
    if out.suffix != ".csv":
        raise UserError(out, "a manifest is a .csv file, with its .json beside it", f"Write {out.with_suffix('.csv')}")
    if not paths:
        raise UserError(listing.root, "holds no video files", "ROOT is the folder that holds the class folders")
    probes = probe_all([str(listing.root / path) for path in paths], num_workers=num_workers, timeout_s=timeout_s)
    facts = dict(zip(Probe._fields, zip(*probes, strict=True), strict=True))
    arrays = {name: pa.array(values, pa.string()) for name, values in listing.columns.items()}
    arrays |= {name: pa.array(facts[name], kind) for name, kind in PROBED.items()}
    bad = [{"path": path, "reason": found.error} for path, found in zip(paths, probes, strict=True) if found.error]
    bad += [{"path": path, "reason": reason} for path, reason in listing.refused.items()]
    splits = [name for name in listing.columns if SPLIT.fullmatch(name)]
    unlisted = [
        path
        for path, *subsets in zip(paths, *(listing.columns[name] for name in splits), strict=True)
        if not any(subsets)
    ]
    info = {
        "dataset": listing.dataset,
        "readers": installed_readers(),
        "counts": _counts(listing, probes),
        "seek": {how: facts["seek"].count(how) for how in ("exact", "count")},
        "bad": bad,
        "missing": listing.missing,
        "duplicates": duplicates(paths, probes),
        "unlisted": unlisted,
    }
    save(out, table=pa.table(arrays), info=info, root=listing.root)
    return info


def check(manifest: Manifest, *, num_workers: int, timeout_s: float) -> tuple[dict[str, Any], list[Change]]:
    """Probe every file of a manifest again.

    Returns:
        Bad, missing and duplicate files as they are now, and every value that is not the stored one.
    """
    names: list[str] = manifest.table["path"].to_pylist()
    files = [str(manifest.root / name) for name in names]
    probes = probe_all(files, num_workers=num_workers, timeout_s=timeout_s)
    # whether torchcodec may read a file depends on the libraries that looked
    same_readers = manifest.info.get("readers") == installed_readers()
    columns = [name for name in PROBED if same_readers or name != "seek"]
    gone = {name for name, file in zip(names, files, strict=True) if not Path(file).exists()}
    changes: list[Change] = []
    for row, (name, found) in enumerate(zip(names, probes, strict=True)):
        stored = {column: manifest.table[column][row].as_py() for column in columns}
        fresh = found._asdict()
        if name not in gone:
            changes += [Change(name, c, stored[c], fresh[c]) for c in columns if stored[c] != fresh[c]]
    bad = [
        {"path": name, "reason": found.error}
        for name, found in zip(names, probes, strict=True)
        if found.error and name not in gone
    ]
    return {"bad": bad, "missing": sorted(gone), "duplicates": duplicates(names, probes)}, changes


def probe_all(files: Sequence[str], *, num_workers: int, timeout_s: float) -> list[Probe]:
    """Probe files in child processes, with a progress bar on standard error; order kept."""
    probes = [Probe()] * len(files)
    columns = (TextColumn("probing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("probing", total=len(files))
        results = run_isolated(
            probe,
            files,
            num_workers=num_workers,
            timeout_s=timeout_s,
            prepare=prepare_process,
        )
        for item, result in results:
            probes[item] = Probe(error=result.reason) if isinstance(result, Lost) else result
            progress.advance(task)
    return probes


def prepare_process() -> None:
    """Set up a child process: it shares the cores with its siblings, and torchcodec takes seconds to load."""
    torch.set_num_threads(1)
    installed_readers()


def duplicates(paths: Sequence[str], probes: Sequence[Probe]) -> list[list[str]]:
    """Group the files of equal content; a group has at least two."""
    by_content: dict[str, list[str]] = defaultdict(list)
    for path, found in zip(paths, probes, strict=True):
        if found.blake2:
            by_content[found.blake2].append(path)
    return [group for group in by_content.values() if len(group) > 1]


def _counts(listing: Listing, probes: Sequence[Probe]) -> dict[str, dict[str, int]]:
    """Found and readable files of the whole and of every part; official and listed counts where there are some."""
    readable = [found.num_frames > 0 for found in probes]
    counts = {"videos": {"found": len(readable), "readable": sum(readable)}}
    for split in filter(SPLIT.fullmatch, listing.columns):
        for subset in ("train", "test"):
            inside = [value == subset for value in listing.columns[split]]
            both = [a and b for a, b in zip(inside, readable, strict=True)]
            counts[f"{split} {subset}"] = {"found": sum(inside), "readable": sum(both)}
    for kind, numbers in (("official", listing.official), ("listed", listing.listed)):
        for part, number in numbers.items():
            counts[part][kind] = number
    return counts


def say(info: dict[str, Any]) -> None:
    """Print counts and the first names of each kind of trouble."""
    for part, count in info.get("counts", {}).items():
        line = f"{part}: {count['found']} found, {count['readable']} readable"
        official = count.get("official", count["found"])
        if count["found"] != official:
            line += f"; NOT the official {official} ({abs(official - count['found'])} "
            line += "missing)" if official > count["found"] else "too many)"
        if count.get("listed", official) != official:
            line += f"; the split files list {count['listed']}: THEY ARE NOT THE OFFICIAL ONES"
        sys.stdout.write(line + "\n")
    if "seek" in info:
        sys.stdout.write(f"reading: {info['seek']['exact']} exact, {info['seek']['count']} counted by pyav\n")
    _names("bad", [f"{entry['path']}: {entry['reason']}" for entry in info["bad"]])
    _names("missing", info["missing"])
    _names("duplicates", [" = ".join(group) for group in info["duplicates"]])
    _names("unlisted", info.get("unlisted", []))


def say_changes(changes: list[Change]) -> None:
    """Print the first values that are not the stored ones."""
    _names("changed", [f"{c.path}: {c.column} was {c.stored!r}, is {c.found!r}" for c in changes])


def _names(kind: str, lines: list[str]) -> None:
    if lines:
        sys.stdout.write("\n".join([f"{kind}: {len(lines)}", *(f"  {line}" for line in lines[:FIRST])]) + "\n")
    if len(lines) > FIRST:
        sys.stdout.write(f"  and {len(lines) - FIRST} more\n")

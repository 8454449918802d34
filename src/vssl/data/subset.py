"""Part of a manifest by a published list: of clips (Kinetics-100), or of classes."""

import hashlib
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from vssl.data.manifest import Manifest
from vssl.data.manifest_file import SPLIT, save
from vssl.errors import UserError


def subset(manifest: Manifest, listing: Path, *, out: Path) -> dict[str, Any]:
    """Write the manifest of the rows that a list names; files stay where they are, and so do splits and labels.

    A list has one entry per line: `CLASS/NAME [NUMBER]` (a file's class folder and its name without suffix; the number
    of frames is not read), or `CLASS` alone, which stands for all rows of the class. Spaces and underscores are the
    same in class names.

    Args:
        manifest: Of the whole data set.
        listing: The list.
        out: The .csv to write.

    Returns:
        The report, also stored under `subset` in the JSON: list, its SHA-256, what it names, entries listed, found and
        missing (by name), rows.

    Raises:
        UserError: The list is missing or empty, mixes both forms or repeats an entry, names nothing of the manifest, or
            `out` is no other CSV.
    """
    if out.suffix != ".csv" or out.resolve() == manifest.path.resolve():
        raise UserError(out, "a subset is a .csv of its own", f"Write {manifest.path.with_name('subset.csv')}.")
    kind, entries = _entries(listing)
    paths = manifest.table["path"].to_pylist()
    columns = manifest.table.column_names
    labels = manifest.table["label"].to_pylist() if "label" in columns else [Path(path).parent.name for path in paths]
    stems = [f"/{PurePosixPath(path).stem}" if kind == "clips" else "" for path in paths]
    names = [_name(label) + stem for label, stem in zip(labels, stems, strict=True)]
    keep = [name in entries for name in names]
    if not any(keep):
        rule = f"names none of the {len(names)} files of {manifest.path}, such as {(paths or ['none'])[0]}"
        raise UserError(listing, rule, "An entry is CLASS/NAME without suffix, or CLASS.")
    missing = sorted(entries.keys() - set(names))
    report = {
        "list": listing.name,
        "sha256": hashlib.sha256(listing.read_bytes()).hexdigest(),
        "names": kind,
        "listed": len(entries),
        "found": len(entries) - len(missing),
        "missing": missing,
        "rows": sum(keep),
    }
    table = manifest.table.filter(pa.array(keep))
    save(out, table=table, info=_info(manifest.info, table) | {"subset": report}, root=manifest.root)
    return report


def _entries(listing: Path) -> tuple[str, dict[str, None]]:
    """Whether a list names clips or classes, and its entries."""
    if not listing.is_file():
        raise UserError(listing, "no such file", "Give a list of clips or of classes, one per line.")
    lines = [line.strip() for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
    forms = {"clips" if "/" in line else "classes" for line in lines}
    if len(forms) != 1:
        rule = "mixes clips and classes" if forms else "is empty"
        raise UserError(listing, rule, "Write CLASS/NAME on every line, or CLASS.")
    entries: dict[str, None] = {}
    for line in lines:
        head, _, number = line.rpartition(" ")
        name = _name(head if head and number.isdecimal() else line)
        if name in entries:
            raise UserError(f"{listing}: {name}", "is listed twice", "Name every entry once.")
        entries[name] = None
    return forms.pop(), entries


def _name(text: str) -> str:
    return text.replace(" ", "_")


def _info(info: dict[str, Any], table: pa.Table) -> dict[str, Any]:
    """The whole's JSON, its counts and lists of files cut down to the rows that are left."""
    inside = set(table["path"].to_pylist())
    readable = table["num_frames"].to_numpy() > 0
    rows = {"videos": np.ones(len(readable), dtype=bool)}
    for split in filter(SPLIT.fullmatch, table.column_names):
        rows |= {f"{split} {part}": table[split].to_numpy() == part for part in ("train", "test")}
    counts = info.get("counts", {})
    found = {part: {"found": int(of.sum()), "readable": int((of & readable).sum())} for part, of in rows.items()}
    groups = [[path for path in group if path in inside] for group in info.get("duplicates", [])]
    kept = {name: value for name, value in info.items() if name not in ("format", "root", "rows", "content_hash")}
    return kept | {
        "counts": {part: counts.get(part, {}) | numbers for part, numbers in found.items()},
        "seek": {how: table["seek"].to_pylist().count(how) for how in ("exact", "count")},
        "bad": [entry for entry in info.get("bad", []) if entry["path"] in inside],
        "missing": [],
        "duplicates": [group for group in groups if len(group) > 1],
        "unlisted": [path for path in info.get("unlisted", []) if path in inside],
    }

"""How data sets lie on disk: one function per layout finds the files, their labels, groups and official splits.

A new data set is one function here and its line in LAYOUTS.
"""

import csv
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from vssl.data.manifest_file import PROBED, SPLIT
from vssl.errors import UserError

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"}
)
OFFICIAL = {
    "ucf101": {
        "videos": 13320,
        **{"split1 train": 9537, "split1 test": 3783},
        **{"split2 train": 9586, "split2 test": 3734},
        **{"split3 train": 9624, "split3 test": 3696},
    },
    "hmdb51": {
        "videos": 6766,
        **{f"split{n} {subset}": count for n in (1, 2, 3) for subset, count in (("train", 3570), ("test", 1530))},
    },
}


class Listing(NamedTuple):
    """What a layout found; the columns are parallel lists."""

    dataset: str
    root: Path
    columns: dict[str, list[str]]
    """path, group, and any label and split columns; "" where a file has none."""
    official: dict[str, int]
    """Published counts: "videos", "splitN train", "splitN test"; {} where there are none."""
    listed: dict[str, int]
    """The same counts in the split files given."""
    missing: list[str]
    """Files that the official lists name and that are not on disk."""
    refused: dict[str, str]
    """Files that cannot be listed -> why."""


Layout = Callable[[Path, Path | None, str], Listing]


def ucf101(root: Path, splits: Path | None, name: str) -> Listing:
    """UCF101: class folders; the group is the class and the number after _g; trainlist0N.txt, testlist0N.txt."""
    official: dict[str, dict[str, str]] = {}
    for number in (1, 2, 3):
        official[f"split{number}"] = {
            line.split()[0]: subset
            for subset in ("train", "test")
            for line in _lines(splits, f"{subset}list0{number}.txt", "ucf101")
        }
    paths, refused = _videos(root)
    labels = [path.split("/")[0] for path in paths]
    numbers = [re.search(r"_g(\d+)_", path.rsplit("/", 1)[-1]) for path in paths]
    groups = [f"{label}_g{number[1]}" if number else "" for label, number in zip(labels, numbers, strict=True)]
    columns = {"path": paths, "label": labels, "group": groups}
    return _with_splits(Listing(name, root, columns, OFFICIAL["ucf101"], {}, [], refused), official)


def hmdb51(root: Path, splits: Path | None, name: str) -> Listing:
    """HMDB51: class folders; CLASS_test_splitN.txt with code 0 unused, 1 train, 2 test after each name.

    A name is SOURCE_CLASS_ and six codes: the part of the body seen, camera motion, people, view, quality, number.
    The group is CLASS/SOURCE: the official lists part no such group, but they do part films across classes.
    """
    classes = sorted(file.name[: -len("_test_split1.txt")] for file in _folder(splits, "hmdb51").glob("*_split1.txt"))
    if not classes:
        raise UserError(splits, "holds no CLASS_test_split1.txt", "Give the folder of HMDB51's split files")
    codes = {"0": "unused", "1": "train", "2": "test"}
    official: dict[str, dict[str, str]] = {}
    for number in (1, 2, 3):
        official[f"split{number}"] = {}
        for label in classes:
            for line in _lines(splits, f"{label}_test_split{number}.txt", "hmdb51"):
                clip, code = line.rsplit(maxsplit=1)
                official[f"split{number}"][f"{label}/{clip}"] = codes[code]
    paths, refused = _videos(root)
    labels = [path.split("/")[0] for path in paths]
    sources = [hmdb_source(path.rsplit("/", 1)[-1], label) for path, label in zip(paths, labels, strict=True)]
    groups = [f"{label}/{source}" if source else "" for label, source in zip(labels, sources, strict=True)]
    columns = {"path": paths, "label": labels, "group": groups}
    return _with_splits(Listing(name, root, columns, OFFICIAL["hmdb51"], {}, [], refused), official)


def hmdb_source(clip: str, label: str) -> str:
    """Source of an HMDB51 clip: what stands before the class and the six codes; "" where the name has another form."""
    codes = r"_[fhlu]_(?:cm|nm)_np\d+_(?:ba|fr|le|ri)_(?:bad|goo|med)_\d+\.[^.]+"
    found = re.fullmatch(f"(.+)_{re.escape(label)}{codes}", clip)
    return found[1] if found else ""


def folder(root: Path, splits: Path | None, name: str) -> Listing:
    """Class folders, any depth below. Folders train and test or val around them give split 1; else all is train."""
    _no_splits(splits, "folder")
    paths, refused = _videos(root)
    subsets = {path.split("/")[0] for path in paths}
    parted = "train" in subsets and subsets <= {"train", "val", "test"} and len(subsets) > 1
    held_out = "test" if "test" in subsets else "val"
    roles = {"train": "train", held_out: "test"}
    parts = [path.split("/") for path in paths]
    columns = {
        "path": paths,
        "label": [part[parted] if len(part) > 1 + parted else "" for part in parts],
        "group": [""] * len(paths),
        "split1": [roles.get(part[0], "unused") if parted else "train" for part in parts],
    }
    return Listing(name, root, columns, {}, {}, [], refused)


def csv_file(root: Path, splits: Path | None, name: str) -> Listing:
    """A CSV with a header: path, relative to the CSV's folder; any label columns; optional group and splitN columns."""
    _no_splits(splits, "csv")
    if not root.is_file():
        raise UserError(root, "no such file", "With --dataset csv, ROOT is a CSV file")
    with root.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, restkey="", restval="")
        rows = list(reader)
        names = list(reader.fieldnames or ())
    if "path" not in names:
        raise UserError(root, "has no column path", "Its first line must name the columns, path among them")
    kept = [column for column in names if column and column not in PROBED and column != "cuts"]
    columns = {column: [row[column] for row in rows] for column in kept}
    columns.setdefault("group", [""] * len(rows))
    if not any(SPLIT.fullmatch(column) for column in kept):
        columns["split1"] = ["train"] * len(rows)
    for column in filter(SPLIT.fullmatch, kept):
        for wrong in set(columns[column]) - {"train", "test", "unused", ""}:
            raise UserError(wrong, f"is no value for {column} in {root}", "Use train, test, unused or nothing")
    twice = len(columns["path"]) - len(set(columns["path"]))
    if twice:
        raise UserError(root, f"names {twice} paths twice", "Every file is one row; use split columns")
    present = [(root.parent / path).is_file() for path in columns["path"]]
    missing = [path for path, there in zip(columns["path"], present, strict=True) if not there]
    columns = {
        column: [value for value, there in zip(values, present, strict=True) if there]
        for column, values in columns.items()
    }
    return Listing(name, root.parent, columns, {}, {}, missing, {})


LAYOUTS: dict[str, Layout] = {"ucf101": ucf101, "hmdb51": hmdb51, "folder": folder, "csv": csv_file}


def _with_splits(listing: Listing, official: dict[str, dict[str, str]]) -> Listing:
    """Add the split columns and name the files that the lists have and the disk has not."""
    paths = listing.columns["path"]
    columns = {split: [subsets.get(path, "") for path in paths] for split, subsets in official.items()}
    named = set[str]().union(*official.values())
    listed = {"videos": len(named)}
    for split, subsets in official.items():
        of = list(subsets.values())
        listed |= {f"{split} {subset}": of.count(subset) for subset in ("train", "test")}
    missing = sorted(named - set(paths))
    return listing._replace(columns={**listing.columns, **columns}, listed=listed, missing=missing)


def _videos(root: Path) -> tuple[list[str], dict[str, str]]:
    """Every video below a folder, relative to it, sorted; and those whose names no CSV can hold."""
    if not root.is_dir():
        raise UserError(root, "no such folder", "ROOT is the folder that holds the class folders")
    paths: list[str] = []
    refused: dict[str, str] = {}
    for above, _, names in os.walk(root, followlinks=True):
        for name in names:
            if os.path.splitext(name)[1].lower() not in VIDEO_SUFFIXES or name.startswith("._"):
                continue
            path = Path(above, name).relative_to(root).as_posix()
            try:
                path.encode()
                paths.append(path)
            except UnicodeEncodeError:  # a byte of the name is not UTF-8
                refused[path.encode(errors="backslashreplace").decode()] = "its name is not UTF-8; rename it"
    return sorted(paths), refused


def _folder(splits: Path | None, dataset: str) -> Path:
    if splits is None:
        raise UserError(dataset, "needs its official split files", "Say where they are with --splits DIR")
    return splits


def _lines(splits: Path | None, name: str, dataset: str) -> list[str]:
    file = _folder(splits, dataset) / name
    if not file.is_file():
        raise UserError(file, "no such file", f"--splits must name the folder of {dataset}'s official split files")
    # splitlines: some of the official lists have CRLF line ends
    return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def _no_splits(splits: Path | None, layout: str) -> None:
    if splits is not None:
        raise UserError(splits, f"the {layout} layout reads no split files", "Leave --splits out, or use --dataset csv")

"""The two files of a manifest, CSV and JSON: their columns, reading, checking, writing."""

import csv
import hashlib
import json
import os
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from vssl.errors import UserError

FORMAT = 1

# what probing writes, in the CSV's order
PROBED: dict[str, pa.DataType] = {
    "num_frames": pa.int64(),
    "fps": pa.float64(),
    "height": pa.int64(),
    "width": pa.int64(),
    "codec": pa.string(),
    "rotation": pa.int64(),
    "stream": pa.int64(),
    "seek": pa.string(),
    "keyframes": pa.string(),
    "bytes": pa.int64(),
    "blake2": pa.string(),
}
SPLIT = re.compile(r"split\d+")
PARSE = pcsv.ParseOptions(newlines_in_values=True)
# absolute, climbing, or empty
_OUTSIDE = r"^/|(^|/)\.\.(/|$)|^$"
_AGAIN = "Make the manifest again with vssl data index"


def is_label_column(name: str) -> bool:
    """Whether a column of the CSV is a label: every one whose name has no meaning of its own."""
    return name not in PROBED and name not in ("path", "group", "cuts") and not SPLIT.fullmatch(name)


def save(path: Path, *, table: pa.Table, info: dict[str, Any], root: Path) -> None:
    """Write a manifest, each of its two files at once or not at all.

    The root is kept relative where it lies in the manifest's folder, so that the folder can be moved.
    """
    check_paths(path, table["path"])
    out = BytesIO()
    pcsv.write_csv(table, out)
    raw = out.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, raw)
    save_info(path, info=info, root=root, num_rows=table.num_rows, content=content_hash(raw))


def save_info(path: Path, *, info: dict[str, Any], root: Path, num_rows: int, content: str) -> None:
    """Write the JSON beside a manifest's CSV that is already there."""
    folder, root = path.parent.resolve(), root.resolve()
    kept = root.relative_to(folder).as_posix() if root.is_relative_to(folder) else root.as_posix()
    facts = {"format": FORMAT, "root": kept, "rows": num_rows, "content_hash": content}
    replace_file(path.with_suffix(".json"), json.dumps({**facts, **info}, indent=1).encode())


def check_paths(source: Path, column: pa.ChunkedArray) -> None:
    """Refuse paths that would lead out of the root.

    Raises:
        UserError: A path is absolute, climbs with "..", or is empty.
    """
    outside = column.filter(pc.call_function("match_substring_regex", [column], pc.MatchSubstringOptions(_OUTSIDE)))
    if len(outside):
        raise UserError(source, f"the path {outside[0].as_py()!r} leaves the root", "Use paths below the root")


def content_hash(raw: bytes) -> str:
    """Hash of a manifest's CSV."""
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


def replace_file(path: Path, raw: bytes) -> None:
    """Write a file at once or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(raw)
    os.replace(temporary, path)


def load_info(path: Path) -> dict[str, Any]:
    """Read the JSON beside a manifest's CSV.

    Raises:
        UserError: One of the two is missing, or the JSON is not a manifest's.
    """
    beside = path.with_suffix(".json")
    for file in (path, beside):
        if not file.is_file():
            raise UserError(file, "no such file", "vssl data index makes the CSV and the JSON of a manifest")
    try:
        info = json.loads(beside.read_bytes())
    except ValueError as error:
        raise UserError(beside, f"is not JSON ({error})", _AGAIN) from error
    missing = {"format", "dataset", "root", "rows"} - set(info if isinstance(info, dict) else ())
    if missing:
        raise UserError(beside, f"is not the JSON of a manifest: {sorted(missing)} missing", _AGAIN)
    if info["format"] != FORMAT:
        raise UserError(beside, f"has format {info['format']}; this vssl reads {FORMAT}", _AGAIN)
    return info


def parse(path: Path, raw: bytes, *, num_rows: int) -> pa.Table:
    """Read the bytes of a manifest's CSV.

    Raises:
        UserError: Columns are missing, a line is cut off, or the number of rows is another.
    """
    try:
        header = next(csv.reader([raw.partition(b"\n")[0].decode()]), [])
        missing = ({"path", "group"} | set(PROBED)) - set(header)
        if missing or len(set(header)) < len(header):
            raise UserError(path, f"is no manifest: columns missing or double: {sorted(missing)}", _AGAIN)
        table = pcsv.read_csv(BytesIO(raw), parse_options=PARSE, convert_options=convert_options(header))
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise UserError(path, f"is no manifest ({str(error).splitlines()[0]})", _AGAIN) from error
    empty = [name for name in header if table[name].null_count]
    if empty or not raw.endswith(b"\n"):
        raise UserError(path, f"is truncated or edited: {empty or 'its last line'} incomplete", _AGAIN)
    if table.num_rows != num_rows:
        raise UserError(path, f"has {table.num_rows} rows where its JSON says {num_rows}", _AGAIN)
    return table


def convert_options(header: list[str]) -> pcsv.ConvertOptions:
    """Types of a manifest's columns for arrow's CSV reader; labels, groups and splits are text."""
    return pcsv.ConvertOptions(
        column_types={name: PROBED.get(name, pa.string()) for name in header},
        strings_can_be_null=False,
        quoted_strings_can_be_null=False,
    )

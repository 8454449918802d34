"""A manifest as a stream: as many rows as there are, in the memory of a few thousand."""

import csv
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pcsv

from vssl.data.manifest_file import PARSE, PROBED, check_paths, convert_options, load_info, save_info
from vssl.errors import UserError

_BLOCK = 1 << 20  # bytes of the CSV that are parsed at a time
_AGAIN = "Make the manifest again with vssl data index"


class ManifestStream:
    """Rows of a manifest in order, a block at a time; `Manifest` holds all of them.

    Args:
        path: The CSV.
        root: Folder of the videos; None: what the JSON names.

    Raises:
        UserError: A file is missing or no manifest, or the root is missing.
    """

    def __init__(self, path: Path, root: Path | None = None) -> None:
        self.path, self.info = path, load_info(path)
        self.num_rows: int = self.info["rows"]
        self.root = root if root is not None else path.parent / self.info["root"]
        if not self.root.is_dir():
            raise UserError(self.root, "the folder of the videos does not exist", "Say where it is with --root")
        with path.open("rb") as file:
            self.header = next(csv.reader([file.readline().decode()]), [])
        missing = ({"path", "group"} | set(PROBED)) - set(self.header)
        if missing or len(set(self.header)) < len(self.header):
            raise UserError(path, f"is no manifest: columns missing or double: {sorted(missing)}", _AGAIN)
        self.schema = pa.schema([(name, PROBED.get(name, pa.string())) for name in self.header])
        self.content_hash = file_hash(path)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows.

        Raises:
            UserError: A row is incomplete, a path leaves the root, or there are more or fewer rows than the JSON says.
        """
        seen, read_options = 0, pcsv.ReadOptions(block_size=_BLOCK, use_threads=False)
        try:
            reader = pcsv.open_csv(
                str(self.path),
                read_options=read_options,
                parse_options=PARSE,
                convert_options=convert_options(self.header),
            )
            for batch in reader:
                if any(column.null_count for column in batch.columns):
                    raise UserError(self.path, f"is truncated or edited near row {seen}", _AGAIN)
                check_paths(self.path, pa.chunked_array([batch.column("path")]))
                seen += batch.num_rows
                yield batch
        except pa.ArrowInvalid as error:
            raise UserError(self.path, f"is no manifest ({str(error).splitlines()[0]})", _AGAIN) from error
        if seen != self.num_rows:
            raise UserError(self.path, f"has {seen} rows where its JSON says {self.num_rows}", _AGAIN)


def write(path: Path, batches: Iterator[pa.RecordBatch], *, schema: pa.Schema, info: dict[str, Any], root: Path) -> int:
    """Write a manifest from a stream, each of its two files at once or not at all; byte for byte as `save` would.

    Returns:
        The number of rows.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    num_rows = 0
    with pcsv.CSVWriter(str(temporary), schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            num_rows += batch.num_rows
    os.replace(temporary, path)
    counts = {"videos": {"found": num_rows, "readable": num_rows}}
    save_info(path, info={**info, "counts": counts}, root=root, num_rows=num_rows, content=file_hash(path))
    return num_rows


def file_hash(path: Path) -> str:
    """The content hash of a file of any length; of a manifest's CSV it is the manifest's."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()

"""The list of videos: one CSV row per file found, held as arrays; facts about the whole in a JSON beside it.

R rows. Nothing here opens a video.
"""

import hashlib
import operator
from pathlib import Path
from typing import Any, Literal, SupportsIndex

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vssl.data.manifest_file import SPLIT, check_paths, content_hash, is_label_column, load_info, parse
from vssl.data.reader import Video
from vssl.errors import UserError
from vssl.types import VideoMeta


class Manifest:
    """Videos as columns: an arrow table, no Python object per row, so that millions of rows pickle and fork cheaply.

    Args:
        path: The CSV.
        table: Its columns.
        info: The JSON beside it.
        root: Folder that the column path is relative to.
        content_hash: Of the CSV's bytes; the same wherever the files lie.
    """

    def __init__(self, path: Path, *, table: pa.Table, info: dict[str, Any], root: Path, content_hash: str) -> None:
        self.path, self.info, self.root, self.content_hash = path, info, root, content_hash
        self.dataset: str = info["dataset"]
        self.table = table.combine_chunks()
        numbers = ("num_frames", "fps", "height", "width", "rotation", "stream")
        self._numbers = {name: self.table[name].to_numpy() for name in numbers}

    @classmethod
    def load(cls, path: str | Path, root: str | Path | None = None) -> "Manifest":
        """Read a manifest written by `vssl data index`.

        Args:
            path: The CSV; its JSON has the same name.
            root: Overrides the folder of the videos that the JSON names.

        Raises:
            UserError: A file is missing, truncated or no manifest, a path leaves the root, or the root is missing.
        """
        path = Path(path)
        info = load_info(path)
        raw = path.read_bytes()
        table = parse(path, raw, num_rows=info["rows"])
        check_paths(path, table["path"])
        folder = Path(root) if root is not None else path.parent / info["root"]
        if not folder.is_dir():
            raise UserError(folder, "the folder of the videos does not exist", "Say where it is with --data.root")
        return cls(path, table=table, info=info, root=folder, content_hash=content_hash(raw))

    def __len__(self) -> int:
        return self.table.num_rows

    @property
    def label_columns(self) -> list[str]:
        """Names of the columns that labels() takes."""
        return [name for name in self.table.column_names if is_label_column(name)]

    def name(self, row: SupportsIndex) -> str:
        """Path of a row's file, relative to the root."""
        return self._text("path", row)

    def file(self, row: SupportsIndex) -> Path:
        """Path of a row's file."""
        return self.root / self.name(row)

    def meta(self, row: SupportsIndex) -> VideoMeta:
        """What a view sampler may know about a row."""
        cuts = tuple(int(cut) for cut in self._text("cuts", row).split()) if "cuts" in self._names else None
        return VideoMeta(
            num_frames=self._number("num_frames", row),
            fps=float(self._numbers["fps"][operator.index(row)]),
            height=self._number("height", row),
            width=self._number("width", row),
            cuts=cuts,
            row=operator.index(row),
        )

    def video(self, row: SupportsIndex) -> Video:
        """What a reader must know about a row."""
        return Video(
            path=str(self.file(row)),
            num_frames=self._number("num_frames", row),
            height=self._number("height", row),
            width=self._number("width", row),
            rotation=self._number("rotation", row),
            stream=self._number("stream", row),
            seek=self._text("seek", row),
            keyframes=self._text("keyframes", row),
        )

    def labels(self, column: str) -> tuple[np.ndarray, list[str]]:
        """Class ids of a label column.

        Returns:
            (R,) int64, -1 where the column is empty, and the class names, sorted; an id is a place in them.

        Raises:
            UserError: There is no such label column.
        """
        if column not in self.label_columns:
            has = ", ".join(self.label_columns) or "none"
            raise UserError(column, f"is no label column of {self.path}", f"It has: {has}")
        coded = self._strings(column).dictionary_encode()
        found: list[str] = coded.dictionary.to_pylist()
        names = sorted(set(found) - {""})
        ids = {name: number for number, name in enumerate(names)}
        by_code = np.array([ids.get(name, -1) for name in found], np.int64)
        return by_code[coded.indices.to_numpy()], names

    def rows(self, split: int, subset: Literal["train", "test", "all"]) -> np.ndarray:
        """Rows of a subset whose files can be read; "all" is every row, whatever the split says.

        Returns:
            int64, rising.

        Raises:
            UserError: There is no such split, or nothing in it can be read.
        """
        listed = self.listed(split, subset)
        rows = listed[self._numbers["num_frames"][listed] > 0]
        if not len(rows):
            rule = f"none of the {len(listed)} files of split {split}, subset {subset} can be read"
            raise UserError(self.path, rule, "Its JSON says why; vssl data check tries again")
        return rows

    def listed(self, split: int, subset: Literal["train", "test", "all"]) -> np.ndarray:
        """As rows(), but with the files that cannot be read (num_frames 0)."""
        if subset == "all":
            return np.arange(len(self), dtype=np.int64)
        column = f"split{split}"
        if column not in self._names:
            has = ", ".join(n.removeprefix("split") for n in self.table.column_names if SPLIT.fullmatch(n))
            raise UserError(split, f"is no split of {self.path}", f"It has: {has or 'none'}")
        rows = np.flatnonzero(pc.call_function("equal", [self._strings(column), subset]).to_numpy(zero_copy_only=False))
        if not len(rows):
            rule = f"split {split} lists no {subset} videos that were found"
            raise UserError(self.path, rule, "Choose another data.split or data.subset")
        return rows.astype(np.int64)

    def groups(self) -> np.ndarray:
        """One number per source group, the same in every manifest of a data set: (R,) int64, 0 where unknown."""
        coded = self._strings("group").dictionary_encode()
        hashes = [_hash64(f"{self.dataset}:{name}") if name else 0 for name in coded.dictionary.to_pylist()]
        return np.array(hashes, np.int64)[coded.indices.to_numpy()]

    def content(self) -> np.ndarray:
        """One number per file content, the same wherever the file lies: (R,) int64, 0 where it was never read."""
        digests = (digest[:16] or "0" * 16 for digest in self._strings("blake2").to_pylist())
        return np.frombuffer(bytes.fromhex("".join(digests)), ">i8").astype(np.int64)

    @property
    def _names(self) -> list[str]:
        return self.table.column_names

    def _strings(self, column: str) -> pa.StringArray:
        return self.table[column].combine_chunks()

    def _text(self, column: str, row: SupportsIndex) -> str:
        return self.table[column][operator.index(row)].as_py()

    def _number(self, column: str, row: SupportsIndex) -> int:
        return int(self._numbers[column][operator.index(row)])


def _hash64(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)

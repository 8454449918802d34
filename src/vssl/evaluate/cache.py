"""Features that were computed once: on disk in shards, each written whole or not at all, or in memory.

A column's name holds a hash of all that decides its numbers (`Encoder.column`), so nothing kept can be out of date.
"""

import hashlib
import zipfile
import zlib
from pathlib import Path

import numpy as np
from rich.console import Console

from vssl.errors import UserError
from vssl.evaluate.features import Features, Lost
from vssl.evaluate.result import whole


class Cache:
    """Columns of features by name.

    Args:
        console: Told of shards that cannot be read.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console
        self._memory: dict[str, list[Features]] = {}
        self._folders: dict[str, Path] = {}

    def open(self, name: str, home: Path | None, *, fresh: bool = False) -> None:
        """Keep the column under `home`, or in memory; the first home counts. `fresh`: forget what is there."""
        if name in self._memory or name in self._folders:
            return
        if home is None:
            self._memory[name] = []
            return
        self._folders[name] = home / name
        if fresh:
            for path in self._shards(name):
                path.unlink(missing_ok=True)  # another process of this command forgets it, too

    def rows(self, name: str) -> np.ndarray:
        """Rows whose answer is known: features, or that they cannot be read."""
        parts = [np.append(part.rows, [video.row for video in part.lost]) for part in self._parts(name)]
        return np.unique(np.concatenate([np.empty(0), *parts])).astype(np.int64)

    def add(self, name: str, part: Features) -> None:
        """Keep more of a column."""
        if name in self._memory:
            self._memory[name].append(part)
        else:
            _write(part, self._folders[name])

    def load(self, name: str) -> Features:
        """All of a column.

        Raises:
            UserError: not one video could be read.
        """
        parts = self._parts(name)
        lost = sorted({video for part in parts for video in part.lost})
        full = [part for part in parts if len(part.rows)]
        if not full:
            raise UserError(f"{len(lost)} videos", "none could be read", "See vssl data check MANIFEST")
        # two commands at once may have computed the same rows
        rows, first = np.unique(np.concatenate([part.rows for part in full]), return_index=True)
        return Features(rows, np.concatenate([part.values for part in full])[first], lost)

    def _parts(self, name: str) -> list[Features]:
        if name in self._memory:
            return self._memory[name]
        found = []
        for path in self._shards(name):
            try:
                found.append(_read(path))
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                path.unlink(missing_ok=True)
                if self._console:
                    reason = " ".join(str(error).split())[:80]
                    self._console.print(f"{path}: cannot be read ({reason}); its features are computed again")
        return found

    def _shards(self, name: str) -> list[Path]:
        return sorted(self._folders[name].glob("*.npz"))


def _write(part: Features, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = np.append(part.rows, np.array([video.row for video in part.lost], np.int64))
    digest = hashlib.blake2b(rows.tobytes(), digest_size=6).hexdigest()
    with whole(folder / f"{int(rows.min()):08}-{digest}.npz") as file:
        np.savez(
            file,
            rows=part.rows,
            values=part.values,
            lost_rows=np.array([video.row for video in part.lost], np.int64),
            lost_paths=np.array([video.path for video in part.lost], np.str_),
            lost_reasons=np.array([video.reason for video in part.lost], np.str_),
        )


def _read(path: Path) -> Features:
    with np.load(path, allow_pickle=False) as data:
        lost = zip(data["lost_rows"].tolist(), data["lost_paths"].tolist(), data["lost_reasons"].tolist(), strict=True)
        return Features(data["rows"], data["values"], [Lost(*video) for video in lost])

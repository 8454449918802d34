"""A journal: what a long run has decided, on disk as it goes, so that a killed run continues."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vssl.errors import UserError

Entry = dict[str, Any]


class Journal:
    """JSON Lines: what was asked for in the first line, then entry k = `{"row": k, ...}`; only ever appended to.

    Whatever a kill leaves after the last good line is cut off when the journal is opened, and done again.

    Args:
        path: The file; made if it is not there.
        asked: Everything the entries depend on.

    Raises:
        UserError: The file holds the entries of something else.
    """

    def __init__(self, path: Path, asked: Entry) -> None:
        self.path, self.num_entries = path, 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("r+b" if path.exists() else "w+b")
        first = self._file.readline()
        stored = _parsed(first)
        if stored is None:  # new, or killed within its first line
            self._file.seek(0)
            self._file.truncate()
            self._write([asked])
        elif stored != json.loads(json.dumps(asked)):
            self.close()
            changed = sorted(k for k in asked if stored.get(k) != json.loads(json.dumps(asked[k])))
            rule = f"is the journal of a run with other settings ({', '.join(changed)})"
            raise UserError(path, rule, "Delete it to start anew, or choose another --out")
        else:
            good = len(first)
            for line in self._file:
                entry = _parsed(line)
                if entry is None or entry.get("row") != self.num_entries:
                    break
                good += len(line)
                self.num_entries += 1
            self._file.seek(good)
            self._file.truncate()

    def append(self, entries: Sequence[Entry]) -> None:
        """Add the next entries; they are on disk when this returns."""
        for number, entry in enumerate(entries, self.num_entries):
            assert entry["row"] == number
        self._write(entries)
        self.num_entries += len(entries)

    def _write(self, entries: Sequence[Entry]) -> None:
        self._file.write("".join(json.dumps(entry) + "\n" for entry in entries).encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def entries(self) -> Iterator[Entry]:
        """All entries, read from the start."""
        with self.path.open("rb") as file:
            file.readline()
            for line in file:
                yield json.loads(line)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _parsed(line: bytes) -> Entry | None:
    """The object of a whole line; None for anything else."""
    if not line.endswith(b"\n"):
        return None
    try:
        value = json.loads(line)
    except ValueError:  # half a line of a killed run, which is what is being found out
        return None
    return value if isinstance(value, dict) else None

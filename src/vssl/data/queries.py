"""What each video was retrieved for: a CSV of any length, looked up by path from a temporary file."""

import csv
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from vssl.errors import UserError


class Queries:
    """Class index per path.

    Args:
        file: CSV with the columns path (as in the manifest) and class.
        num_classes: Of the classifier; classes count from 0.

    Raises:
        UserError: `file` is missing, is no such CSV, lists a path twice, or names a class that there is not.
    """

    def __init__(self, file: Path, num_classes: int) -> None:
        if not file.is_file():
            raise UserError(file, "no such file", "--queries is a CSV with the columns path and class")
        self._table = sqlite3.connect("")  # a temporary file of SQLite's own, gone with the process
        self._table.execute("CREATE TABLE queries (path TEXT PRIMARY KEY, class INTEGER) WITHOUT ROWID")
        try:
            with file.open(newline="", encoding="utf-8") as lines:
                rows = _rows(csv.DictReader(lines), file, num_classes)
                self._table.executemany("INSERT INTO queries VALUES (?, ?)", rows)
        except sqlite3.IntegrityError as error:
            self.close()
            raise UserError(file, "lists a path twice", "Give every video one class") from error
        except UserError:
            self.close()
            raise

    def get(self, path: str) -> int | None:
        """The class a video was retrieved for; None: it is not listed."""
        found = self._table.execute("SELECT class FROM queries WHERE path = ?", (path,)).fetchone()
        return found[0] if found else None

    def close(self) -> None:
        """Drop the temporary file."""
        self._table.close()


def _rows(lines: csv.DictReader, file: Path, num_classes: int) -> Iterator[tuple[str, int]]:
    if not {"path", "class"} <= set(lines.fieldnames or ()):
        names = ",".join(lines.fieldnames or ())
        raise UserError(file, f"has the columns {names!r}, not path and class", "Name them in its first line")
    for line in lines:
        text = line["class"] or ""
        if not text.isdecimal() or int(text) >= num_classes:
            rule = f"the class of {line['path']} is {text!r}, no index of the classifier's {num_classes} classes"
            raise UserError(file, rule, "Classes count from 0")
        yield line["path"], int(text)

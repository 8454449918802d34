"""Numbers that others report, as data: where each was read, how sure we are, and why it does not stand beside ours.

Imports no torch. The file is `literature.csv`; docs/literature.md is made from it.
"""

import csv
import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import NamedTuple

from vssl.errors import UserError

FILE = "literature.csv"

TAGS: dict[str, tuple[str, ...]] = {
    "R": ("read",),
    "I": ("read",),
    "P": ("read",),
    "S++": ("transcribed",),
    "Surv": ("second-hand",),
    "M": ("high", "med", "low"),
}
"""Source tag -> the confidences it may carry: repository, issue thread, public page or paper, SEVERE++'s tables, a
survey's table, memory."""

_FINDABLE = {
    "R": r"[\w-]+/[\w.-]+",  # OWNER/REPOSITORY
    "I": r"[\w-]+/[\w.-]+ issues? \d+",
    "P": r"\bpaper\b|\bleaderboard\b",
}
"""What the source of a verified number must name, by its tag."""

TABLES = ("1.1", "1.2", "1.2 SEVERE++", "1.3")
"""What a number is about: the methods implemented here, strong references, one code path for all methods, the same
weights under several protocols."""

REPORTED, SECOND_HAND, UNVERIFIED = "reported elsewhere", "reported elsewhere, second-hand", "unverified, from memory"
_OPTIONAL = ("backbone", "input", "value_to", "views", "note")


class Row(NamedTuple):
    """One number of one source."""

    table: str
    method: str
    backbone: str
    pretraining: str
    """Data, and labels where they were used."""
    input: str
    """Side x frames."""
    dataset: str
    """ucf101, hmdb51, kinetics400, ...: as in our manifests where we have one."""
    protocol: str
    """finetune, linear, retrieval, attentive, ..."""
    metric: str
    value: float
    """Percent, as printed."""
    value_to: float | None
    """The other end, where a source gives a range."""
    views: str
    """Views and splits, where the source says; empty: not stated."""
    tag: str
    confidence: str
    source: str
    verified: bool
    """Read where its authors or a measurer published it; neither second-hand nor remembered."""
    why_not_comparable: str
    note: str

    @property
    def label(self) -> str:
        """What a table must print beside the number."""
        if self.verified:
            return REPORTED
        return UNVERIFIED if self.tag == "M" else SECOND_HAND

    @property
    def number(self) -> str:
        """The value as text: `81.1`, `76-77`."""
        return f"{self.value:g}" if self.value_to is None else f"{self.value:g}-{self.value_to:g}"


def rows(*, dataset: str | None = None, protocol: str | None = None) -> list[Row]:
    """The numbers of a data set and protocol, as listed; None: of all."""
    return [
        row
        for row in _shipped()
        if (dataset is None or row.dataset == dataset) and (protocol is None or row.protocol == protocol)
    ]


def parse(lines: Iterable[str]) -> list[Row]:
    """The rows of a table in our layout.

    Raises:
        UserError: a column, a required cell, a value or a tag is wrong, a remembered or second-hand number claims to be
            verified, a verified one names no source that can be found, or a row stands twice.
    """
    reader = csv.DictReader(lines, strict=True)
    if tuple(reader.fieldnames or ()) != Row._fields:
        raise UserError(FILE, f"its columns must be {','.join(Row._fields)}", "Correct its first line.")
    found: list[Row] = []
    for number, cells in enumerate(reader, 2):
        row = _row(f"{FILE}: row {number}", cells)
        if row in found:
            raise UserError(f"{FILE}: row {number}", "stands twice", "Remove one.")
        found.append(row)
    return found


def markdown() -> str:
    """The page docs/literature.md."""
    parts = [_HEAD]
    for table in TABLES:
        chosen = [row for row in _shipped() if row.table == table]
        head = ("method", "backbone", "pretraining", "input", "data set", "protocol", "metric", "value", "status")
        more = ("views, split", "source", "not comparable because", "note")
        parts += [f"## {_TITLES[table]}", "", _line((*head, *more)), "|---" * (len(head) + len(more)) + "|"]
        parts += [_line(_cells(row)) for row in chosen]
        parts.append("")
    return "\n".join(parts)


@cache
def _shipped() -> tuple[Row, ...]:
    text = resources.files("vssl.evaluate").joinpath(FILE).read_text(encoding="utf-8")
    return tuple(parse(text.splitlines()))


def _row(where: str, cells: dict[str, str]) -> Row:
    if None in cells or None in cells.values():
        raise UserError(where, f"must have {len(Row._fields)} cells", "Put cells with commas in quotes.")
    for name, cell in cells.items():
        if cell != cell.strip() or (not cell and name not in _OPTIONAL):
            raise UserError(where, f"{name} is {'empty' if not cell.strip() else 'padded with spaces'}", "Fill it in.")
    if cells["table"] not in TABLES or cells["confidence"] not in TAGS.get(cells["tag"], ()):
        rule = f"no such table, tag and confidence: {cells['table']}, {cells['tag']}, {cells['confidence']}"
        raise UserError(where, rule, f"Tables: {', '.join(TABLES)}; tags: {', '.join(TAGS)}.")
    if cells["verified"] != ("yes" if cells["confidence"] == "read" else "no"):
        raise UserError(where, "verified is yes for what was read at its source, and no for all else", "Correct it.")
    if cells["verified"] == "yes" and not re.search(_FINDABLE[cells["tag"]], cells["source"]):
        rule = f"{cells['source']} cannot be found: a verified number names its repository, issue or paper"
        raise UserError(where, rule, "Name it, or tag the number M.")
    try:
        values = float(cells["value"]), float(cells["value_to"]) if cells["value_to"] else None
    except ValueError:
        raise UserError(where, "value and value_to are numbers", "Correct it.") from None
    if not all(0 < value <= 100 for value in values if value is not None):
        raise UserError(where, "a value is a percentage", "Correct it.")
    plain = {name: cell for name, cell in cells.items() if name not in ("value", "value_to", "verified")}
    return Row(**plain, value=values[0], value_to=values[1], verified=cells["verified"] == "yes")


def _cells(row: Row) -> tuple[str, ...]:
    number = f"*{row.number}*" if row.label == UNVERIFIED else row.number
    status = f"{row.label} ({row.confidence} confidence)" if row.label == UNVERIFIED else row.label
    what = (row.method, row.backbone, row.pretraining, row.input, row.dataset, row.protocol, row.metric)
    return (*what, number, status, row.views, f"[{row.tag}] {row.source}", row.why_not_comparable, row.note)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


_TITLES = {
    "1.1": "The methods implemented here",
    "1.2": "Strong references",
    "1.2 SEVERE++": "One backbone per family, one code path (SEVERE++)",
    "1.3": "The same weights under several protocols",
}
_HEAD = f"""# Numbers reported elsewhere

None of these was measured here, and none is ranked with ours: the last but one column says why. The table is data
(`src/vssl/evaluate/{FILE}`, read by `vssl.evaluate.literature`); this page is made from it and a test holds them equal:

    python -c "from vssl.evaluate import literature; print(literature.markdown(), end='')" > docs/literature.md

Status. *{REPORTED}*: read in the authors' repository [R], an issue thread [I], or a public page or paper [P]; that the
source says so was verified, not that it can be reproduced. *{SECOND_HAND}*: read in tables that others
compiled (SEVERE++'s as transcribed publicly [S++], a survey's README [Surv], which has known slips).
*{UNVERIFIED}* [M]: not read anywhere; never to be shown as a published number.

Not listed, because no number could be read: auxSKD + VSPP and iBoot on any data set, VIVI on UCF101 and HMDB51 (its
paper reports none), VITO on HMDB51 (likewise).
"""

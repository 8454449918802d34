"""Groups to the terminal, to CSV and to JSON."""

import csv
import io
import json
from collections.abc import Collection, Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vssl.evaluate import words
from vssl.evaluate.protocol import HARD
from vssl.evaluate.result import TRAINED
from vssl.evaluate.rows import Group, Row
from vssl.evaluate.table import differences

WIDE = 240
"""Columns of a terminal that is none: a table piped into a file is not folded at 80."""
_WHOLE = {"#", "input", "mean", "95 %", "n of N", "minus random", "minus scratch"}
_LEAST = 16
"""Columns of text are folded down to their longest word or this, then whole ones are left out."""


def show(groups: list[Group], console: Console, *, pairs: bool = False) -> None:
    """Print every group, with `pairs` the difference of any two ranked rows, what divides groups, the unread files."""
    for group in groups:
        shown, left_out = _table(group, console.width)
        console.print(shown)
        if left_out:
            line = f"Left out at this width: {', '.join(left_out)}; vssl compare --html or --csv shows all."
            console.print(Text(line))
        for note in group.notes:
            console.print(Text(note))
        if pairs:
            for (i, j), found in list(group.pairs.items())[1:]:  # the first is among the notes
                console.print(Text(words.against(group.rows[i], group.rows[j], found)))
        console.print()
    for line in apart(groups):
        console.print(Text(line))
    for line in unread(groups):
        console.print(Text(line))


def apart(groups: list[Group]) -> list[str]:
    """For every group the fields that divide it from the most similar one before it; another label needs no words."""
    lines = []
    for i, group in enumerate(groups[1:], 1):
        before = [(differences(other, group), other) for other in groups[:i]]
        found, other = min(before, key=lambda pair: len(pair[0]))
        if set(found) - {"label", "dataset", "manifest"} or set(found) == {"manifest"}:
            # another task says enough; its fields would fill a page
            shown = {"task": found["task"]} if "task" in found else found
            fields = "; ".join(f"{name}: {old} / {new}" for name, (old, new) in shown.items())
            fields += f" and {len(found) - len(shown)} more fields" if len(shown) < len(found) else ""
            lines.append(f"Not ranked together: {words.title(other)} and {words.title(group)} differ in {fields}.")
    return lines


def unread(groups: list[Group]) -> list[str]:
    """One line per video that some encoder's score lacks, by name."""
    lines: dict[str, None] = {}
    for group in groups:
        for row in group.rows:
            for split, found in row.results.items():
                for failure in [f for result in found for f in result.failures]:
                    where = f"{group.key.dataset} s{split} {failure['part']}"
                    lines[f"not read: {failure['path']} ({where}): {failure['reason']}"] = None
    return list(lines)


def to_json(groups: list[Group]) -> str:
    """Everything in the table, as numbers."""
    return json.dumps([_group(group) for group in groups], indent=1) + "\n"


def to_csv(groups: list[Group]) -> str:
    """One line per encoder and split, and one per mean."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _FIELDS, lineterminator="\n")
    writer.writeheader()
    for group in groups:
        for row in group.rows:
            for line in _lines(group, row):
                writer.writerow(line)
    return out.getvalue()


_FIELDS = [
    "dataset",
    "label",
    "protocol",
    "fingerprint",
    "manifest",
    "kind",
    "method",
    "run",
    "backbone",
    "input",
    "split",
    "metric",
    "value",
    "low",
    "high",
    "n",
    "N",
    "difference",
    "difference_low",
    "difference_high",
    "verdict",
    "leaked",
    "rank",
    "clips_seen",
    "flags",
]


def _table(group: Group, width: int) -> tuple[Table, list[str]]:
    """The group's table with the columns that have room, and the headings of the others."""
    headings, numeric = words.columns(group), words.numeric(group)
    rows = [words.cells(group, row) for row in group.rows]
    columns = dict(zip(headings, zip(headings, *rows, strict=True), strict=True))
    least = {name: _least(name, cells) for name, cells in columns.items()}
    left_out: list[str] = []
    further = [words.heading(name) for name in reversed(group.metrics[1:])]
    splits = words.of_splits(group) if len(group.splits) > 1 else []  # their mean stays
    for name in [*further, "pretraining", "backbone", "input", *splits, "run"]:
        if sum(least.values()) + _frame(least) <= width:
            break
        del least[name]
        left_out.append(name)
    widths = _widths(least, {name: max(map(cell_len, columns[name])) for name in least}, width - _frame(least))
    table = Table(title=words.title(group), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading, right in zip(headings, numeric, strict=True):
        if heading in least:
            table.add_column(heading, justify="right" if right else "left", width=widths[heading], overflow="fold")
    for i, (row, cells) in enumerate(zip(group.rows, rows, strict=True)):
        last = row.kind == TRAINED and i + 1 < len(group.rows) and group.rows[i + 1].kind != TRAINED
        style = None if row.kind == TRAINED else "dim"
        shown = [Text(cell) for heading, cell in zip(headings, cells, strict=True) if heading in least]
        table.add_row(*shown, end_section=last, style=style)
    return table, left_out


def _least(name: str, cells: Sequence[str]) -> int:
    """The narrowest that a column may be."""
    if name in _WHOLE:
        return max(map(cell_len, cells))
    return min(_LEAST, max(cell_len(word) for cell in cells for word in cell.split(" ")))


def _frame(columns: Collection[str]) -> int:
    """What padding, separators and edges take."""
    return 2 * len(columns) + 1


def _widths(least: dict[str, int], most: dict[str, int], room: int) -> dict[str, int]:
    """A width for each column: what is over goes in equal parts to those that can use it, the modest first."""
    widths, over = dict(least), max(0, room - sum(least.values()))
    order = sorted(least, key=lambda name: most[name] - least[name])
    for i, name in enumerate(order):
        more = min(most[name] - least[name], over // (len(order) - i))
        widths[name] += more
        over -= more
    return widths


def _group(group: Group) -> dict[str, Any]:
    return {
        **group.key._asdict(),
        "protocol": group.record["name"],
        "hard": group.record[HARD],
        "splits": group.splits,
        "ranked_on": group.ranked_on,
        "notes": group.notes,
        "rows": [_row(group, row) for row in group.rows],
        "pairs": [
            {"rows": [i, j], "first": group.rows[i].run, "second": group.rows[j].run, **found._asdict()}
            for (i, j), found in group.pairs.items()
        ],
    }


def _row(group: Group, row: Row) -> dict[str, Any]:
    num_scored, num_listed = row.counts()
    first = row.first
    return {
        "rank": row.rank,
        "kind": row.kind,
        "name": row.name,
        "run": row.run,
        "runs": [{"run": run.run, "seed": run.seed, "mean": run.mean and run.mean.mean} for run in row.runs],
        "backbone": first.backbone,
        "input": first.card,
        "pretraining": first.pretraining,
        "checkpoint": first.checkpoint,
        "metrics": {name: row.metric(name) for name in group.metrics},
        "leaked": [split for split in row.results if split not in row.clean],
        "mean": row.mean and row.mean._asdict(),
        "n": num_scored,
        "N": num_listed,
        "minus_random": row.versus and row.versus._asdict(),
        "flags": row.flags,
        "failures": [f for found in row.results.values() for r in found for f in r.failures],
        "keys": [r.key for found in row.results.values() for r in found],
    }


def _lines(group: Group, row: Row) -> list[dict[str, Any]]:
    key = group.key
    base = {"dataset": key.dataset, "label": key.label, "protocol": group.record["name"], "manifest": key.manifest}
    base |= {"fingerprint": key.fingerprint, "kind": row.kind, "method": row.name, "run": row.run}
    base |= {"backbone": words.backbone(row), "input": words.shape(row), "flags": "; ".join(row.flags)}
    base |= {"clips_seen": row.first.pretraining.get("clips_seen")}
    lines, (first, *others) = [], group.metrics
    for split, found in sorted(row.results.items()):
        for result in found:
            line = base | {"method": result.name, "split": split, "leaked": result.leaked}
            line |= {"n": result.num_scored, "N": result.num_listed}
            low, high = result.interval
            lines.append(line | {"metric": first, "value": result.metrics[first], "low": low, "high": high})
            lines += [line | {"metric": name, "value": result.metrics[name]} for name in others]
    if row.mean:
        num_scored, num_listed = row.counts()
        line = base | {
            "split": "mean",
            "metric": first,
            "value": row.mean.mean,
            "low": row.mean.low,
            "high": row.mean.high,
        }
        line |= {"n": num_scored, "N": num_listed, "leaked": False, "rank": row.rank}
        if row.versus:
            line |= {"difference": row.versus.difference, "verdict": row.versus.verdict}
            line |= {"difference_low": row.versus.low, "difference_high": row.versus.high}
        lines.append(line)
    return lines

"""`vssl diff RUN RUN [--json F]`: what differs between two runs, by likely effect. Reads their records only."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vssl.cli.parser import Parser
from vssl.evaluate import render
from vssl.evaluate.diff import ABSENT, PARTS, Difference, differences


def main(argv: list[str]) -> int:
    """Run the command.

    Raises:
        UserError: a directory is no run, or a record in it cannot be read.
    """
    parser = Parser(prog="vssl diff", description=f"{__doc__} In this order: {', '.join(PARTS)}.")
    parser.add_argument("first", metavar="RUN", help="run directory that vssl fit made")
    parser.add_argument("second", metavar="RUN", help="another one")
    parser.add_argument("--json", metavar="FILE", help="write every difference, unabridged")
    args = parser.parse_args(argv)
    found = differences(Path(args.first), Path(args.second))
    console = Console()
    if not console.is_terminal:
        console = Console(width=render.WIDE)
    if found:
        console.print(_table(found, (args.first, args.second)))
    else:
        console.print("no difference in data, protocol, settings, code or environment", highlight=False)
    if args.json:
        rows = [{"part": d.part, "field": d.field, "first": d.first, "second": d.second} for d in found]
        document = {"first": args.first, "second": args.second, "differences": rows}
        file = Path(args.json)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        console.print(f"wrote {file}", soft_wrap=True, highlight=False)
    return 0


def _table(found: list[Difference], runs: tuple[str, str]) -> Table:
    table = Table("part", "field", *(Path(run).name or run for run in runs))
    last = ""
    for difference in found:
        if last and difference.part != last:
            table.add_section()
        first, second = _words(difference)
        table.add_row(difference.part if difference.part != last else "", difference.field, first, second)
        last = difference.part
    return table


def _words(difference: Difference) -> tuple[str, str]:
    """The two values as text; of long lists, what each has that the other lacks."""
    values = difference.first, difference.second
    if all(isinstance(value, list) and len(value) > 20 for value in values):
        first, second = (set(map(str, value)) for value in values)
        return f"{len(first)}, {len(first - second)} only here", f"{len(second)}, {len(second - first)} only here"
    return _word(values[0]), _word(values[1])


def _word(value: Any) -> str:
    if isinstance(value, list) and len(value) > 20:
        return str(len(value))
    return "none" if value is None else str(value) if value != ABSENT else ABSENT

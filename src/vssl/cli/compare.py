"""`vssl compare RUN... [--html F] [--json F] [--csv F]`: the table of runs that were evaluated. Reads results only."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from vssl import staged
from vssl.cli.parser import Parser
from vssl.evaluate import render, table
from vssl.evaluate.result import FOLDER, Result, of_run


def main(argv: list[str]) -> int:
    """Run the command.

    Raises:
        UserError: a run is missing or was never evaluated.
    """
    parser = Parser(prog="vssl compare", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directory with results")
    parser.add_argument("--html", metavar="FILE", help="write one self-contained page")
    parser.add_argument("--json", metavar="FILE", help="write every number of the table")
    parser.add_argument("--csv", metavar="FILE", help="write one line per encoder and split")
    args = parser.parse_args(argv)
    runs = list({(run := _home(Path(text))).resolve(): run for text in args.runs}.values())
    groups = table.build(_results(runs))
    console = Console()
    if not console.is_terminal:
        console = Console(width=render.WIDE)
    render.show(groups, console)
    if args.json:
        _write(args.json, render.to_json(groups), console)
    if args.csv:
        _write(args.csv, render.to_csv(groups), console)
    if args.html:
        from vssl.evaluate import report  # jinja2 is not needed for the table

        _write(args.html, report.page(groups, runs), console)
    return 0


def _home(run: Path) -> Path:
    return staged.last_stage(run.parent if run.name == FOLDER else run)


def _results(runs: list[Path]) -> list[Result]:
    """Results of all runs; runs of the same name in different folders get the folder's name before theirs."""
    found = [(run, result) for run in runs for result in of_run(run)]
    homes: dict[str, set[Path]] = {}
    for run, result in found:
        homes.setdefault(result.run, set()).add(run)
    return [
        replace(result, run=f"{run.resolve().parent.name}/{result.run}") if len(homes[result.run]) > 1 else result
        for run, result in found
    ]


def _write(path: str, text: str, console: Console) -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    console.print(f"wrote {file}", soft_wrap=True, highlight=False)

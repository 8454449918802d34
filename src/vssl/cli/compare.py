"""`vssl compare RUN...`, `vssl compare -c FILE`: the table of runs that were evaluated; FILE: does what is missing."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from vssl import staged
from vssl.cli import previews
from vssl.cli.parser import Parser
from vssl.cli.previews import Source
from vssl.errors import UserError
from vssl.evaluate import families, render, table, typeset
from vssl.evaluate.result import FOLDER, Result, absent, of_run
from vssl.evaluate.rows import Group

_FILES = {"html": "report.html", "json": "table.json", "csv": "table.csv", "latex": "table.tex", "markdown": "table.md"}
"""What `-c` writes into its folder, where no flag says otherwise."""


def main(argv: list[str]) -> int:
    """Run the command; 1 if a part of what FILE asks for could not be had.

    Raises:
        UserError: a run is missing or was never evaluated, or the file is not right.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if not args.runs and not args.config:
        parser.error("the following arguments are required: RUN or -c FILE")
    console = Console()
    if not console.is_terminal:
        console = Console(width=render.WIDE)
    found, lost, sources = _work(args, console) if args.config else ([], [], [])
    runs = list({(run := _home(Path(text))).resolve(): run for text in args.runs}.values())
    found += [(run, result) for run in runs for result in of_run(run)]
    if not found:
        raise UserError(args.config, "nothing of it could be scored", " ".join(lost))
    results, origins = _named(found)
    lost += absent(results)
    groups = table.build(results, origins)
    render.show(groups, console, pairs=args.pairs)
    homes = {result.run: run for (run, _), result in zip(found, results, strict=True)}
    sources += [Source(path, args.root) for path in args.manifest]
    _write_all(args, groups, homes, lost, sources, console)
    for line in lost:
        console.print(f"missing: {line}", soft_wrap=True, highlight=False, markup=False)
    return 1 if lost and args.config else 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="vssl compare", description=__doc__)
    add = parser.add_argument
    add("runs", nargs="*", metavar="RUN", help="run directory with results")
    add("-c", "--config", metavar="FILE", help="methods, data sets, protocols, seeds: runs what is missing")
    add("--pairs", action="store_true", help="print the paired difference of any two ranked rows")
    add("--previews", action="store_true", help="put small moving pictures of retrieved videos into the page")
    add("--data.manifest", dest="manifest", action="append", default=[], help="of the videos to show; repeat it")
    add("--data.root", dest="root", help="folder that the manifest's paths are relative to")
    add("--cache", metavar="DIR", help="kept features besides the runs' own, for --previews")
    add("--html", metavar="FILE", help="write one self-contained page")
    add("--json", metavar="FILE", help="write every number of the table")
    add("--csv", metavar="FILE", help="write one line per encoder and split")
    add("--latex", metavar="FILE", help="write the summary as LaTeX tables (booktabs)")
    add("--markdown", metavar="FILE", help="write the summary as Markdown")
    return parser


def _work(args: argparse.Namespace, console: Console) -> tuple[list[tuple[Path, Result]], list[str], list[Source]]:
    """What the file asks for; its outputs go into its folder where no flag says otherwise."""
    from vssl.cli import plan, steps

    asked = plan.read(Path(args.config))
    for name, file in _FILES.items():
        if getattr(args, name) is None:
            setattr(args, name, str(Path(asked.out) / file))
    args.cache = args.cache or str(Path(asked.out) / "features")

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False, markup=False)

    found, lost = steps.run(asked, say)
    return found, lost, [Source(data.manifest, data.root) for data in asked.datasets.values() if data.splits]


def _home(run: Path) -> Path:
    return staged.last_stage(run.parent if run.name == FOLDER else run)


def _named(found: list[tuple[Path, Result]]) -> tuple[list[Result], dict[str, families.Origin]]:
    """Results of all runs, and where each run comes from.

    Runs of the same name in different folders get the folder's name before theirs.
    """
    homes: dict[str, set[Path]] = {}
    for run, result in found:
        homes.setdefault(result.run, set()).add(run)
    results, origins = [], {}
    for run, result in found:
        name = f"{run.resolve().parent.name}/{result.run}" if len(homes[result.run]) > 1 else result.run
        results.append(replace(result, run=name))
        if name not in origins and (origin := families.origin(run)):
            origins[name] = origin
    return results, origins


def _write_all(
    args: argparse.Namespace,
    groups: list[Group],
    homes: dict[str, Path],
    lost: list[str],
    sources: list[Source],
    console: Console,
) -> None:
    makers: dict[str, Callable[[], str]] = {
        "json": lambda: render.to_json(groups),
        "csv": lambda: render.to_csv(groups),
        "latex": lambda: typeset.to_latex(groups),
        "markdown": lambda: typeset.to_markdown(groups),
        "html": lambda: _page(args, groups, homes, lost, sources),
    }
    for name, make in makers.items():
        if path := getattr(args, name):
            _write(Path(path), make(), console)


def _page(
    args: argparse.Namespace, groups: list[Group], homes: dict[str, Path], lost: list[str], sources: list[Source]
) -> str:
    from vssl.evaluate import report  # jinja2 is not needed for the table

    shown = []
    if args.previews:
        if not sources:
            raise UserError("--previews", "needs the videos", "Give --data.manifest, and --data.root if it has moved")
        shown, without = previews.galleries(groups, homes, sources, Path(args.cache) if args.cache else None)
        lost = [*lost, *without]
    return report.page(groups, list(dict.fromkeys(homes.values())), lost=lost, galleries=shown)


def _write(file: Path, text: str, console: Console) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    console.print(f"wrote {file}", soft_wrap=True, highlight=False)

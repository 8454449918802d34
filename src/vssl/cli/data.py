"""`vssl data`: make a manifest, check one, find shots, render the toy world.

Imports at the top stay light: --help is fast.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from vssl.cli.parser import Parser

LAYOUT_NAMES = ("ucf101", "hmdb51", "folder", "csv")


def main(argv: list[str]) -> int:
    """Run `vssl data`.

    Args:
        argv: What follows `vssl data`.

    Returns:
        Exit code: 0; 1 where check finds a file bad, missing or changed, or index or shots can read none.

    Raises:
        UserError: A file, folder or value given is wrong.
    """
    parser = Parser(prog="vssl data", description="Make and check the list of videos that vssl trains on.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_index(commands.add_parser("index", help="probe every video below ROOT and write a manifest"))
    _add_check(commands.add_parser("check", help="probe the videos of a manifest again and compare"))
    _add_shots(commands.add_parser("shots", help="find shot boundaries and write them into a manifest"))
    _add_toy(commands.add_parser("toy", help="render the toy world: small videos with known factors"))
    arguments = parser.parse_args(argv)
    return {"index": _index, "check": _check, "shots": _shots, "toy": _toy}[arguments.command](arguments)


def _add_index(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", metavar="ROOT", type=Path, help="folder of class folders; for csv: the CSV file")
    parser.add_argument("--dataset", required=True, choices=LAYOUT_NAMES, help="how ROOT is laid out")
    parser.add_argument("--splits", metavar="DIR", type=Path, help="folder of the official split files")
    parser.add_argument("--out", required=True, metavar="MANIFEST", type=Path, help="the .csv to write")
    parser.add_argument("--name", help="name of the data set (default: the layout, or ROOT's name for folder, csv)")
    _add_probing(parser)


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", metavar="MANIFEST", type=Path, help="a .csv written by vssl data index")
    parser.add_argument("--root", metavar="R", type=Path, help="where the videos are now")
    parser.add_argument("--report", metavar="FILE", type=Path, help="write everything found as JSON")
    _add_probing(parser)


def _add_shots(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", metavar="MANIFEST", type=Path, help="a .csv written by vssl data index; changed")
    parser.add_argument("--root", metavar="R", type=Path, help="where the videos are now")
    parser.add_argument(
        "--threshold",
        metavar="X",
        type=_number,
        default=1.0,
        help="smallest change of the histogram, 0 to 2 (default 1)",
    )
    parser.add_argument(
        "--ratio", metavar="X", type=_number, default=3.0, help="times the local median of the changes (default 3)"
    )
    parser.add_argument("--min-frames", metavar="N", type=_positive, default=8, help="shortest shot (default 8)")
    parser.add_argument(
        "--flash-frames", metavar="N", type=_count, default=3, help="a change undone that soon is no cut (default 3)"
    )
    _add_probing(parser)


def _add_toy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write")
    parser.add_argument("--videos", metavar="N", type=_positive, default=960, help="how many (default 960)")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="of every draw (default 0)")
    parser.add_argument(
        "--nuisance",
        choices=("constant", "redrawn"),
        default="constant",
        help="colour and background over a video, or redrawn at its cuts (default constant)",
    )
    _add_workers(parser)


def _add_probing(parser: argparse.ArgumentParser) -> None:
    _add_workers(parser)
    parser.add_argument("--timeout-s", metavar="S", type=_seconds, default=60.0, help="limit for one file (default 60)")


def _add_workers(parser: argparse.ArgumentParser) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument(
        "--workers", metavar="N", type=_positive, default=cores, help="processes (default: one per core)"
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1 on")
    return int(text)


def _count(text: str) -> int:
    return 0 if text == "0" else _positive(text)


def _seconds(text: str) -> float:
    return _above_zero(text, "number of seconds")


def _number(text: str) -> float:
    return _above_zero(text, "number")


def _above_zero(text: str, kind: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no {kind} above 0")
    return number


def _index(arguments: argparse.Namespace) -> int:
    from vssl.data.index import build, say
    from vssl.data.layouts import LAYOUTS

    named = arguments.dataset in ("ucf101", "hmdb51")
    name = arguments.name or (arguments.dataset if named else arguments.root.resolve().stem)
    listing = LAYOUTS[arguments.dataset](arguments.root, arguments.splits, name)
    info = build(listing, out=arguments.out, num_workers=arguments.workers, timeout_s=arguments.timeout_s)
    say(info)
    sys.stdout.write(f"wrote {arguments.out} and {arguments.out.with_suffix('.json')} (every name is there)\n")
    return 0 if info["counts"]["videos"]["readable"] else 1


def _check(arguments: argparse.Namespace) -> int:
    from vssl.data.index import check, say, say_changes
    from vssl.data.manifest import Manifest

    manifest = Manifest.load(arguments.manifest, root=arguments.root)
    found, changes = check(manifest, num_workers=arguments.workers, timeout_s=arguments.timeout_s)
    say(found)
    say_changes(changes)
    if arguments.report:
        report = {**found, "changes": [change._asdict() for change in changes]}
        arguments.report.write_text(json.dumps(report, indent=1))
    wrong = bool(found["bad"] or found["missing"] or changes)
    sys.stdout.write(f"{len(manifest)} files checked: {'NOT as stored' if wrong else 'as stored'}\n")
    return int(wrong)


def _shots(arguments: argparse.Namespace) -> int:
    from vssl.data.shots import Rule, find_shots, say_shots

    shots = find_shots(
        arguments.manifest,
        root=arguments.root,
        rule=Rule(arguments.threshold, arguments.ratio, arguments.min_frames, arguments.flash_frames),
        num_workers=arguments.workers,
        timeout_s=arguments.timeout_s,
    )
    say_shots(shots)
    sys.stdout.write(f"wrote the column cuts of {arguments.manifest}\n")
    return int(len(shots["failed"]) == shots["videos"])


def _toy(arguments: argparse.Namespace) -> int:
    from vssl.data.toy import generate

    manifest = generate(
        arguments.out,
        num_videos=arguments.videos,
        seed=arguments.seed,
        nuisance=arguments.nuisance,
        workers=arguments.workers,
    )
    sys.stdout.write(f"wrote {manifest}\n")
    return 0

"""`vssl data`: make a manifest, check it, find shots, curate it, take part of it, render the toy world.

Imports at the top stay light: --help is fast.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from vssl.cli import values
from vssl.cli.parser import Parser

LAYOUT_NAMES = ("ucf101", "hmdb51", "folder", "csv")


def main(argv: list[str]) -> int:
    """Run `vssl data`.

    Args:
        argv: What follows `vssl data`.

    Returns:
        Exit code: 0; 1 where check finds a file bad, missing or changed, where index or shots can read none, or where
        curate keeps none.

    Raises:
        UserError: A file, folder or value given is wrong.
    """
    parser = Parser(prog="vssl data", description="Make and check the list of videos that vssl trains on.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_index(commands.add_parser("index", help="probe every video below ROOT and write a manifest"))
    _add_check(commands.add_parser("check", help="probe the videos of a manifest again and compare"))
    _add_shots(commands.add_parser("shots", help="find shot boundaries and write them into a manifest"))
    _add_toy(commands.add_parser("toy", help="render the toy world: small videos with known factors"))
    _add_curate(commands.add_parser("curate", help="keep the videos in which a classifier sees what was searched for"))
    _add_subset(commands.add_parser("subset", help="keep the videos, or the classes, that a list names"))
    arguments = parser.parse_args(argv)
    run = {"index": _index, "check": _check, "shots": _shots, "toy": _toy, "curate": _curate, "subset": _subset}
    return run[arguments.command](arguments)


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
        type=values.number,
        default=1.0,
        help="smallest change of the histogram, 0 to 2 (default 1)",
    )
    parser.add_argument(
        "--ratio",
        metavar="X",
        type=values.number,
        default=3.0,
        help="times the local median of the changes (default 3)",
    )
    parser.add_argument("--min-frames", metavar="N", type=values.positive, default=8, help="shortest shot (default 8)")
    parser.add_argument(
        "--flash-frames",
        metavar="N",
        type=values.count,
        default=3,
        help="a change undone that soon is no cut (default 3)",
    )
    parser.add_argument("--pictures", metavar="DIR", type=Path, help="write strips of videos with their cuts there")
    _add_probing(parser)


def _add_toy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write")
    parser.add_argument("--videos", metavar="N", type=values.positive, default=960, help="how many (default 960)")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="of every draw (default 0)")
    parser.add_argument(
        "--nuisance",
        choices=("constant", "redrawn"),
        default="constant",
        help="colour and background over a video, or redrawn at its cuts (default constant)",
    )
    parser.add_argument(
        "--images", metavar="N", type=values.positive, help="also labelled images, in OUT/images (default none)"
    )
    _add_workers(parser)


def _add_curate(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "VideoNet's rule (VITO): a video stays if it is long enough and the class it was retrieved for is the "
        "classifier's top-1 in at least one of its first frames. A killed run continues with the same command."
    )
    parser.add_argument("manifest", metavar="MANIFEST", type=Path, help="a .csv written by vssl data index")
    parser.add_argument("--classifier", required=True, metavar="NAME", help="timm model")
    parser.add_argument("--weights", required=True, metavar="PATH", type=Path, help="its local state-dict file")
    parser.add_argument("--queries", required=True, metavar="FILE", type=Path, help="CSV: path,class (index)")
    parser.add_argument("--out", required=True, metavar="MANIFEST", type=Path, help="the .csv to write")
    parser.add_argument("--root", metavar="R", type=Path, help="where the videos are now")
    parser.add_argument(
        "--min-seconds", metavar="S", type=values.not_negative, default=10.0, help="shortest (default 10)"
    )
    parser.add_argument(
        "--first-frames", metavar="N", type=values.positive, default=100, help="looked at (default 100)"
    )
    parser.add_argument(
        "--model-kwargs", metavar="K=V", nargs="+", default=[], help="timm arguments: key=value, or one JSON object"
    )
    parser.add_argument(
        "--mean", metavar="M", nargs="+", type=float, help="input mean, 1 or 3 values (default: timm's)"
    )
    parser.add_argument("--std", metavar="D", nargs="+", type=float, help="input deviation, likewise")
    parser.add_argument(
        "--size", metavar="PX", type=values.positive, default=224, help="side of the crop (default 224)"
    )
    _add_workers(parser)


def _add_subset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", metavar="MANIFEST", type=Path, help="a .csv written by vssl data index")
    parser.add_argument(
        "--list", required=True, metavar="FILE", type=Path, help="one CLASS/NAME [FRAMES], or one CLASS, per line"
    )
    parser.add_argument("--out", metavar="MANIFEST", type=Path, help="the .csv to write (default: MANIFEST-LIST.csv)")
    parser.add_argument("--root", metavar="R", type=Path, help="where the videos are now")


def _add_probing(parser: argparse.ArgumentParser) -> None:
    _add_workers(parser)
    parser.add_argument(
        "--timeout-s", metavar="S", type=values.seconds, default=60.0, help="limit for one file (default 60)"
    )


def _add_workers(parser: argparse.ArgumentParser) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument(
        "--workers", metavar="N", type=values.positive, default=cores, help="processes (default: one per core)"
    )


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
    if arguments.pictures:
        from vssl.data.manifest import Manifest
        from vssl.data.strips import save_strips

        for picture in save_strips(Manifest.load(arguments.manifest, root=arguments.root), arguments.pictures):
            sys.stdout.write(f"wrote {picture}\n")
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
    if arguments.images:
        from vssl.data.toy_images import generate_images

        sys.stdout.write(f"wrote {generate_images(arguments.out, arguments.images, arguments.seed)}\n")
    return 0


def _curate(arguments: argparse.Namespace) -> int:
    from vssl.data.classifier import Classifier
    from vssl.data.curate import Rule, curate
    from vssl.data.manifest_stream import ManifestStream

    source = ManifestStream(arguments.manifest, arguments.root)
    classifier = Classifier(
        arguments.classifier,
        arguments.weights,
        model_kwargs=values.model_kwargs(arguments.model_kwargs),
        mean=values.triple(arguments.mean),
        std=values.triple(arguments.std),
        size=arguments.size,
    )
    report = curate(
        source,
        classifier,
        queries=arguments.queries,
        out=arguments.out,
        rule=Rule(arguments.min_seconds, arguments.first_frames),
        num_workers=arguments.workers,
    )
    kept, videos = report["verdicts"]["kept"], report["videos"]
    dropped = ", ".join(f"{n} {name}" for name, n in report["verdicts"].items() if n and name != "kept")
    sys.stdout.write(f"{kept} of {videos} videos kept ({100 * kept / max(1, videos):.1f} %); dropped: {dropped or 0}\n")
    sys.stdout.write(f"wrote {arguments.out}; why: {arguments.out.with_suffix('.curation.jsonl')}\n")
    return 0 if kept else 1


def _subset(arguments: argparse.Namespace) -> int:
    from vssl.data.manifest import Manifest
    from vssl.data.subset import subset

    manifest = Manifest.load(arguments.manifest, root=arguments.root)
    out = arguments.out or arguments.manifest.with_name(f"{arguments.manifest.stem}-{arguments.list.stem}.csv")
    found = subset(manifest, arguments.list, out=out)
    missing = found["missing"]
    sys.stdout.write(f"{found['found']} of {found['listed']} {found['names']} found, {len(missing)} missing")
    sys.stdout.write(f": {', '.join(missing[:10])}{', ...' * (len(missing) > 10)}\n" if missing else "\n")
    sys.stdout.write(f"{found['rows']} of {len(manifest)} rows kept; wrote {out} and {out.with_suffix('.json')}\n")
    return 0

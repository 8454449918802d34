"""`vssl evaluate CKPT... --data.manifest M`: score encoders, frozen or fine-tuned, beside random initialisations."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vssl.cli.encoders import (
    add_common,
    at_least,
    controls_of,
    data_section,
    launched,
    section,
    settings_of,
    trained_encoder,
)
from vssl.cli.parser import Parser
from vssl.errors import UserError

if TYPE_CHECKING:
    from vssl.data.manifest import Manifest
    from vssl.evaluate.protocol import Protocol
    from vssl.evaluate.result import Result
    from vssl.evaluate.run import Job


def main(argv: list[str]) -> int:
    """Run the command; 0 if every score exists afterwards.

    Raises:
        UserError: anything asked for is not there, not safe, or leaked.
    """
    args = _parser().parse_args(argv)
    from rich.console import Console  # everything heavy comes after the arguments are known to be right

    from vssl.distributed import rank
    from vssl.evaluate import protocol, render, table

    console = Console(stderr=True)
    given = section(args, "evaluate")
    chosen = [protocol.load(name) for name in args.protocol or _names(given.get("protocol") or "knn-v1")]
    for found in chosen:
        found.must_run()
    chosen = _changed(chosen, (given.get("set") or {}) | dict(args.set))
    if args.clips is not None:
        chosen = [found.override(views__clips=args.clips) for found in chosen]
    if args.seeds_random is not None:
        chosen = [found.override(controls__random_seeds=list(range(args.seeds_random))) for found in chosen]
    for found in chosen:
        found.must_run()
    results = _evaluate(args, chosen, console)
    if rank() > 0:
        return 0
    out = Console()
    if not out.is_terminal:
        out = Console(width=render.WIDE)
    render.show(table.build(results), out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="vssl evaluate", description=__doc__)
    add = parser.add_argument
    add("checkpoints", nargs="+", metavar="CKPT", help="checkpoint file, or run directory (its last checkpoint)")
    add(
        "--protocol",
        type=_names,
        help="protocols, for example knn-v1,linear-v1 (default: that of -c, else knn-v1)",
    )
    add(
        "--set",
        type=_field,
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="another value of a protocol's field, said in its name: --set optimisation.epochs=5",
    )
    add(
        "--splits", type=_ints, help="for example 1,2,3; default: the split of pretraining on the same data set, else 1"
    )
    add("--label", action="append", default=[], metavar="COLUMN", help="label column; repeat or separate by commas")
    add("--seeds-random", type=at_least(0), metavar="N", help="random initialisations (default: the protocol's 3)")
    add("--out", metavar="DIR", help="write DIR/results and DIR/features instead of the run's own")
    add("--allow-leak", action="store_true", help="score splits seen in pretraining, stamped LEAKED, never ranked")
    add_common(parser)
    return parser


def _ints(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text}: is not a list of split numbers such as 1,2,3")
    return sorted({int(part) for part in parts})


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",")))


def _field(text: str) -> tuple[str, Any]:
    import yaml

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text}: is not FIELD=VALUE, such as optimisation.epochs=5")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise argparse.ArgumentTypeError(f"{text}: {' '.join(str(error).split())}") from error


def _changed(protocols: "list[Protocol]", fields: dict[str, Any]) -> "list[Protocol]":
    """Every protocol with those of the fields that it has.

    Raises:
        UserError: none of them has a field.
    """
    for field in fields:
        if not any(field in found.fields for found in protocols):
            names = ", ".join(found.name for found in protocols)
            raise UserError(field, f"is no field of {names}", "docs/evaluation.md names the files that list them.")
    return [found.override(**{n: v for n, v in fields.items() if n in found.fields}) for found in protocols]


def _evaluate(args: argparse.Namespace, protocols: "list[Protocol]", console: Any) -> "list[Result]":
    """All data sets; everything that can be refused is refused before the first video is read."""
    from vssl.data.manifest import Manifest
    from vssl.evaluate import run

    data = data_section(args)
    settings = settings_of(args, data, console)
    roots = {"root": Path(data["root"])} if data.get("root") else {"root": None}
    manifests = [Manifest.load(Path(path), **roots) for path in data["manifest"]]
    labels = [name for text in args.label for name in text.split(",")] or [data.get("label") or "label"]
    jobs = [(manifest, _jobs(args, protocols, manifest)) for manifest in manifests]
    settings = launched(settings)
    results = []
    for manifest, found in jobs:
        results += run.evaluate(found, manifest=manifest, labels=list(dict.fromkeys(labels)), settings=settings)
    return results


def _jobs(args: argparse.Namespace, protocols: "list[Protocol]", manifest: "Manifest") -> "list[Job]":
    """Per protocol the trained encoders, and the controls of each."""
    from vssl import checkpoint
    from vssl.evaluate import score
    from vssl.evaluate.clips import TASKS
    from vssl.evaluate.result import RANDOM
    from vssl.evaluate.run import Job

    jobs = [Job(protocol, []) for protocol in protocols]
    for path in args.checkpoints:
        frozen = checkpoint.read(Path(path)).frozen
        for protocol, encoders in jobs:
            trained = trained_encoder(args, Path(path), protocol, manifest)
            if not args.allow_leak:
                score.guard(trained, manifest)
            seeds = protocol["controls.random_seeds"]
            beside = controls_of(trained, seeds, frozen=frozen, trust_imports=args.trust_imports)
            if protocol["task"] in TASKS:  # what has no parameters cannot be trained
                beside = [control for control in beside if control.kind == RANDOM]
            encoders += [trained, *beside]
    return jobs

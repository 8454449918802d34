"""`vssl evaluate CKPT... --data.manifest M`: score frozen encoders beside their random initialisations."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vssl.cli.parser import Parser
from vssl.errors import UserError

if TYPE_CHECKING:
    from vssl.data.manifest import Manifest
    from vssl.evaluate.encoder import Encoder
    from vssl.evaluate.protocol import Protocol
    from vssl.evaluate.result import Result


def main(argv: list[str]) -> int:
    """Run the command; 0 if every score exists afterwards.

    Raises:
        UserError: anything asked for is not there, not safe, or leaked.
    """
    args = _parser().parse_args(argv)
    from rich.console import Console  # everything heavy comes after the arguments are known to be right

    from vssl.evaluate import protocol, render, table

    console = Console(stderr=True)
    chosen = protocol.load(args.protocol)
    if args.clips is not None:
        chosen = chosen.override(views__clips=args.clips)
    if args.seeds_random is not None:
        chosen = chosen.override(controls__random_seeds=list(range(args.seeds_random)))
    results = _evaluate(args, chosen, console)
    out = Console()
    if not out.is_terminal:
        out = Console(width=render.WIDE)
    render.show(table.build(results), out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="vssl evaluate", description=__doc__)
    add = parser.add_argument
    add("checkpoints", nargs="+", metavar="CKPT", help="checkpoint file, or run directory (its last checkpoint)")
    add("--protocol", default="knn-v1", help="named protocol (default: %(default)s)")
    add("-c", "--config", action="append", default=[], metavar="YAML", help="its section data: manifest, root, ...")
    add("--data.manifest", dest="manifest", help="manifest of the videos to score on")
    add("--data.root", dest="root", help="folder that the manifest's paths are relative to")
    add("--data.reader", dest="reader", choices=("auto", "pyav", "torchcodec"), help="decoder (default: auto)")
    add(
        "--splits", type=_ints, help="for example 1,2,3; default: the split of pretraining on the same data set, else 1"
    )
    add("--label", action="append", default=[], metavar="COLUMN", help="label column; repeat or separate by commas")
    add("--clips", type=_at_least(1), help="clips per video instead of the protocol's; changes the fingerprint")
    add("--seeds-random", type=_at_least(0), metavar="N", help="random initialisations (default: the protocol's 3)")
    add("--workers", type=_at_least(0), help="loader processes (default: the cores, at most 8)")
    add("--batch-size", type=_at_least(1), default=8, help="videos per batch; no score depends on it")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    add("--out", metavar="DIR", help="write DIR/results instead of the run's own results")
    add("--allow-leak", action="store_true", help="score splits seen in pretraining, stamped LEAKED, never ranked")
    add(
        "--trust-imports",
        action="store_true",
        help="build encoders that no installed package registers: runs their code",
    )
    add("--force", action="store_true", help="compute again what exists")
    return parser


def _ints(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text}: is not a list of split numbers such as 1,2,3")
    return sorted({int(part) for part in parts})


def _at_least(least: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text}: is not a whole number of at least {least}")
        return int(text)

    return whole


def _evaluate(args: argparse.Namespace, protocol: "Protocol", console: Any) -> "list[Result]":
    import os

    import torch

    from vssl.data.manifest import Manifest
    from vssl.evaluate import run

    data = _data(args)
    manifest = Manifest.load(Path(data["manifest"]), root=Path(data["root"]) if data.get("root") else None)
    labels = [name for text in args.label for name in text.split(",")] or [data.get("label") or "label"]
    encoders = _encoders(args, protocol, manifest)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UserError(f"--device {device}", "a device is auto, cpu, cuda or cuda:N", "Try --device cpu.")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"--device {device}", "PyTorch finds no GPU here", "Try --device cpu.")
    workers = data.get("num_workers", -1)  # -1, as in data.num_workers: the machine decides
    settings = run.Settings(
        num_workers=workers if workers >= 0 else min(os.cpu_count() or 1, 8),
        batch_size=args.batch_size,
        reader=data.get("reader") or "auto",
        device=device,
        force=args.force,
        console=console,
    )
    return run.evaluate(
        encoders, manifest=manifest, protocol=protocol, labels=list(dict.fromkeys(labels)), settings=settings
    )


def _data(args: argparse.Namespace) -> dict[str, Any]:
    """The data section of the -c layers, left to right, and the flags over it."""
    merged: dict[str, Any] = {}
    if args.config:
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        for path in args.config:
            if not Path(path).is_file():
                raise UserError(path, "no such file", "Give a YAML file with a section data")
        try:
            layers = OmegaConf.merge(*[OmegaConf.load(path) for path in args.config])
            section = OmegaConf.select(layers, "data")  # resolved in place: interpolation may point outside of it
            found = OmegaConf.to_container(section, resolve=True) if OmegaConf.is_dict(section) else {}
            assert isinstance(found, dict)
            merged = {str(name): value for name, value in found.items()}
        except OmegaConfBaseException as error:
            raise UserError(args.config[-1], " ".join(str(error).split()), "Mend the interpolation") from error
    flags = {"manifest": args.manifest, "root": args.root, "reader": args.reader, "num_workers": args.workers}
    merged |= {name: value for name, value in flags.items() if value is not None}
    if not merged.get("manifest"):
        raise UserError(
            "--data.manifest", "is missing", "Name the manifest that vssl data index wrote, or -c DATA.yaml"
        )
    return merged


def _encoders(args: argparse.Namespace, protocol: "Protocol", manifest: "Manifest") -> "list[Encoder]":
    """The trained encoders, then the controls of each."""
    from vssl.evaluate import run

    found = []
    for path in args.checkpoints:
        trained = _trained(args, Path(path), protocol, manifest)
        if not args.allow_leak:
            run.guard(trained, manifest)
        found += [trained, *_controls(trained, protocol["controls.random_seeds"], trust_imports=args.trust_imports)]
    return found


def _trained(args: argparse.Namespace, path: Path, protocol: "Protocol", manifest: "Manifest") -> "Encoder":
    from vssl import checkpoint, staged
    from vssl.evaluate.encoder import Encoder, plain, pretraining
    from vssl.evaluate.features import card_of
    from vssl.evaluate.result import FOLDER, TRAINED

    info = checkpoint.read(path)
    backbone = checkpoint.load_backbone(path, trust_imports=args.trust_imports)
    file = checkpoint.resolve(path).resolve()
    home = file.parent.parent if file.parent.name == "checkpoints" else file.parent
    records = [] if info.seen is None else [info.seen, *filter(None, info.seen.get("earlier", ()))]
    own = next((int(seen["split"]) for seen in records if seen["dataset"] == manifest.dataset), 1)
    names = [*(phase["method"] for phase in info.phases), info.method]
    method = "+".join(name.rpartition(".")[2] for name in names)
    return Encoder(
        kind=TRAINED,
        name=method,
        run=staged.name_of(home) if file.parent.name == "checkpoints" else file.stem,
        folder=(Path(args.out) if args.out else home) / FOLDER,
        backbone=backbone,
        card=card_of(protocol, backbone),
        spec=plain(info.spec),
        checkpoint={"sha": info.sha, "step": info.step, "epoch": info.epoch, "file": file.name},
        pretraining=pretraining(info.method, info.seen, info.budget),
        seen=info.seen,
        splits=args.splits or [own],
    )


def _controls(trained: "Encoder", seeds: list[int], *, trust_imports: bool) -> "list[Encoder]":
    """Random initialisations of the same network and the baselines, on the same splits and pixels."""
    from dataclasses import replace

    from vssl.backbones.base import Backbone
    from vssl.backbones.baselines import FrameDifference, PixelHistogram
    from vssl.evaluate import controls
    from vssl.evaluate.encoder import plain
    from vssl.evaluate.result import BASELINE, RANDOM

    bare = replace(trained, checkpoint={}, pretraining={}, seen=None)
    random = controls.random_encoders(trained.spec, seeds, trust_imports=trust_imports)
    found = [
        replace(bare, kind=RANDOM, name=name, backbone=backbone, seed=seed)
        for seed, (name, backbone) in zip(seeds, random.items(), strict=True)
    ]
    card = trained.card
    baselines: list[Backbone] = [PixelHistogram(size=card.size)]
    if card.frames > 1:  # one frame has no difference to the next
        baselines.append(FrameDifference(size=card.size, frames=card.frames, stride=card.stride))
    for backbone in baselines:
        # the same pixels as the encoder's, scaled as the baseline wants them
        own = card._replace(mean=backbone.input.mean, std=backbone.input.std, color="rgb")
        name = type(backbone).__name__
        found.append(replace(bare, kind=BASELINE, name=name, backbone=backbone, card=own, spec=plain(backbone.spec())))
    return found

"""What the commands that compute features share: their options, the data they name, and the encoders."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vssl.errors import UserError

if TYPE_CHECKING:
    from vssl.data.manifest import Manifest
    from vssl.evaluate.encoder import Encoder
    from vssl.evaluate.passes import Settings
    from vssl.evaluate.protocol import Protocol


def add_common(parser: argparse.ArgumentParser) -> None:
    """The options of every command that computes features."""
    add = parser.add_argument
    add("-c", "--config", action="append", default=[], metavar="YAML", help="its section data: manifest, root, ...")
    add("--data.manifest", dest="manifest", action="append", help="manifest of the videos; repeat for more data sets")
    add("--data.root", dest="root", help="folder that the manifest's paths are relative to")
    add("--data.reader", dest="reader", choices=("auto", "pyav", "torchcodec"), help="decoder (default: auto)")
    add("--clips", type=at_least(1), help="clips per video instead of the protocol's; changes the fingerprint")
    add("--workers", type=at_least(0), help="loader processes (default: the cores, at most 8)")
    add("--batch-size", type=at_least(1), default=8, help="videos per batch; no score depends on it")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    add("--cache", metavar="DIR", help="keep features in DIR, shared by runs (default: features in the run directory)")
    add("--no-cache", action="store_true", help="keep no features on disk")
    add(
        "--trust-imports",
        action="store_true",
        help="build encoders that no installed package registers: runs their code",
    )
    add("--force", action="store_true", help="compute again what exists, features included")


def at_least(least: int) -> Callable[[str], int]:
    """An argument type: whole numbers from `least` on."""

    def whole(text: str) -> int:
        if not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text}: is not a whole number of at least {least}")
        return int(text)

    return whole


def section(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """One section of the -c layers, merged left to right; {} where none has it.

    Raises:
        UserError: a layer is missing or broken.
    """
    if not args.config:
        return {}
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for path in args.config:
        if not Path(path).is_file():
            raise UserError(path, "no such file", "Give a YAML file with a section data")
    try:
        layers = OmegaConf.merge(*[OmegaConf.load(path) for path in args.config])
        # resolved in place: interpolation may point outside of it
        found = OmegaConf.select(layers, name)
        plain = OmegaConf.to_container(found, resolve=True) if OmegaConf.is_dict(found) else {}
        assert isinstance(plain, dict)
        return {str(key): value for key, value in plain.items()}
    except OmegaConfBaseException as error:
        raise UserError(args.config[-1], " ".join(str(error).split()), "Mend the interpolation") from error


def data_section(args: argparse.Namespace) -> dict[str, Any]:
    """The data section of the -c layers, left to right, and the flags over it; `manifest` is a list.

    Raises:
        UserError: a layer is missing or broken, or no manifest is named; several are, but one root.
    """
    merged = section(args, "data")
    flags = {"manifest": args.manifest, "root": args.root, "reader": args.reader, "num_workers": args.workers}
    merged |= {name: value for name, value in flags.items() if value is not None}
    if not merged.get("manifest"):
        raise UserError(
            "--data.manifest", "is missing", "Name the manifest that vssl data index wrote, or -c DATA.yaml"
        )
    named = merged["manifest"]
    merged["manifest"] = list(dict.fromkeys([named] if isinstance(named, str) else named))
    if len(merged["manifest"]) > 1 and merged.get("root"):
        raise UserError(
            "--data.root", "is one folder for several manifests", "Leave it out: each manifest names its own"
        )
    return merged


def settings_of(args: argparse.Namespace, data: dict[str, Any], console: Any) -> "Settings":
    """How to compute.

    Raises:
        UserError: there is no such device here.
    """
    import os

    import torch

    from vssl.evaluate.passes import Settings

    device = ("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UserError(f"--device {device}", "a device is auto, cpu, cuda or cuda:N", "Try --device cpu.")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"--device {device}", "PyTorch finds no GPU here", "Try --device cpu.")
    workers = data.get("num_workers", -1)  # -1, as in data.num_workers: the machine decides
    return Settings(
        num_workers=workers if workers >= 0 else min(os.cpu_count() or 1, 8),
        batch_size=args.batch_size,
        reader=data.get("reader") or "auto",
        device=device,
        force=args.force,
        console=console,
        trainer=section(args, "trainer"),
    )


def launched(settings: "Settings") -> "Settings":
    """The processes of a trainer section, started; Lightning is loaded only then.

    Raises:
        UserError: as `vssl.evaluate.clips.trainer.launch`.
    """
    if not settings.trainer:
        return settings
    from vssl.evaluate.clips.trainer import launch

    return launch(settings)


def trained_encoder(args: argparse.Namespace, path: Path, protocol: "Protocol", manifest: "Manifest") -> "Encoder":
    """The encoder of a checkpoint or run directory, and where its results and features go.

    Raises:
        UserError: the checkpoint is missing, unsafe or broken.
    """
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
    place = Path(args.out) if args.out else home
    return Encoder(
        kind=TRAINED,
        name=method,
        run=staged.name_of(home) if file.parent.name == "checkpoints" else file.stem,
        folder=place / FOLDER,
        features=None if args.no_cache else Path(args.cache) if args.cache else place / "features",
        backbone=backbone,
        card=card_of(protocol, backbone),
        spec=plain(info.spec),
        checkpoint={"sha": info.sha, "step": info.step, "epoch": info.epoch, "file": file.name},
        pretraining=pretraining(info.method, info.seen, info.budget),
        seen=info.seen,
        splits=args.splits or [own],
    )


def controls_of(
    trained: "Encoder", seeds: list[int], *, frozen: dict[str, Any], trust_imports: bool
) -> "list[Encoder]":
    """Random initialisations of the same network, the baselines and frozen teachers, on the same splits and pixels."""
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
    named = {type(backbone).__name__: backbone for backbone in baselines}
    for name, backbone in (named | controls.frozen_encoders(frozen, trust_imports=trust_imports)).items():
        # the same pixels as the encoder's, scaled as the baseline wants them
        own = card._replace(mean=backbone.input.mean, std=backbone.input.std, color="rgb")
        found.append(replace(bare, kind=BASELINE, name=name, backbone=backbone, card=own, spec=plain(backbone.spec())))
    return found

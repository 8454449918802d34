"""`vssl import FILE --backbone NAME --out CKPT`: weights from elsewhere as a checkpoint that vssl evaluate scores."""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vssl.cli.parser import Parser
from vssl.errors import UserError
from vssl.foreign.layouts import LAYOUTS

if TYPE_CHECKING:
    from vssl.backbones.base import Input
    from vssl.foreign.match import Matched


def main(argv: list[str]) -> int:
    """Run the command.

    Raises:
        UserError: the file is unsafe, truncated or of another architecture, or an argument is wrong.
    """
    args = _parser().parse_args(argv)
    out = Path(args.out)
    if out.is_dir():
        raise UserError(out, "is a directory", "Name the checkpoint file to write, e.g. runs/theirs.ckpt.")
    if out.exists() and not args.force:
        raise UserError(out, "exists", "Choose another --out, or pass --force.")
    from vssl.foreign import convert  # heavy, so after the arguments are known to be right

    card = {name: getattr(args, name) for name in ("size", "frames", "stride", "mean", "std", "color")}
    matched, sees = convert.convert(
        Path(args.file),
        out,
        backbone=args.backbone,
        layout=args.layout,
        key_map=convert.read_key_map(Path(args.key_map)) if args.key_map else None,
        card={name: value for name, value in card.items() if value is not None},
        init_args=args.init_args,
        labels_used=args.labels_used,
    )
    _tell(args.file, matched, sees, backbone=args.backbone)
    print(f"wrote {out}; score it: vssl evaluate {out} --data.manifest MANIFEST")
    if args.json:
        report = {"kept": matched.kept, "dropped": matched.dropped, "filled": matched.filled, "input": sees._asdict()}
        Path(args.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    layouts = "; ".join(f"{name}: {layout.about}" for name, layout in LAYOUTS.items())
    parser = Parser(prog="vssl import", description=f"{__doc__} Layouts: {layouts}.")
    add = parser.add_argument
    add("file", metavar="FILE", help="local .pth, .pt, .tar, .ckpt or .safetensors; read as data, never run")
    add("--backbone", required=True, metavar="NAME", help="video network, timm model or class path: vssl backbones")
    add("--layout", choices=tuple(LAYOUTS), default="plain", help="whose file it is (default: %(default)s)")
    add("--key-map", metavar="FILE", help="YAML of lines OLD_PREFIX: NEW_PREFIX; null drops; applied first")
    add("--init-args", type=_mapping, default={}, metavar="JSON", help='more arguments of the encoder: {"width": 8}')
    add("--color", choices=("rgb", "bgr"), help="channel order the encoder wants (default: the layout's)")
    add("--mean", type=_floats, metavar="M,M,M", help="subtracted from pixels in 0 to 1 (default: the layout's)")
    add("--std", type=_floats, metavar="S,S,S", help="pixels are divided by it")
    add("--size", type=int, metavar="PIXELS", help="side of the crop")
    add("--frames", type=int, metavar="N", help="frames per clip")
    add("--stride", type=int, metavar="N", help="source frames from one frame of the clip to the next")
    add("--labels-used", default="unknown", metavar="WHAT", help="labels its pretraining used; none: self-supervised")
    add("--out", required=True, metavar="CKPT", help="checkpoint to write")
    add("--json", metavar="FILE", help="write the report on every name")
    add("--force", action="store_true", help="write over --out")
    return parser


def _floats(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: is not a list of numbers such as 0.5,0.5,0.5") from None


def _mapping(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{text}: is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text}: is not a JSON mapping")
    return value


def _tell(file: str, matched: "Matched", sees: "Input", *, backbone: str) -> None:
    print(f"{file}: kept {len(matched.kept)} tensors, all of {backbone}; missing none")
    for reason, count in Counter(matched.dropped.values()).most_common():
        names = [name for name, why in matched.dropped.items() if why == reason]
        print(f"dropped {count} ({reason}): {', '.join(names[:3])}{', ...' if count > 3 else ''}")
    if matched.filled:
        print(f"filled {len(matched.filled)} step counters of batch norms, which no evaluation reads")
    mean, std = (",".join(f"{value:.4g}" for value in values) for values in (sees.mean, sees.std))
    clip = f"{sees.frames} frames of {sees.size} pixels, stride {sees.stride}"
    print(f"input: {clip}, {sees.color}, mean {mean}, std {std}; data seen in pretraining: unknown")

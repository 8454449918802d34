"""How other code bases name the tensors of their files, and what their encoders want to see. Standard library only.

The names were read in the repositories (docs/import.md says which files); no released file was at hand.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

_IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "color": "rgb"}
_SMALL: dict[str, Any] = {"size": 112, "frames": 16, "stride": 1}
# cv2's frames as they are: BGR in 0..255, not normalised
_CV2: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255), "color": "bgr"}


class Layout(NamedTuple):
    """One code base's files. Names are compared without any component `module` (a wrapper's of torch.nn.parallel)."""

    about: str
    trunks: tuple[str, ...] = ("",)
    """Where the encoder may lie; what lies outside (teachers, queues, heads) is dropped."""
    heads: tuple[str, ...] = ()
    """Regular expressions of whole names inside the trunk that are no part of the encoder, dropped too."""
    networks: Mapping[str, Mapping[str, str]] | None = None
    """Our network -> (their module -> ours); no entries: the library's names. None: any encoder."""
    archs: Mapping[str, str] = {}
    """What the file's entry `arch` calls a network -> ours."""
    card: Mapping[str, Any] = {}
    """Input, where it is not our network's own."""
    init_args: Mapping[str, Any] = {}
    """Of the encoder, besides the card."""


def _vcop(factored: bool) -> dict[str, str]:
    """VCOP's residual networks (models/r21d.py, models/r3d.py), copied by VideoPace, RSPNet and auxSKD."""
    conv = {".spatial_conv": ".0", ".bn": ".1", ".temporal_conv": ".3"} if factored else {".temporal_spatial_conv": ""}
    block = {"conv1": "main.0", "conv2": "main.3", "downsampleconv": "shortcut.0"}
    norms = {"bn1": "main.1", "bn2": "main.4", "downsamplebn": "shortcut.1"}
    modules = {f"conv1{theirs}": f"scales.0.0{ours}" for theirs, ours in conv.items()} | {"bn1": "scales.0.1"}
    for stage in range(1, 5):
        theirs, ours = f"conv{stage + 1}.block1", f"scales.{stage}.0"
        for outer, place in block.items():
            modules |= {f"{theirs}.{outer}{inner}": f"{ours}.{place}{part}" for inner, part in conv.items()}
        modules |= {f"{theirs}.{norm}": f"{ours}.{place}" for norm, place in norms.items()}
    return modules


def _c3d() -> dict[str, str]:
    """VCOP's C3D (models/c3d.py); our scales but the first open with pooling."""
    modules = {"conv1": "scales.0.0", "bn1": "scales.0.1", "conv2": "scales.1.1", "bn2": "scales.1.2"}
    for stage in (3, 4, 5):
        for half, first in (("a", 1), ("b", 4)):
            modules[f"conv{stage}{half}"] = f"scales.{stage - 1}.{first}"
            modules[f"bn{stage}{half}"] = f"scales.{stage - 1}.{first + 1}"
    return modules


def _coclr_s3d() -> dict[str, str]:
    """CoCLR's S3D (backbone/s3dg.py): torchvision's but for names and the batch norms' epsilon."""
    basic = {"conv": "0", "bn": "1"}
    separable = {"conv1": "0.0", "bn1": "0.1", "conv2": "1.0", "bn2": "1.1"}
    parts = {
        "Conv_1a": ("scales.0.0", separable),
        "Conv_2b": ("scales.1.1", basic),
        "Conv_2c": ("scales.1.2", separable),
    }
    mixed = {"3b": "2.1", "3c": "2.2", "5b": "4.1", "5c": "4.2"} | {f"4{x}": f"3.{n}" for n, x in enumerate("bcdef", 1)}
    for name, place in mixed.items():
        theirs, ours = f"Mixed_{name}", f"scales.{place}"
        parts[f"{theirs}.branch0.0"] = (f"{ours}.branch0", basic)
        for branch in ("branch1", "branch2"):
            parts[f"{theirs}.{branch}.0"] = (f"{ours}.{branch}.0", basic)
            parts[f"{theirs}.{branch}.1"] = (f"{ours}.{branch}.1", separable)
        parts[f"{theirs}.branch3.1"] = (f"{ours}.branch3.1", basic)
    return {f"{t}.{inner}": f"{o}.{part}" for t, (o, layers) in parts.items() for inner, part in layers.items()}


_VCOP = {"r2plus1d_vcop": _vcop(factored=True), "r3d_vcop": _vcop(factored=False), "c3d_bn": _c3d()}
_HEADS = (r"linear(_segment)?\..*",)

_USUAL = ("", "backbone.", "encoder.", "encoder_q.", "student.", "model.", "net.")

LAYOUTS = {
    "plain": Layout(
        "a state dict under the encoder's own names or its library's, or under others with --key-map",
        trunks=_USUAL,
    ),
    "torchvision": Layout(
        "torchvision.models.video",
        trunks=_USUAL,
        networks={name: {} for name in ("r3d_18", "mc3_18", "r2plus1d_18", "s3d")},
    ),
    "timm": Layout("an image model of timm", trunks=_USUAL),
    "vcop": Layout("xudejing/video-clip-order-prediction", ("base_network.", ""), _HEADS, _VCOP,
                   card=_SMALL | {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "color": "rgb"}),
    "videopace": Layout("laura-wang/video-pace", ("",), _HEADS, _VCOP, card=_SMALL | _CV2),
    "auxskd": Layout("Plrbear/auxSKD, both phases; the student", ("encoder_q.", ""), _HEADS, _VCOP, card=_SMALL | _CV2),
    "rspnet": Layout(
        "PeihaoChen/RSPNet; the query encoder",
        trunks=("encoder_q.encoder.", "encoder."),
        heads=(*_HEADS, r"fc\..*"),
        networks=_VCOP | {"r3d_18": {}},
        archs={"r2plus1d-vcop": "r2plus1d_vcop", "c3d": "c3d_bn", "torchvision-resnet18": "r3d_18"},
        card=_SMALL | _IMAGENET,
    ),
    "coclr": Layout(
        "TengdaHan/CoCLR; the query encoder, pretrained or fine-tuned",
        trunks=("encoder_q.0.", "backbone."),
        heads=(r"block\d\..*",),  # the same tensors once more
        networks={"s3d": _coclr_s3d()},
        card=_IMAGENET | {"size": 128, "frames": 32, "stride": 1},
        init_args={"norm_eps": 1e-5},
    ),
}  # fmt: skip

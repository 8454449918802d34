"""What encoders exist, told without importing them: standard library only, so that `vssl backbones` starts at once."""

from typing import NamedTuple


class Entry(NamedTuple):
    """One line of `vssl backbones`."""

    name: str
    class_path: str
    """To paste into a config."""
    note: str


MODULES = {
    "ImageBackbone": "vssl.backbones.image",
    "VideoBackbone": "vssl.backbones.video",
    "TinyImage": "vssl.backbones.tiny",
    "TinyVideo": "vssl.backbones.tiny",
    "PixelHistogram": "vssl.backbones.baselines",
    "FrameDifference": "vssl.backbones.baselines",
    "ImageTarget": "vssl.backbones.target",
}
"""Built-in class -> the module that holds it."""

TORCHVISION = ("r3d_18", "mc3_18", "r2plus1d_18", "s3d", "s3dg")
VCOP = ("r2plus1d_vcop", "r3d_vcop", "c3d_bn")
PYTORCHVIDEO = (
    "slow_r50",
    "c2d_r50",
    "i3d_r50",
    "r2plus1d_r50",
    "csn_r101",
    "x3d_xs",
    "x3d_s",
    "x3d_m",
    "mvit_base_16x4",
)

_NOTES = {
    "ImageBackbone": "any timm model with feature maps: name=resnet50, swin_tiny_patch4_window7_224, ...",
    "VideoBackbone": f"torchvision {', '.join(TORCHVISION)}; pytorchvideo {', '.join(PYTORCHVIDEO)}; {', '.join(VCOP)}",
    "TinyImage": "4-stage 2-D residual network, 0.3 M parameters, for small worlds and tests",
    "TinyVideo": "3-stage 3-D residual network, 0.2 M parameters, for small worlds and tests",
    "PixelHistogram": "no network: per-channel histogram of pixel values, a baseline",
    "FrameDifference": "no network: three statistics of frame differences, a baseline",
    "ImageTarget": "any timm model with weights from a file, frozen: what iBoot regresses to, and its control",
}


def available() -> list[Entry]:
    """The built-in encoders; those of other packages are entry points of the group `vssl.backbones`."""
    return [Entry(name, f"vssl.backbones.{name}", _NOTES[name]) for name in MODULES]

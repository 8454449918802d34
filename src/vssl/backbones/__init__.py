"""Encoders. Importing this package imports no torch: each class comes on first use."""

import importlib
from typing import TYPE_CHECKING, Any

from vssl.backbones.catalog import MODULES

if TYPE_CHECKING:
    from vssl.backbones.base import Backbone, Input
    from vssl.backbones.baselines import FrameDifference, PixelHistogram
    from vssl.backbones.image import ImageBackbone
    from vssl.backbones.registry import build, registered
    from vssl.backbones.target import ImageTarget
    from vssl.backbones.tiny import TinyImage, TinyVideo
    from vssl.backbones.video import VideoBackbone

_HOMES = MODULES | {
    "Backbone": "vssl.backbones.base",
    "Input": "vssl.backbones.base",
    "build": "vssl.backbones.registry",
    "registered": "vssl.backbones.registry",
}

__all__ = [
    "Backbone",
    "FrameDifference",
    "ImageBackbone",
    "ImageTarget",
    "Input",
    "PixelHistogram",
    "TinyImage",
    "TinyVideo",
    "VideoBackbone",
    "build",
    "registered",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vssl.backbones' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)

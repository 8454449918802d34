"""vssl: self-supervised learning from video, several methods over one datamodule and one evaluation."""

import importlib
from typing import TYPE_CHECKING, Any

from vssl._version import __version__

if TYPE_CHECKING:
    from vssl.backbones.base import Backbone
    from vssl.checkpoint import load_backbone
    from vssl.data.module import VideoDataModule
    from vssl.methods.base import Method
    from vssl.views.plan import Recipe

# imported on first use: `import vssl` costs nothing
_PUBLIC = {
    "Backbone": "vssl.backbones.base",
    "Method": "vssl.methods.base",
    "Recipe": "vssl.views.plan",
    "VideoDataModule": "vssl.data.module",
    "load_backbone": "vssl.checkpoint",
}

__all__ = ["Backbone", "Method", "Recipe", "VideoDataModule", "__version__", "load_backbone"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'vssl' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)

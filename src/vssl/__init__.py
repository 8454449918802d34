"""vssl: self-supervised learning from video, several methods over one datamodule and one evaluation."""

from vssl._version import __version__

__all__ = ["__version__"]

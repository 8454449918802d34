"""What the tests of the readers share."""

from pathlib import Path

import pytest

from vssl.data.probe import probe
from vssl.data.reader import Video, installed_readers

needs_torchcodec = pytest.mark.skipif(
    "torchcodec" not in installed_readers(), reason="torchcodec does not load: readers cannot be compared"
)


def video_of(path: Path) -> Video:
    found = probe(str(path))
    assert found.error == ""
    return found.video(str(path))

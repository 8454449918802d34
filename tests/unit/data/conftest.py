"""Small encoded videos whose pictures show their frame number."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

BITS = 10
BLOCK = 16


def picture(number: int) -> np.ndarray:
    """(32, 160, 3) uint8: the upper row of blocks is the number in binary, the lower row its complement."""
    bits = np.array([number >> bit & 1 for bit in range(BITS)], np.uint8)
    blocks = np.stack([bits, 1 - bits]) * 200 + 27
    return np.kron(blocks, np.ones((BLOCK, BLOCK), np.uint8))[..., None].repeat(3, 2)


def number_shown(frame: np.ndarray) -> int:
    """Read the number back from an (h, w, 3) picture; the check row must agree."""
    bright = frame.astype(float).mean(2).reshape(2, BLOCK, BITS, BLOCK).mean((1, 3)) > 127
    assert (bright[0] != bright[1]).all(), "no number in this picture"
    return int((bright[0] << np.arange(BITS)).sum())


def encode(path: Path, num_frames: int, *, codec: str = "libx264", **options: str) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25), options=options)
        stream.width, stream.height, stream.pix_fmt = BITS * BLOCK, 2 * BLOCK, "yuv420p"
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def numbered() -> tuple[Callable[..., Path], Callable[[np.ndarray], int]]:
    """encode(path, num_frames, codec=..., **options) and number_shown(frame)."""
    return encode, number_shown

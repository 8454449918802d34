"""Pictures of the shots found in videos: frames over time, the cuts marked."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torchvision.transforms.v2 import functional as tv

from vssl.data.manifest import Manifest
from vssl.data.reader import ReadError, read

COLUMNS = 24
"""Places in time."""
_SIDE = 64
"""Of a frame, pixels; it is squeezed into a square."""
_BAR = 10
"""Height of the time line below the frames, pixels."""
_CUT = (255, 40, 40)
_MOST = 24


def strip(manifest: Manifest, row: int) -> UInt8[np.ndarray, "h w 3"]:
    """A whole video from left to right: 24 frames, below them a time line, a red line across both at every cut.

    Each frame is the middle one of its 24th of the video.

    Raises:
        ReadError: A frame does not decode.
    """
    meta = manifest.meta(row)
    middle = ((torch.arange(COLUMNS) + 0.5) / COLUMNS * meta.num_frames).long()
    indices, place = middle.unique(return_inverse=True)
    frames = tv.resize(read(manifest.video(row), indices), [_SIDE, _SIDE], antialias=True)[place]
    picture = np.full((_SIDE + _BAR, COLUMNS * _SIDE, 3), 90, np.uint8)
    picture[:_SIDE] = frames.permute(2, 0, 3, 1).flatten(1, 2).numpy()
    for cut in meta.cuts or ():
        x = round(cut / meta.num_frames * picture.shape[1])
        picture[:, max(0, x - 1) : x + 2] = _CUT
    return picture


def save_strips(manifest: Manifest, folder: Path) -> list[Path]:
    """Write `cut.png` and `whole.png`: up to 24 videos with cuts and up to 24 without, evenly over the manifest.

    Beside each lies a text file with the names and cuts of its rows, from top to bottom.

    Returns:
        The pictures; none for a kind of which there is no video.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for row in range(len(manifest)) if manifest.meta(row).num_frames > 0]
    written = []
    for name, wanted in (("cut", True), ("whole", False)):
        found = [row for row in rows if bool(manifest.meta(row).cuts) == wanted]
        places = np.linspace(0, len(found) - 1, min(len(found), _MOST)).round().astype(int)
        strips, lines = [], []
        for row in (found[place] for place in places):
            cuts = " ".join(map(str, manifest.meta(row).cuts or ()))
            try:
                strips.append(np.pad(strip(manifest, row), ((0, 4), (0, 0), (0, 0))))
                lines.append(f"{manifest.name(row)}: {cuts or 'no cut'}\n")
            except ReadError as error:
                lines.append(f"{manifest.name(row)}: not shown, {error.reason}\n")
        if strips:
            Image.fromarray(np.concatenate(strips)).save(folder / f"{name}.png")
            (folder / f"{name}.txt").write_text("".join(lines))
            written.append(folder / f"{name}.png")
    return written

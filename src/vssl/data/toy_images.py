"""Labelled stills of the toy world, for co-training: class folders of shapes, of no video of any world one has."""

import os
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.progress import track

from vssl.data.toy_factors import NUM_FRAMES, SHAPES, factors
from vssl.data.toy_render import render
from vssl.errors import UserError
from vssl.seeds import seed_of


def generate_images(out: Path, num_images: int, seed: int = 0) -> Path:
    """Make the images `OUT/images/SHAPE/NUMBER.png`, or what is missing of them.

    Image i is one frame of training video i of a world with redrawn nuisance and a seed of its own: the combinations
    of nuisance are those of the train split, the videos are in no world of `seed`. It is the same whatever the number.

    Args:
        out: Folder of the toy world.
        num_images: About as many of each of the eight shapes.
        seed: Of the toy world.

    Returns:
        The folder of the class folders.

    Raises:
        UserError: The folder cannot be written.
    """
    folder, own_seed = out / "images", seed_of(seed, "toy images")
    numbers = [i // 3 * 5 + (0, 2, 4)[i % 3] for i in range(num_images)]  # of every five videos these train
    try:
        for shape in SHAPES:
            (folder / shape).mkdir(parents=True, exist_ok=True)
        for number in track(numbers, "rendering images", console=Console(stderr=True)):
            shape = SHAPES[factors(number, seed=own_seed, nuisance="redrawn").shape]
            path = folder / shape / f"{number:06d}.png"
            if not path.is_file():
                frame = render(number, seed=own_seed, nuisance="redrawn")[number * 7 % NUM_FRAMES]
                partial = path.with_name(f".{os.getpid()}.{path.stem}.tmp")
                Image.fromarray(frame).save(partial, format="png")
                os.replace(partial, path)
    except OSError as error:
        raise UserError(folder, f"cannot be written: {error.strerror}", "Choose another folder") from error
    return folder

"""Draw once, apply anywhere: augmentation is drawn as numbers, then applied.

`draw` needs only the source size and a generator. Geometry (`cut`) runs in the worker on uint8; photometry runs
batched on the device from the same numbers. Where it runs changes the speed, never the result.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import AutoAugment
from torchvision.transforms.v2 import functional as tv

from vssl.errors import UserError

_AUTOAUGMENT = AutoAugment()
_ATTEMPTS = 10  # rejection sampling of the crop, as in torchvision and TensorFlow


@dataclass(frozen=True)
class Augment:
    """How one view is cropped and coloured.

    Args:
        crop: "area" is the random resized crop; "fixed" resizes the frame to `resize` and takes a random crop of the
            view's size (drawn as one box, so the pixels are interpolated once); "center" takes the central square.
        scale: "area": range of the crop's share of the frame's area.
        ratio: "area": range of width / height, log-uniform.
        resize: "fixed": height and width that the frame is resized to first; the aspect is not kept.
        fraction: "center": side of the square as a share of the shorter side.
        interpolation: Of the resize; antialiased.
        flip: Probability of a horizontal flip.
        autoaugment: AutoAugment's ImageNet policy, on the cut and flipped pixels and before all colour.
        hsv: Probability of HSV noise, before anything else (S4L's exemplar: hue shifted by U(-0.1, 0.1) turns;
            saturation and value to the power 2^U(-2, 2), times 2^U(-0.5, 0.5), plus U(-0.1, 0.1)).
        jitter: Probability of colour jitter.
        brightness, contrast, saturation, hue: Largest change; hue in turns.
        jitter_style: "torchvision" scales brightness and takes contrast around the grey mean; "byol" shifts brightness
            and takes contrast around each channel's mean.
        grey: Probability of greyscale.
        blur: Probability of a Gaussian blur, kernel about a tenth of the crop.
        sigma: Range of the blur's standard deviation, pixels.
        solarise: Probability of x -> 1 - x where x >= 0.5.
        per_frame: What is drawn for each frame on its own instead of once per clip.
    """

    crop: Literal["area", "fixed", "center"] = "area"
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    resize: tuple[int, int] = (128, 171)
    fraction: float = 0.875
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    flip: float = 0.5
    autoaugment: bool = False
    hsv: float = 0.0
    jitter: float = 0.0
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    jitter_style: Literal["torchvision", "byol"] = "torchvision"
    grey: float = 0.0
    blur: float = 0.0
    sigma: tuple[float, float] = (0.1, 2.0)
    solarise: float = 0.0
    per_frame: Literal["none", "photometry", "all"] = "none"

    def __post_init__(self) -> None:
        for name in ("flip", "hsv", "jitter", "grey", "blur", "solarise"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UserError(
                    f"{name}={getattr(self, name)}", "a probability lies in [0, 1]", "Use 0 to switch it off."
                )
        if not 0.0 < self.scale[0] <= self.scale[1] <= 1.0:
            raise UserError(f"scale={self.scale}", "crop areas are 0 < low <= high <= 1", "Try (0.4, 1.0).")


def center(fraction: float = 0.875, interpolation: Literal["bilinear", "bicubic"] = "bilinear") -> Augment:
    """The central square, nothing random: what evaluation uses."""
    return Augment(crop="center", fraction=fraction, interpolation=interpolation, flip=0.0)


# ----------------------------------------------------------------------------------------------------------- geometry
def _uniform(rng: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * torch.rand((), generator=rng, dtype=torch.float64).item()


def draw_box(augment: Augment, *, height: int, width: int, size: int, rng: torch.Generator) -> tuple[float, ...]:
    """A crop box (top, left, height, width) as shares of the frame, so that it fits any resolution of the frame."""
    if augment.crop == "center":
        side = augment.fraction * min(height, width)
        return (1 - side / height) / 2, (1 - side / width) / 2, side / height, side / width
    if augment.crop == "fixed":
        h, w = size / augment.resize[0], size / augment.resize[1]
        if h > 1 or w > 1:
            raise UserError(f"size={size}", f"a fixed crop fits into resize={list(augment.resize)}", "Lower the size.")
        return _uniform(rng, 0, 1 - h), _uniform(rng, 0, 1 - w), h, w
    low, high = math.log(augment.ratio[0]), math.log(augment.ratio[1])
    for _ in range(_ATTEMPTS):
        area = height * width * _uniform(rng, *augment.scale)
        aspect = math.exp(_uniform(rng, low, high))
        w, h = math.sqrt(area * aspect), math.sqrt(area / aspect)
        if h <= height and w <= width:
            return _uniform(rng, 0, 1 - h / height), _uniform(rng, 0, 1 - w / width), h / height, w / width
    # frames far from square: the largest centred box whose aspect is allowed, as torchvision does
    aspect = min(max(width / height, augment.ratio[0]), augment.ratio[1])
    h, w = (height, height * aspect) if width / height > aspect else (width / aspect, width)
    return (1 - h / height) / 2, (1 - w / width) / 2, h / height, w / width


def draw_geometry(
    augment: Augment, *, height: int, width: int, size: int, num_frames: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Boxes (F, 4) float64 and flips (F,) bool; F = num_frames if drawn per frame, else 1."""
    count = num_frames if augment.per_frame == "all" else 1
    boxes = [draw_box(augment, height=height, width=width, size=size, rng=rng) for _ in range(count)]
    return torch.tensor(boxes, dtype=torch.float64), torch.rand(count, generator=rng) < augment.flip


def to_pixels(box: Tensor, height: int, width: int) -> tuple[int, int, int, int]:
    """A box of shares to whole source pixels (top, left, height, width), at least 1 x 1 and inside the frame."""
    top, left, h, w = box.tolist()
    rows, columns = max(1, min(height, round(h * height))), max(1, min(width, round(w * width)))
    return min(round(top * height), height - rows), min(round(left * width), width - columns), rows, columns


def cut(
    frames: UInt8[Tensor, "n c h w"],
    where: Tensor,
    boxes: Tensor,
    flips: Tensor,
    size: int,
    interpolation: Literal["bilinear", "bicubic"] = "bilinear",
) -> UInt8[Tensor, "t c s s"]:
    """Crop, resize and flip one row of a view.

    Args:
        frames: The distinct source frames of the video.
        where: (T,) rows of `frames`, in the order of the clip.
        boxes: (T or 1, 4) shares of the frame.
        flips: (T or 1,) bool.
        size: Side of the square output, pixels.
        interpolation: Of the antialiased resize.
    """
    mode = InterpolationMode.BICUBIC if interpolation == "bicubic" else InterpolationMode.BILINEAR
    height, width = frames.shape[-2:]
    pieces = []
    for i in range(len(boxes)):
        top, left, h, w = to_pixels(boxes[i], height, width)
        rows = where if len(boxes) == 1 else where[i : i + 1]
        piece = frames[:, :, top : top + h, left : left + w].index_select(0, rows)
        piece = tv.resize(piece, [size, size], interpolation=mode, antialias=True)
        pieces.append(piece.flip(-1) if flips[i] else piece)
    return torch.cat(pieces).contiguous()


# -------------------------------------------------------------------------------------------------------- autoaugment
def draw_autoaugment(augment: Augment, num_frames: int, rng: torch.Generator) -> Int64[Tensor, " f"]:
    """Seeds (F,) of AutoAugment's own draws; F = num_frames if anything is drawn per frame, 1 if not, 0 without it."""
    count = num_frames if augment.per_frame != "none" else 1
    return torch.randint(2**62, (count if augment.autoaugment else 0,), generator=rng)


def autoaugment(frames: UInt8[Tensor, "t c s s"], seeds: Int64[Tensor, " f"]) -> UInt8[Tensor, "t c s s"]:
    """Torchvision's AutoAugment; one seed is one sub-policy for all frames, none leaves them as they are."""
    groups = frames.unsqueeze(1) if len(seeds) > 1 else frames.unsqueeze(0)
    changed = []
    with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
        for group, seed in zip(groups, seeds.tolist(), strict=False):
            torch.default_generator.manual_seed(seed)
            changed.append(_AUTOAUGMENT(group))
    return torch.cat(changed) if changed else frames


# --------------------------------------------------------------------------------------------------------- photometry
def draw_photometry(augments: tuple[Augment, ...], num_frames: int, rngs: list[torch.Generator]) -> dict[str, Tensor]:
    """Colour numbers for the V rows of a view; row v uses augments[v % len(augments)].

    Returns:
        Only what some row of the view can use, each (V, F, ...), F = num_frames if any row draws per frame, else 1:
        `order` (.., 4) permutation of brightness, contrast, saturation, hue; `color` (.., 4) their amounts (0: none);
        `style` bool, BYOL's; `grey` bool; `sigma` pixels (0: none); `solarise` bool; `hsv` (.., 7) hue shift, then
        exponent, factor and shift of saturation, then those of value (0, 1, 1, 0, 1, 1, 0: none).
    """
    count = num_frames if any(a.per_frame != "none" for a in augments) else 1
    rows = [_draw_row(augments[v % len(augments)], count, rng) for v, rng in enumerate(rngs)]
    needed = {
        "order": any(a.jitter for a in augments),
        "color": any(a.jitter for a in augments),
        "style": any(a.jitter for a in augments),
        "grey": any(a.grey for a in augments),
        "sigma": any(a.blur for a in augments),
        "solarise": any(a.solarise for a in augments),
        "hsv": any(a.hsv for a in augments),
    }
    return {name: torch.stack([row[name] for row in rows]) for name, wanted in needed.items() if wanted}


def _draw_row(augment: Augment, count: int, rng: torch.Generator) -> dict[str, Tensor]:
    own = count if augment.per_frame != "none" else 1
    amounts = torch.tensor([augment.brightness, augment.contrast, augment.saturation, augment.hue])
    color = (torch.rand(own, 4, generator=rng) * 2 - 1) * amounts
    color = color * (torch.rand(own, 1, generator=rng) < augment.jitter)
    order = torch.stack([torch.randperm(4, generator=rng) for _ in range(own)])
    grey = torch.rand(own, generator=rng) < augment.grey
    low, high = augment.sigma
    sigma = low + (high - low) * torch.rand(own, generator=rng)
    sigma = sigma * (torch.rand(own, generator=rng) < augment.blur)
    solarise = torch.rand(own, generator=rng) < augment.solarise
    style = torch.full((own,), augment.jitter_style == "byol")
    row = {"order": order, "color": color, "style": style, "grey": grey, "sigma": sigma, "solarise": solarise}
    row["hsv"] = _draw_hsv(augment, own, rng)
    return {name: value.expand(count, *value.shape[1:]) for name, value in row.items()}


def _draw_hsv(augment: Augment, own: int, rng: torch.Generator) -> Tensor:
    """(own, 7) numbers of the HSV noise; drawn last, so that the other numbers are what they were without it."""
    largest = torch.tensor([0.1, 2.0, 0.5, 0.1, 2.0, 0.5, 0.1])
    drawn = (torch.rand(own, 7, generator=rng) * 2 - 1) * largest
    drawn = drawn * (torch.rand(own, 1, generator=rng) < augment.hsv)
    return torch.where(torch.tensor([False, True, True, False, True, True, False]), drawn.exp2(), drawn)

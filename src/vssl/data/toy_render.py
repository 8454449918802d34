"""From factors to pixels: shapes as signed distances, blended over a drifting background.

Byte-identical on any machine: arrays meet only operations that IEEE 754 rounds exactly (+, -, *, /, sqrt) or that are
exact (min, max, floor, comparisons), no reductions; functions of libm see scalars only, and their results are rounded
to a grid. T frames, S = 48 pixels a side.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from vssl.data.toy_factors import COLOURS, NUM_FRAMES, Draws, Factors, Nuisance, Shot, factors, on_grid
from vssl.data.toy_shapes import SIZE, Plane, background_tone, distance, soft, texture_field, wrap

TRANSLATION = (0.5625, 1.125, 2.25)
"""Pixels a frame by speed."""
ROTATION = (3.0, 6.0, 12.0)
"""Degrees a frame by speed."""
ZOOM = (0.009, 0.018, 0.036)
"""Growth of log radius a frame by speed."""
DRIFT = (0.0, 0.25, 0.5)
"""Pixels a frame of the background by drift."""
RADIUS = (8.5, 15.5)
"""Range of the object's radius; a growing object that reaches the end starts again at the beginning."""
NUM_DISTRACTORS = 3

Colour = tuple[float, float, float]
_HEADINGS = ((-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0))


class Look(NamedTuple):
    """Unlabelled nuisance of a shot: drawn anew exactly when the labelled nuisance is."""

    light: Colour
    dark: Colour
    """The two tones of the object's texture."""
    back: tuple[Colour, Colour]
    drift_x: float
    drift_y: float
    shift: tuple[float, float]
    upright: bool
    spots: tuple[tuple[float, float, float, Colour], ...]
    """x, y, radius and colour of the distractors, fixed to the background."""


class Pose(NamedTuple):
    """Where the object is in every frame, each (T, 1, 1)."""

    x: Float32[np.ndarray, "t 1 1"]
    y: Float32[np.ndarray, "t 1 1"]
    cos: Float32[np.ndarray, "t 1 1"]
    sin: Float32[np.ndarray, "t 1 1"]
    radius: Float32[np.ndarray, "t 1 1"]


def render(index: int, *, seed: int = 0, nuisance: Nuisance = "constant") -> UInt8[np.ndarray, "t s s 3"]:
    """Frames of video `index`; a pure function of its arguments."""
    video = factors(index, seed=seed, nuisance=nuisance)
    frames = np.empty((NUM_FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
    constant = nuisance == "constant"
    for shot in video.shots:
        look = _look(shot, Draws(seed, "look", index * 16 + shot.look), constant=constant)
        pose = _pose(video, shot, Draws(seed, "pose", index * 16 + shot.pose), anywhere=constant)
        frames[shot.first : shot.first + shot.num_frames] = _paint(video, shot, look, pose)
    return frames


def _look(shot: Shot, draws: Draws, *, constant: bool) -> Look:
    # motion needs a texture that shows a turn; where the shape is to be learnt, texture and background stand back
    shade, dim = (0.5, 1.0) if constant else (0.65, 0.8)
    hue = shot.mix.colour / len(COLOURS) + draws.between(-0.02, 0.02)
    saturation = draws.between(0.75, 0.9)
    value = draws.between(0.9, 1.0)
    # a background never has the object's hue and is always darker: every shape stays visible
    back = hue + draws.between(0.25, 0.75)
    back_saturation = draws.between(0.4, 0.7)
    back_value = draws.between(0.25, 0.38) * dim
    angle = math.pi * draws.between(0.0, 2.0)
    speed = DRIFT[shot.mix.drift]
    return Look(
        light=_rgb(hue, saturation, value),
        dark=_rgb(hue, saturation, value * shade),
        back=(_rgb(back, back_saturation, back_value * 0.45), _rgb(back, back_saturation, back_value)),
        drift_x=on_grid(speed * math.cos(angle)),
        drift_y=on_grid(speed * math.sin(angle)),
        shift=(draws.between(0.0, SIZE), draws.between(0.0, SIZE)),
        upright=draws.below(2) == 1,
        spots=tuple(_distractor(draws, back) for _ in range(NUM_DISTRACTORS if constant else 0)),
    )


def _distractor(draws: Draws, hue: float) -> tuple[float, float, float, Colour]:
    x, y, radius = draws.between(0.0, SIZE), draws.between(0.0, SIZE), draws.between(1.5, 2.5)
    return x, y, radius, _rgb(hue + draws.between(-0.15, 0.15), 0.5, 0.6)


def _pose(video: Factors, shot: Shot, draws: Draws, *, anywhere: bool) -> Pose:
    # uniform over the torus is the one distribution that no motion changes: then a single frame says nothing about
    # the motion. Where appearance is what matters the object stays whole instead, at the price of that hint.
    reach = [SIZE / 2 if anywhere else 8.0] * 2
    if video.motion < 4:
        reach[video.motion // 2] = SIZE / 2
    x, y = (SIZE / 2 + draws.between(-r, r) for r in reach)
    start = (x, y, draws.between(0.0, 360.0), draws.between(0.0, 1.0))
    rows = [_place(video, step, start) for step in range(shot.first, shot.first + shot.num_frames)]
    return Pose(*(np.array(column, dtype=np.float32).reshape(-1, 1, 1) for column in zip(*rows, strict=True)))


def _place(video: Factors, step: int, start: tuple[float, float, float, float]) -> tuple[float, ...]:
    """x, y, cos, sin, radius after `step` frames."""
    x, y, angle, phase = start
    span = math.log(RADIUS[1] / RADIUS[0])
    if video.motion < 4:
        heading = _HEADINGS[video.motion]
        x += heading[0] * TRANSLATION[video.speed] * step
        y += heading[1] * TRANSLATION[video.speed] * step
    elif video.motion < 6:
        angle += (1 if video.motion == 4 else -1) * ROTATION[video.speed] * step
    else:
        phase = on_grid(phase + (1 if video.motion == 6 else -1) * ZOOM[video.speed] * step / span) % 1.0
    radius = on_grid(RADIUS[0] * math.exp(span * phase))
    turn = math.radians(angle)
    return x % SIZE, y % SIZE, on_grid(math.cos(turn)), on_grid(math.sin(turn)), radius


def _paint(video: Factors, shot: Shot, look: Look, pose: Pose) -> UInt8[np.ndarray, "t s s 3"]:
    axis = np.arange(SIZE, dtype=np.float32) + np.float32(0.5)
    across, down = axis[None, None, :], axis[None, :, None]
    time = np.arange(shot.num_frames, dtype=np.float32)[:, None, None]
    back_x = across - time * np.float32(look.drift_x) + np.float32(look.shift[0])
    back_y = down - time * np.float32(look.drift_y) + np.float32(look.shift[1])
    tone = background_tone(shot.mix.background, *((back_y, back_x) if look.upright else (back_x, back_y)))
    layers = [(_disc(back_x, back_y, spot), spot[3]) for spot in look.spots]

    dx, dy = wrap(across - pose.x), wrap(down - pose.y)
    u = (dx * pose.cos + dy * pose.sin) / pose.radius
    v = (dy * pose.cos - dx * pose.sin) / pose.radius
    cover = soft(-distance(video.shape, u, v) * pose.radius)
    light = soft(texture_field(shot.mix.texture, u, v) * pose.radius)

    frames = np.empty((shot.num_frames, SIZE, SIZE, 3), dtype=np.uint8)
    for channel in range(3):
        plane = _blend(look.back[0][channel], look.back[1][channel], tone)
        for spot, colour in layers:
            plane = _blend(plane, colour[channel], spot)
        plane = _blend(plane, _blend(look.dark[channel], look.light[channel], light), cover)
        frames[..., channel] = np.floor(plane * np.float32(255.0) + np.float32(0.5)).astype(np.uint8)
    return frames


def _disc(x: Plane, y: Plane, spot: tuple[float, float, float, Colour]) -> Plane:
    dx, dy = wrap(x - spot[0]), wrap(y - spot[1])
    return soft(spot[2] - np.sqrt(dx * dx + dy * dy))


def _blend(under: Plane | float, over: Plane | float, share: Plane) -> Plane:
    return share * over + (1.0 - share) * under


def _rgb(hue: float, saturation: float, value: float) -> Colour:
    """HSV to RGB, scalars; hue in turns."""
    channels = []
    for offset in (5.0, 3.0, 1.0):
        k = (offset + hue * 6.0) % 6.0
        channels.append(on_grid(value * (1.0 - saturation * max(0.0, min(k, 4.0 - k, 1.0)))))
    return (channels[0], channels[1], channels[2])

"""Shapes, textures and backgrounds of the toy world as fields over the plane, positive on one side of an edge.

Exact on any machine, under the rules of toy_render. T frames, S pixels a side.
"""

import math

import numpy as np
from jaxtyping import Float32

from vssl.data.toy_factors import on_grid

SIZE = 48
"""Pixels a side; the scene is a torus: what leaves on one side enters on the other."""

Plane = Float32[np.ndarray, "#t #s #s"]
# every shape covers 1.55 radius**2: with unequal areas the share of bright pixels, hence a histogram, tells them apart
_SCALES = (0.7805, 0.7781, 0.9930, 1.0087, 0.8449, 0.8821, 0.9645, 1.0492)


def distance(shape: int, u: Plane, v: Plane) -> Plane:
    """Signed distance to the outline of a shape (negative inside), in radii."""
    scale = np.float32(_SCALES[shape])
    return _outline(shape, u / scale, v / scale) * scale


def _outline(shape: int, u: Plane, v: Plane) -> Plane:
    if shape in (0, 4, 6):
        r = np.sqrt(u * u + v * v)
        if shape == 0:
            return r - 0.9
        if shape == 4:
            return np.abs(r - 0.72) - 0.24
        bite = np.sqrt((u - 0.5) * (u - 0.5) + v * v)
        return np.maximum(r - 1.0, 0.75 - bite)
    across, down = np.abs(u), np.abs(v)
    if shape == 1:
        return np.maximum(across, down) - 0.8
    if shape == 5:
        upright = np.maximum(across - 0.3, down - 0.98)
        return np.minimum(upright, np.maximum(across - 0.98, down - 0.3))
    if shape == 7:
        return np.maximum(across - 1.1, down - 0.32)
    return _star(u, v) if shape == 3 else _triangle(u, v)


def _triangle(u: Plane, v: Plane) -> Plane:
    side = on_grid(math.sqrt(0.75))
    return np.maximum(np.maximum(v, u * side - v * 0.5), -u * side - v * 0.5) - 0.55


def _star(u: Plane, v: Plane) -> Plane:
    """Inside a pentagram = beyond at most one of its five lines: the second largest of the five distances."""
    first = np.full_like(u, -np.inf)
    second = first
    for corner in range(5):
        turn = math.radians(72 * corner)
        line = u * on_grid(math.cos(turn)) + v * on_grid(math.sin(turn)) - 0.36
        second = np.maximum(second, np.minimum(first, line))
        first = np.maximum(first, line)
    return second


def texture_field(texture: int, u: Plane, v: Plane) -> Plane:
    """Signed distance to the border of the texture's light part, in radii. None looks the same turned by 45 degrees."""
    if texture == 0:
        return _waves(u, 0.55)
    if texture == 1:
        a, b = _waves(u, 0.9), _waves(v, 0.9)
        return np.maximum(np.minimum(a, b), np.minimum(-a, -b))
    if texture == 2:
        return u
    if texture == 3:
        return np.minimum(u, v)
    if texture == 4:
        return (u + v * 0.5) * 0.1
    return np.minimum(_spot(u - 0.45, v), _spot(u + 0.3, v - 0.4))


def background_tone(background: int, x: Plane, y: Plane) -> Plane:
    """Tone in [0, 1], periodic in SIZE."""
    if background == 0:
        return _waves(x, SIZE) / (SIZE / 2) + 0.5
    if background == 1:
        return soft(_waves(x, 12.0))
    if background == 2:
        a, b = _waves(x, 16.0), _waves(y, 16.0)
        return soft(np.maximum(np.minimum(a, b), np.minimum(-a, -b)))
    tone = np.zeros_like(x * y)
    for cx, cy, size in ((6.0, 10.0, 9.0), (30.0, 4.0, 7.0), (20.0, 28.0, 11.0), (42.0, 34.0, 8.0)):
        dx, dy = wrap(x - cx), wrap(y - cy)
        tone = np.maximum(tone, np.clip(1.5 - (dx * dx + dy * dy) / (size * size), 0.0, 1.0))
    return tone


def _spot(u: Plane, v: Plane) -> Plane:
    return np.sqrt(u * u + v * v) - 0.3


def _waves(x: Plane, period: float) -> Plane:
    """Triangle wave between -period / 4 and period / 4 with slope 1."""
    phase = x / np.float32(period)
    return (np.abs(phase - np.floor(phase) - 0.5) - 0.25) * np.float32(period)


def wrap(x: Plane) -> Plane:
    """The shortest way around the torus."""
    return x - SIZE * np.floor(x / SIZE + 0.5)


def soft(distance: Plane) -> Plane:
    """Coverage of a pixel that lies `distance` pixels inside an edge."""
    return np.clip(distance + 0.5, 0.0, 1.0)

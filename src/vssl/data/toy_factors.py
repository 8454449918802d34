"""What is in toy video i: its factors, split and shots, all pure functions of (seed, nuisance, index).

The number of videos enters nowhere, so video i is the same in a set of 16 and in one of 960.
"""

import functools
from typing import Literal, NamedTuple

import numpy as np

Nuisance = Literal["constant", "redrawn"]
Split = Literal["train", "test"]

SHAPES = ("disc", "square", "triangle", "star", "ring", "cross", "moon", "bar")
MOTIONS = ("left", "right", "up", "down", "clockwise", "counterclockwise", "grow", "shrink")
SPEEDS = ("slow", "medium", "fast")
COLOURS = ("red", "amber", "lime", "green", "cyan", "blue", "violet", "pink")
TEXTURES = ("stripes", "checker", "halves", "wedge", "fade", "spots")
BACKGROUNDS = ("waves", "bands", "tiles", "blobs")
DRIFTS = ("still", "slow", "fast")

NUM_FRAMES = 48
FPS = 25
NUM_SHOTS = 8
"""Shots of a video with redrawn nuisance, all equally long."""
CUT_EVERY = 8
"""With constant nuisance one video in this many has a cut."""
GRID = 2.0**20
"""Every drawn or computed scalar is a multiple of 1 / GRID: the last bit of a libm does not reach the pixels."""

_STREAMS = ("mix", "drift", "cut", "nuisance", "look", "pose")


class Draws:
    """Random integers that no library version, platform or process layout changes.

    Philox is counter-based and its raw 64-bit output is fixed by its specification; NumPy promises nothing about the
    streams of its distributions, so none is used.
    """

    def __init__(self, seed: int, stream: str, index: int) -> None:
        key = np.array([seed, _STREAMS.index(stream) << 56 | index], dtype=np.uint64)
        self._bits = np.random.Philox(key=key)

    def below(self, stop: int) -> int:
        """A uniform integer in [0, stop)."""
        return (int(self._bits.random_raw()) >> 32) * stop >> 32

    def between(self, low: float, high: float) -> float:
        """A uniform multiple of 2**-20 in [low, high)."""
        return on_grid(low + (high - low) * (int(self._bits.random_raw()) >> 44) / GRID)

    def permutation(self, length: int) -> list[int]:
        """A uniform permutation of range(length)."""
        items = list(range(length))
        for last in range(length - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]
        return items


class Mix(NamedTuple):
    """Nuisance of one shot, as places in COLOURS, TEXTURES, BACKGROUNDS and DRIFTS."""

    colour: int
    texture: int
    background: int
    drift: int


class Shot(NamedTuple):
    """Frames [first, first + num_frames) under one nuisance."""

    first: int
    num_frames: int
    mix: Mix
    look: int
    """Shots of one video with the same number share their unlabelled nuisance (hues, distractors) as well."""
    pose: int
    """Shots of one video with the same number show one movement that goes on."""


class Factors(NamedTuple):
    """Everything that is labelled about one video."""

    shape: int
    motion: int
    speed: int
    split: Split
    shots: tuple[Shot, ...]


def on_grid(value: float) -> float:
    """The nearest multiple of 2**-20."""
    return round(value * GRID) / GRID


def factors(index: int, *, seed: int, nuisance: Nuisance) -> Factors:
    """Factors of video `index`.

    Any 64 neighbours hold each (shape, motion) once, any 192 each (shape, motion, speed) once; 5 and 192 have no
    common divisor, so any 960 hold each cell three times in train and twice in test.
    """
    shape, turn, third = index % 8, index // 8 % 8, index // 64 % 3
    speed = (third + index % 64) % 3
    split: Split = "test" if index % 5 in (1, 3) else "train"
    first = _first_mix(index, split=split, seed=seed)
    shots = _redrawn(first, index, split=split, seed=seed) if nuisance == "redrawn" else _constant(first, index, seed)
    return Factors(shape, (shape + turn) % 8, speed, split, shots)


@functools.cache
def mixes(split: Split) -> tuple[tuple[int, int, int], ...]:
    """The (colour, texture, background) triples of a split: test has those whose sum is 0 modulo 4, train the others.

    No triple stands in both, every single value does, with the same share of each split.
    """
    triples = [(c, t, b) for c in range(len(COLOURS)) for t in range(len(TEXTURES)) for b in range(len(BACKGROUNDS))]
    return tuple(triple for triple in triples if (sum(triple) % 4 == 0) == (split == "test"))


def _first_mix(index: int, *, split: Split, seed: int) -> Mix:
    pool = mixes(split)
    # 3 of every 5 videos are train: the rank inside the split, without counting
    rank = index // 5 * 2 + (index % 5 == 3) if split == "test" else index // 5 * 3 + index % 5 // 2
    cycle, place = divmod(rank, len(pool))
    order = _order(seed, cycle * 2 + (split == "test"), len(pool))
    drift = Draws(seed, "drift", index // len(DRIFTS)).permutation(len(DRIFTS))[index % len(DRIFTS)]
    return Mix(*pool[order[place]], drift)


@functools.lru_cache(maxsize=16)
def _order(seed: int, number: int, length: int) -> list[int]:
    return Draws(seed, "mix", number).permutation(length)


def _constant(mix: Mix, index: int, seed: int) -> tuple[Shot, ...]:
    draws = Draws(seed, "cut", index // CUT_EVERY)
    if draws.below(CUT_EVERY) != index % CUT_EVERY:
        return (Shot(0, NUM_FRAMES, mix, 0, 0),)
    cut = NUM_FRAMES // 3 + draws.below(NUM_FRAMES // 3 + 1)
    return (Shot(0, cut, mix, 0, 0), Shot(cut, NUM_FRAMES - cut, mix, 0, 1))


def _redrawn(first: Mix, index: int, *, split: Split, seed: int) -> tuple[Shot, ...]:
    pool = mixes(split)
    draws = Draws(seed, "nuisance", index)
    length = NUM_FRAMES // NUM_SHOTS
    shots = [Shot(0, length, first, 0, 0)]
    for number in range(1, NUM_SHOTS):
        mix = Mix(*pool[draws.below(len(pool))], draws.below(len(DRIFTS)))
        shots.append(Shot(number * length, length, mix, number, 0))
    return tuple(shots)

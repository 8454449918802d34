"""Views: which frames a method sees (samplers, called as `sampler(meta, generator) -> Plan`) and how they are cut."""

from vssl.views.augment import Augment, center, three_crops
from vssl.views.plan import Plan, Recipe, View, ViewSampler
from vssl.views.pretexts import ShuffledClips, SpeedPairs, WholePace
from vssl.views.samplers import PacedClips, RandomClips, UniformClips, WindowFrames
from vssl.views.shots import Shots
from vssl.views.stills import ClipsWithFrames

__all__ = [
    "Augment",
    "ClipsWithFrames",
    "PacedClips",
    "Plan",
    "RandomClips",
    "Recipe",
    "Shots",
    "ShuffledClips",
    "SpeedPairs",
    "UniformClips",
    "View",
    "ViewSampler",
    "WholePace",
    "WindowFrames",
    "center",
    "three_crops",
]

"""Views: which frames a method sees (samplers, called as `sampler(meta, generator) -> Plan`) and how they are cut."""

from vssl.views.augment import Augment, center
from vssl.views.plan import Plan, Recipe, View, ViewSampler
from vssl.views.pretexts import ShuffledClips, SpeedPairs, WholePace
from vssl.views.samplers import PacedClips, UniformClips, WindowFrames
from vssl.views.shots import Shots

__all__ = [
    "Augment",
    "PacedClips",
    "Plan",
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
]

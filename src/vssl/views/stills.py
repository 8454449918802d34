"""Clips and single frames of them: iBoot's sampler. A module of its own beside the others of `samplers`."""

from dataclasses import dataclass

import torch

from vssl.errors import UserError
from vssl.types import VideoMeta
from vssl.views.plan import Plan


@dataclass(frozen=True)
class ClipsWithFrames:
    """iBoot: clips at independent, uniformly random places, and frames of each for an image network (iboot.md 2, 4).

    Views: `clips` (V, T), and `stills` (V F, 1), rows v F to v F + F - 1 from clip v: of every T / F frames the middle
    one, so that F = 1 is frame T // 2 of the clip and F = T all of its frames. Clips may overlap. A video shorter than
    a clip wraps.

    Args:
        clips: V = rho.
        frames: T.
        stride: Source frames from one frame of the clip to the next.
        teacher_frames: F <= T.
    """

    clips: int = 2
    frames: int = 8
    stride: int = 8
    teacher_frames: int = 8

    def __post_init__(self) -> None:
        for name in ("clips", "frames", "stride", "teacher_frames"):
            if getattr(self, name) < 1:
                raise UserError(f"views.{name}={getattr(self, name)}", "must be positive", f"Try views.{name}=1.")
        if self.teacher_frames > self.frames:
            raise UserError(
                f"views.teacher_frames={self.teacher_frames}",
                f"the clip has {self.frames} frames",
                f"Try views.teacher_frames={self.frames}.",
            )

    def accepts(self, meta: VideoMeta) -> bool:
        """Every video with a frame will do."""
        return meta.num_frames > 0

    def __call__(self, meta: VideoMeta, rng: torch.Generator) -> Plan:
        """Draw the clips."""
        last = max(0, meta.num_frames - (self.frames - 1) * self.stride - 1)
        starts = torch.randint(last + 1, (self.clips,), generator=rng)
        clips = (starts[:, None] + self.stride * torch.arange(self.frames)) % meta.num_frames
        return Plan({"clips": clips, "stills": clips[:, self.positions()].reshape(-1, 1)}, {})

    def positions(self) -> list[int]:
        """Places of the F frames in the clip."""
        return [(2 * i + 1) * self.frames // (2 * self.teacher_frames) for i in range(self.teacher_frames)]

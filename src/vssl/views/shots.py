"""VIVI's frames: consecutive shots of a video, consecutive frames of each shot."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch

from vssl.errors import UserError
from vssl.types import VideoMeta
from vssl.views.plan import Plan


@dataclass(frozen=True)
class Shots:
    """K consecutive shots, L frames of each; view name `shots`, (V, T) = (K, L) (vivi.md 4).

    The run of K shots lies uniformly among those of the video, the L frames uniformly in their shot, 1 / `fps` apart.
    No row of a view ever holds frames of two shots: where a shot is too short the frames wrap inside it.
    Target `detected` () is 1 where the shots are the manifest's, 0 where they are equal parts.

    Args:
        shots: K.
        frames: L.
        fps: Frames per second inside a shot; never more than the video has. None: every frame.
        shots_from: "detected" takes the manifest's shots (`vssl data shots`) and refuses a video with fewer than K;
            "equal" cuts every video in K equal parts; "auto" takes the manifest's where there are K, else equal parts.
        repeat_frame: L times the same frame of a shot: the exemplar baseline on frames, Ex-YT-F.
    """

    shots: int = 4
    frames: int = 8
    fps: float | None = 10.0
    shots_from: Literal["auto", "detected", "equal"] = "auto"
    repeat_frame: bool = False

    def __post_init__(self) -> None:
        if self.shots < 2:
            raise UserError(f"shots={self.shots}", "a shot is predicted from another one", "Try shots=2.")
        if self.frames < 1:
            raise UserError(f"frames={self.frames}", "must be positive", "Try frames=8.")
        if self.fps is not None and self.fps <= 0:
            raise UserError(f"fps={self.fps}", "must be positive", "Try fps=10, or null for every frame.")

    def accepts(self, meta: VideoMeta) -> bool:
        """Every video with a frame will do, unless detected shots are asked for and there are fewer than K."""
        return meta.num_frames > 0 and (self.shots_from != "detected" or self._detected(meta) is not None)

    def __call__(self, meta: VideoMeta, rng: torch.Generator) -> Plan:
        """Draw the shots and their frames."""
        detected = None if self.shots_from == "equal" else self._detected(meta)
        if detected is None:
            assert self.shots_from != "detected"  # refused by accepts
            spans = self._equal(meta.num_frames)
        else:
            first = int(torch.randint(len(detected) - self.shots + 1, (), generator=rng))
            spans = detected[first : first + self.shots]
        rows = torch.stack([self._frames(start, stop, meta.fps, rng) for start, stop in spans])
        return Plan({"shots": rows}, {"detected": torch.tensor(float(detected is not None))})

    def _detected(self, meta: VideoMeta) -> list[tuple[int, int]] | None:
        """The manifest's shots [start, stop), None where they were not searched or are fewer than K."""
        if meta.cuts is None or len(meta.cuts) + 1 < self.shots:
            return None
        return list(pairwise((0, *meta.cuts, meta.num_frames)))

    def _equal(self, num_frames: int) -> list[tuple[int, int]]:
        edges = [i * num_frames // self.shots for i in range(self.shots + 1)]
        return [(min(a, num_frames - 1), max(b, min(a, num_frames - 1) + 1)) for a, b in pairwise(edges)]

    def _frames(self, start: int, stop: int, fps: float, rng: torch.Generator) -> torch.Tensor:
        length = stop - start
        step = 1.0 if self.fps is None else max(1.0, fps / self.fps)
        offsets = (torch.arange(self.frames) * step).round().long()
        if self.repeat_frame:
            offsets = torch.zeros_like(offsets)
        first = int(torch.randint(max(1, length - int(offsets[-1])), (), generator=rng))
        return start + (first + offsets) % length

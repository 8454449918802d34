"""Which frames: frozen dataclasses from plain numbers to frame indices. The most error-prone part, so without pixels.

Indices are 0-based. N is the number of frames of the video, T the frames of a clip.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from vssl.errors import UserError
from vssl.seeds import seeded
from vssl.types import VideoMeta
from vssl.views.plan import Plan


def _randint(stop: int, rng: torch.Generator) -> int:
    """Uniform in [0, stop)."""
    return int(torch.randint(stop, (), generator=rng))


def _positive(**values: float) -> None:
    for name, value in values.items():
        if value <= 0:
            raise UserError(f"{name}={value}", "must be positive", f"Try {name}=1.")


@dataclass(frozen=True)
class WindowFrames:
    """VITO, section 4.1: V single frames of one stretch of the video; view name `frames`, (V, 1).

    The window of "marginal" and "uniform" lies uniformly in the video; a video shorter than the window is the window.

    Args:
        views: V, frames (views) per video.
        window_s: Length of the window in seconds; at 25 fps 2.56 s are the paper's 64 frames.
        scheme: "marginal" draws each frame independently and uniformly, with replacement; "uniform" cuts the window in
            V equal parts and draws one frame in each (VFS); "delta" takes frames `gap_s` apart, the first placed
            uniformly (VINCE); "single_pair" draws as "delta" does, but once per video: the same frames in every epoch
            and every run.
        gap_s: Of "delta" and "single_pair": seconds from one view to the next, shortened where the video is too short.
            The text does not say; the default is the median gap of "marginal". 0: every view is the same frame.
    """

    views: int = 3
    window_s: float = 2.56
    scheme: Literal["marginal", "uniform", "delta", "single_pair"] = "marginal"
    gap_s: float = 0.76

    def __post_init__(self) -> None:
        _positive(views=self.views, window_s=self.window_s)
        if self.gap_s < 0:
            raise UserError(f"gap_s={self.gap_s}", "must not be negative", "Try gap_s=0.76.")

    def accepts(self, meta: VideoMeta) -> bool:
        """Every video with a frame will do."""
        return meta.num_frames > 0

    def __call__(self, meta: VideoMeta, rng: torch.Generator) -> Plan:
        """Draw the frames."""
        if self.scheme == "delta":
            return _singles(self._spaced(meta, rng))
        if self.scheme == "single_pair":
            return _singles(self._spaced(meta, seeded("single_pair", meta.row)))
        window = min(max(1, round(self.window_s * meta.fps)), meta.num_frames)
        start = _randint(meta.num_frames - window + 1, rng)
        if self.scheme == "marginal":
            places = torch.randint(window, (self.views,), generator=rng)
        else:
            edges = [window * v / self.views for v in range(self.views + 1)]
            share = torch.rand(self.views, generator=rng, dtype=torch.float64)
            low, high = torch.tensor(edges[:-1]), torch.tensor(edges[1:])
            places = (low + share * (high - low)).floor().long().clamp(max=window - 1)
        return _singles(start + places)

    def _spaced(self, meta: VideoMeta, rng: torch.Generator) -> torch.Tensor:
        steps = max(1, self.views - 1)
        gap = min(round(self.gap_s * meta.fps), (meta.num_frames - 1) // steps)
        start = _randint(meta.num_frames - gap * (self.views - 1), rng)
        return start + gap * torch.arange(self.views)


def _singles(frames: torch.Tensor) -> Plan:
    return Plan({"frames": frames.unsqueeze(1)}, {})


@dataclass(frozen=True)
class PacedClips:
    """VSPP and auxSKD: clips in which one segment runs at another pace; view name `clips`, (V, T).

    Outside the segment the clip takes every frame, inside it every r-th (auxskd.md 3.1, official code):

        pace(i) = r if i is in segment j, else 1
        f(0) = start,   f(i + 1) = 0 if f(i) + c pace(i) >= N, else f(i) + pace(i + 1)

    Targets: `pace` (V,) = r - 1 and `segment` (V,) = j, both 0-based. A pace of 1 leaves the segment undecidable.
    A video of T frames or fewer starts at 0 and wraps.

    Args:
        clips: V.
        frames: T, a multiple of `segments`.
        paces: R; r is uniform in 1..R.
        segments: S.
        pace_across: "independent" draws the clips' paces independently, "different" such that no two clips share one
            (auxSKD's student and teacher), "same" once for all.
        segment_across: The same for the segments.
        inclusive_end: The segment includes the position after it (official code: 5, 5, 5, 4 positions); False: exact.
        lookahead: c; the official code has 1 in VSPP and 3 in auxSKD.
        wrap: "code" as above; "clamp" starts early enough never to wrap where the video is long enough.
        exclude_natural_pace: r is uniform in 2..R (PECoP's variant).
    """

    clips: int = 1
    frames: int = 16
    paces: int = 4
    segments: int = 4
    pace_across: Literal["independent", "different", "same"] = "independent"
    segment_across: Literal["independent", "different", "same"] = "independent"
    inclusive_end: bool = True
    lookahead: int = 1
    wrap: Literal["code", "clamp"] = "code"
    exclude_natural_pace: bool = False

    def __post_init__(self) -> None:
        _positive(clips=self.clips, frames=self.frames, paces=self.paces, segments=self.segments)
        if self.frames % self.segments:
            nearest = max(1, self.frames // self.segments) * self.segments
            raise UserError(
                f"frames={self.frames}", f"must be a multiple of segments={self.segments}", f"Try frames={nearest}."
            )
        if self.exclude_natural_pace and self.paces < 2:
            raise UserError(f"paces={self.paces}", "without the natural pace at least 2 are needed", "Try paces=4.")
        for name, across, count in (
            ("paces", self.pace_across, self.paces - self.exclude_natural_pace),
            ("segments", self.segment_across, self.segments),
        ):
            if across == "different" and self.clips > count:
                raise UserError(f"clips={self.clips}", f"there are {count} different {name}", f"Try clips={count}.")

    def accepts(self, meta: VideoMeta) -> bool:
        """Every video with a frame will do."""
        return meta.num_frames > 0

    def __call__(self, meta: VideoMeta, rng: torch.Generator) -> Plan:
        """Draw pace, segment and start of every clip."""
        lowest = int(self.exclude_natural_pace)
        pace = lowest + self._labels(self.paces - lowest, self.pace_across, rng)
        segment = self._labels(self.segments, self.segment_across, rng)
        clips = [self._clip(int(r) + 1, int(j), meta.num_frames, rng) for r, j in zip(pace, segment, strict=True)]
        return Plan({"clips": torch.stack(clips)}, {"pace": pace, "segment": segment})

    def _labels(self, count: int, across: str, rng: torch.Generator) -> torch.Tensor:
        if across == "different":
            return torch.randperm(count, generator=rng)[: self.clips]
        labels = torch.randint(count, (self.clips,), generator=rng)
        return labels if across == "independent" else labels[:1].repeat(self.clips)

    def _clip(self, pace: int, segment: int, num_frames: int, rng: torch.Generator) -> torch.Tensor:
        span = sum(self.strides(pace, segment)[1:]) if self.wrap == "clamp" else self.frames
        start = _randint(max(1, num_frames - span), rng)
        return self.indices(start, pace, segment, num_frames)

    def strides(self, pace: int, segment: int) -> list[int]:
        """pace(i) at every position of the clip."""
        length = self.frames // self.segments
        first, stop = segment * length, (segment + 1) * length + self.inclusive_end
        return [pace if first <= i < stop else 1 for i in range(self.frames)]

    def indices(self, start: int, pace: int, segment: int, num_frames: int) -> torch.Tensor:
        """The T frames of a clip: `start` and the result 0-based, `pace` = r >= 1, `segment` = j 0-based."""
        strides = self.strides(pace, segment)
        frames = [start % num_frames]
        for i in range(self.frames - 1):
            step = frames[-1] + strides[i + 1]
            wraps = frames[-1] + self.lookahead * strides[i] >= num_frames or step >= num_frames
            frames.append(0 if wraps else step)
        return torch.tensor(frames)


def offsets(frames: int, stride: int, *, fps: float | None, meta: VideoMeta) -> torch.Tensor:
    """Distance of each frame of a clip to its first, in source frames; with `fps` the clip is cut at that rate."""
    step = stride if fps is None else stride * meta.fps / fps
    return (torch.arange(frames, dtype=torch.float64) * step).floor().long()


@dataclass(frozen=True)
class UniformClips:
    """Evaluation: evenly placed clips, nothing random; view name `clips`, (V * crops, T).

    First frames are evenly spaced from 0 to the last start that fits, so clip centres run from half a clip after the
    start to half a clip before the end. A clip longer than the video wraps.

    Args:
        clips: V.
        frames: T; 1 for an image encoder, whose clips are single frames.
        stride: Source frames from one frame of the clip to the next.
        crops: How often each clip is listed, one after the other, for as many crops of it.
        fps: Cut clips at this rate, whatever the video's; `stride` then counts frames of this rate.
    """

    clips: int = 10
    frames: int = 16
    stride: int = 1
    crops: int = 1
    fps: float | None = None

    def __post_init__(self) -> None:
        _positive(clips=self.clips, frames=self.frames, stride=self.stride, crops=self.crops)

    def accepts(self, meta: VideoMeta) -> bool:
        """Every video with a frame will do."""
        return meta.num_frames > 0

    def __call__(self, meta: VideoMeta, rng: torch.Generator) -> Plan:
        """Place the clips."""
        del rng  # every sampler is given one; here nothing is drawn
        inside = offsets(self.frames, self.stride, fps=self.fps, meta=meta)
        free = max(0, meta.num_frames - 1 - int(inside[-1]))
        starts = torch.linspace(0, free, self.clips, dtype=torch.float64).round().long()
        if self.clips == 1:
            starts = torch.tensor([free // 2])
        clips = (starts[:, None] + inside) % meta.num_frames
        return Plan({"clips": clips.repeat_interleave(self.crops, dim=0)}, {})


@dataclass(frozen=True)
class RandomClips:
    """Training with labels: one clip, its start uniform among those that fit; view name `clips`, (1, T).

    Args:
        frames, stride, fps: As in `UniformClips`; a clip longer than the video starts at 0 and wraps.
    """

    frames: int = 16
    stride: int = 1
    fps: float | None = None

    def __post_init__(self) -> None:
        _positive(frames=self.frames, stride=self.stride)

    def accepts(self, meta: VideoMeta) -> bool:
        """Every video with a frame will do."""
        return meta.num_frames > 0

    def __call__(self, meta: VideoMeta, rng: torch.Generator) -> Plan:
        """Draw the start."""
        inside = offsets(self.frames, self.stride, fps=self.fps, meta=meta)
        start = _randint(max(0, meta.num_frames - 1 - int(inside[-1])) + 1, rng)
        return Plan({"clips": (start + inside)[None] % meta.num_frames}, {})

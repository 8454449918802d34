"""Which frames: whole clips at one pace, clips out of order, clips at two speeds.

Indices are 0-based. N is the number of frames of the video, T the frames of a clip.
"""

from dataclasses import dataclass
from itertools import permutations

import torch

from vssl.errors import UserError
from vssl.types import VideoMeta
from vssl.views.plan import Plan
from vssl.views.samplers import _positive, _randint


@dataclass(frozen=True)
class WholePace:
    """VideoPace: whole clips at one pace; view name `clips`, (V, T).

        f(0) = start, uniform in the video,   f(i + 1) = 0 if f(i) + r >= N, else f(i) + r   (auxskd.md 3.3)

    Target: `pace` (V,) = r - 1.

    Args:
        clips: V, each with its own pace and start.
        frames: T.
        paces: R; r is uniform in 1..R.
    """

    clips: int = 1
    frames: int = 16
    paces: int = 4

    def __post_init__(self) -> None:
        _positive(clips=self.clips, frames=self.frames, paces=self.paces)

    def accepts(self, meta: VideoMeta) -> bool:
        """Every video with a frame will do."""
        return meta.num_frames > 0

    def __call__(self, meta: VideoMeta, rng: torch.Generator) -> Plan:
        """Draw pace and start of every clip."""
        pace = torch.randint(self.paces, (self.clips,), generator=rng)
        starts = torch.randint(meta.num_frames, (self.clips,), generator=rng)
        clips = [self.indices(int(s), int(r) + 1, meta.num_frames) for s, r in zip(starts, pace, strict=True)]
        return Plan({"clips": torch.stack(clips)}, {"pace": pace})

    def indices(self, start: int, pace: int, num_frames: int) -> torch.Tensor:
        """The T frames of a clip from `start` at `pace` = r >= 1."""
        frames = [start]
        for _ in range(self.frames - 1):
            step = frames[-1] + pace
            frames.append(step if step < num_frames else 0)
        return torch.tensor(frames)


@dataclass(frozen=True)
class ShuffledClips:
    """VCOP: consecutive clips of one stretch of the video in random order; view name `clips`, (V, T).

    The stretch of V T + (V - 1) gap frames lies uniformly in the video; shorter videos are left out. Row p of the view
    is the clip that comes at place order[p] in time. Target: `order` (), index of `order` among all permutations of
    0..V-1 in lexicographic order (auxskd.md 3.3).

    Args:
        clips: V, from 2 to 5.
        frames: T.
        gap: Frames left out between one clip and the next.
    """

    clips: int = 3
    frames: int = 16
    gap: int = 8

    def __post_init__(self) -> None:
        _positive(frames=self.frames)
        if not 2 <= self.clips <= 5:
            raise UserError(f"clips={self.clips}", "2 to 5 clips have an order to predict", "Try clips=3.")
        if self.gap < 0:
            raise UserError(f"gap={self.gap}", "must not be negative", "Try gap=8.")

    @property
    def span(self) -> int:
        """Frames from the first to the last that a sample takes."""
        return self.clips * self.frames + (self.clips - 1) * self.gap

    @property
    def orders(self) -> list[tuple[int, ...]]:
        """All V! permutations in lexicographic order."""
        return list(permutations(range(self.clips)))

    def accepts(self, meta: VideoMeta) -> bool:
        """Whether the video holds the whole stretch."""
        return meta.num_frames >= self.span

    def __call__(self, meta: VideoMeta, rng: torch.Generator) -> Plan:
        """Draw the stretch and the order."""
        start = _randint(meta.num_frames - self.span + 1, rng)
        label = _randint(len(self.orders), rng)
        firsts = start + (self.frames + self.gap) * torch.tensor(self.orders[label])
        return Plan({"clips": firsts[:, None] + torch.arange(self.frames)}, {"order": torch.tensor(label)})


@dataclass(frozen=True)
class SpeedPairs:
    """RSPNet: a query clip at speed s, and all frames of a key clip at speeds 1 and 2; see `at_speed`.

    Query and key each lie in 2 T consecutive frames at independent starts. View names: `query`, (1, T) frames at speed
    s; `key`, (1, T + T / 2), the frames that either speed needs, so that both are cut from the same augmented clip.
    Target: `fast` () bool, s = 2; a fair coin per sample (the official code: exactly half of the batch). A video
    shorter than 2 T starts at 0 and wraps.

    Args:
        frames: T, even.
    """

    frames: int = 16

    def __post_init__(self) -> None:
        _positive(frames=self.frames)
        if self.frames % 2:
            raise UserError(f"frames={self.frames}", "must be even", f"Try frames={self.frames + 1}.")

    def accepts(self, meta: VideoMeta) -> bool:
        """Every video with a frame will do."""
        return meta.num_frames > 0

    def __call__(self, meta: VideoMeta, rng: torch.Generator) -> Plan:
        """Draw speed and both starts."""
        fast = bool(_randint(2, rng))
        starts = [_randint(max(1, meta.num_frames - 2 * self.frames + 1), rng) for _ in range(2)]
        slow_frames, fast_frames = torch.arange(self.frames), torch.arange(0, 2 * self.frames, 2)
        query = starts[0] + (fast_frames if fast else slow_frames)
        key = starts[1] + torch.cat([slow_frames, fast_frames[self.frames // 2 :]])
        views = {"query": query[None] % meta.num_frames, "key": key[None] % meta.num_frames}
        return Plan(views, {"fast": torch.tensor(fast)})


def at_speed(key: torch.Tensor, fast: torch.Tensor) -> torch.Tensor:
    """From the T + T / 2 frames of `SpeedPairs`' key view to T frames at a speed.

    Args:
        key: (B, T + T / 2, ...): frames 0..T-1, then T, T + 2, ..., 2 T - 2.
        fast: (B,) bool: every second of 2 T frames instead of the first T.
    """
    frames = key.shape[1] * 2 // 3
    slow_clip, fast_clip = key[:, :frames], torch.cat([key[:, :frames:2], key[:, frames:]], dim=1)
    return torch.where(fast.view(-1, *[1] * (key.ndim - 1)), fast_clip, slow_clip)

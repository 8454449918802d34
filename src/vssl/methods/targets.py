"""What iBoot does to the features of its frozen image network before anything regresses to them."""

import hashlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from vssl.distributed import gather
from vssl.errors import UserError


@dataclass(frozen=True)
class Targets:
    """How image features become targets.

    Args:
        aggregate: "mean_unit" averages the unit features of the frames, "mean_raw" the raw ones; "middle" and "random"
            take one frame; "per_frame" keeps all and averages the loss.
        clips: Which targets a clip regresses to: its own clip's, those of the video's other clips, or both alike.
        centring: Subtract the mean of the targets seen so far ("running"), or their exponential average ("ema").
        momentum: Of "ema".
        crop: Of the teacher's frames: "same" as the clip's, "own" draws again for every frame, "center" is fixed.
        photometric: The clip's photometry for the teacher too.
        cache: Folder that keeps the features of frames, for `crop=center`: each is computed once, ever.
    """

    aggregate: Literal["mean_unit", "mean_raw", "middle", "random", "per_frame"] = "mean_unit"
    clips: Literal["own", "cross", "both"] = "both"
    centring: Literal["none", "running", "ema"] = "none"
    momentum: float = 0.99
    crop: Literal["same", "own", "center"] = "same"
    photometric: bool = False
    cache: str | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.momentum < 1.0:
            raise UserError(f"targets.momentum={self.momentum}", "a momentum lies in [0, 1)", "Try 0.99.")
        if self.photometric and self.crop != "same":
            rule = "the clip's photometry goes with the clip's crop"
            raise UserError(f"targets.crop={self.crop}", rule, "Set targets.crop=same or targets.photometric=false.")
        if self.cache is not None and self.crop != "center":
            rule = "only frames that are cut alike in every epoch can be kept"
            raise UserError(f"targets.crop={self.crop}", rule, "Set targets.crop=center or targets.cache=null.")


def aggregate(frames: Float[Tensor, "b v f d"], how: str) -> Float[Tensor, "b v a d"]:
    """Features of the F frames of a clip to its A unit targets: A = F for "per_frame", else 1 (iboot.md 2)."""
    unit = F.normalize(frames, dim=-1)
    if how == "per_frame":
        return unit
    if how == "middle":
        return unit[:, :, frames.shape[2] // 2, None]
    if how == "random":
        pick = torch.randint(frames.shape[2], (*frames.shape[:2], 1, 1), device=frames.device)
        return unit.gather(2, pick.expand(-1, -1, -1, frames.shape[3]))
    assert how in ("mean_unit", "mean_raw")
    return F.normalize((unit if how == "mean_unit" else frames).mean(2, keepdim=True), dim=-1)


def pairs(num_clips: int, clips: str) -> tuple[list[int], list[int]]:
    """Online clip o and target clip t of every term; each o has as many, so their mean is the mean of means."""
    every = [(o, t) for o in range(num_clips) for t in range(num_clips)]
    chosen = [(o, t) for o, t in every if clips == "both" or (o == t) == (clips == "own")]
    return [o for o, _ in chosen], [t for _, t in chosen]


class Centre(nn.Module):
    """Targets less their mean, as unit vectors again: t <- (t - m) / |t - m|. Ours, not in the paper's abstract.

    m is the mean of all targets seen in training ("running") or m <- momentum m + (1 - momentum) mean of the batch
    ("ema"), over all ranks and with the current batch, so that it is equal on all ranks; checkpoints hold it.
    """

    mean: Float[Tensor, " d"]
    count: Tensor
    """() int64: targets in the mean."""

    def __init__(self, dim: int, kind: str, momentum: float) -> None:
        super().__init__()
        self.kind, self.momentum = kind, momentum
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, targets: Float[Tensor, "b v a d"]) -> Float[Tensor, "b v a d"]:
        """Move the mean (in train mode), then centre."""
        if self.training:
            seen, _ = gather(targets.flatten(1, 2))  # (G B, V A, D)
            num_new = seen.shape[0] * seen.shape[1]
            share = num_new / (int(self.count) + num_new)
            if self.kind == "ema" and self.count > 0:
                share = 1.0 - self.momentum
            self.mean.lerp_(seen.mean((0, 1)).to(self.mean.dtype), share)
            self.count += num_new
        return F.normalize(targets - self.mean, dim=-1)


class FeatureCache:
    """Frame features on disk, by the pixels they are of: one SQLite file per network and card.

    Args:
        folder: Made where it does not exist.
        network: Names the network, its weights and its card; other features never mix with these.
    """

    def __init__(self, folder: str, network: str) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.file = Path(folder) / f"{hashlib.blake2b(network.encode(), digest_size=8).hexdigest()}.sqlite"
        # ranks share the file: wait for the lock instead of failing
        self.db = sqlite3.connect(self.file, timeout=600)
        self.db.execute("CREATE TABLE IF NOT EXISTS features (pixels BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")

    def __call__(self, pixels: UInt8[Tensor, "n 3 s s"], compute: Callable[[Tensor], Tensor]) -> Float[Tensor, "n d"]:
        """Features of `pixels`; `compute` gets the rows of those that are not kept yet and returns theirs."""
        keys = [hashlib.blake2b(frame.tobytes(), digest_size=16).digest() for frame in pixels.cpu().numpy()]
        found = {key: self._get(key) for key in keys}
        kept = {key: value for key, value in found.items() if value is not None}
        rows = {key: row for row, key in enumerate(keys) if key not in kept}
        if rows:
            computed = compute(torch.tensor(list(rows.values()), device=pixels.device)).float().cpu().numpy()
            fresh = dict(zip(rows, computed, strict=True))
            with self.db:
                statement = "INSERT OR IGNORE INTO features VALUES (?, ?)"
                self.db.executemany(statement, [(key, value.tobytes()) for key, value in fresh.items()])
            kept |= fresh
        return torch.from_numpy(np.stack([kept[key] for key in keys])).to(pixels.device)

    def _get(self, key: bytes) -> np.ndarray | None:
        found = self.db.execute("SELECT value FROM features WHERE pixels = ?", (key,)).fetchone()
        return None if found is None else np.frombuffer(found[0], dtype=np.float32)

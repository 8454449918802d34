"""Shot boundaries by colour-histogram change, found once and kept in the manifest's column `cuts`.

The detector is of the kind VIVI names (Mas and Fernandez, TRECVID 2003); its numbers are this project's (vivi.md 4).
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from av.error import FFmpegError
from jaxtyping import Float, Int, UInt8
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vssl.data.index import FIRST, prepare_process
from vssl.data.manifest import Manifest
from vssl.data.manifest_file import save
from vssl.data.pool import Lost, run_isolated
from vssl.data.probe import sequential
from vssl.data.reader import ReadError, Video
from vssl.errors import UserError

_BINS = 4  # per channel
_REACH = 12  # frames on each side that the local median is taken over: a second at 25 fps


class Rule(NamedTuple):
    """When a change of the histogram is a cut."""

    threshold: float = 1.0
    """Smallest L1 distance of the histograms of neighbouring frames; they sum to 1, so it lies in [0, 2]."""
    ratio: float = 3.0
    """It must be more than this many times the local median of the distances."""
    min_frames: int = 8
    """Shortest shot."""
    flash_frames: int = 3
    """A change that is undone within so many frames is a flash and no cut; 0: not asked."""


def histogram(frame: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, " bins"]:
    """Joint RGB histogram of 4 x 4 x 4 bins as shares of the pixels: (64,) float64, sum 1."""
    bins = (frame.astype(np.uint16) * _BINS) >> 8
    joint = (bins[..., 0] * _BINS + bins[..., 1]) * _BINS + bins[..., 2]
    return np.bincount(joint.ravel(), minlength=_BINS**3) / joint.size


def histograms(frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Float[np.ndarray, "t bins"]:
    """The histogram of every frame of a stream: (T, 64) float32; of the frames only one is in memory."""
    found = [histogram(frame).astype(np.float32) for frame in frames]
    return np.stack(found) if found else np.zeros((0, _BINS**3), np.float32)


def distances(shares: Float[np.ndarray, "t bins"], reach: int = 0) -> Float[np.ndarray, " n"]:
    """L1 distance across each boundary of neighbouring frames, (T - 1,): of frame t - reach to frame t + 1 + reach.

    Where the video begins or ends before that, its first or last frame is taken.
    """
    place, last = np.arange(max(0, len(shares) - 1)), len(shares) - 1
    before, after = np.maximum(place - reach, 0), np.minimum(place + 1 + reach, last)
    return np.abs(shares[after].astype(np.float64) - shares[before]).sum(-1)


def cuts_of(shares: Float[np.ndarray, "t bins"], rule: Rule = Rule()) -> Int[np.ndarray, " c"]:
    """First frames of all shots but the first, from the histograms of all frames.

    A cut lies where the distance of two neighbouring frames is above the threshold, and above `ratio` times the median
    of the distances within 12 frames on either side, itself not counted; and where the frames `flash_frames` further
    apart differ as well. Where two cuts or the ends of the video are nearer than `min_frames`, the larger change stays.
    """
    change = distances(shares)
    candidates = np.flatnonzero((change > rule.threshold) & (distances(shares, rule.flash_frames) > rule.threshold))
    kept = [0, len(shares)]
    for place in sorted(candidates.tolist(), key=lambda p: (-change[p], p)):
        around = np.delete(change[max(0, place - _REACH) : place + _REACH + 1], min(place, _REACH))
        abrupt = not len(around) or change[place] > rule.ratio * np.median(around)
        if abrupt and min(abs(place + 1 - other) for other in kept) >= rule.min_frames:
            kept.append(place + 1)
    return np.array(sorted(kept)[1:-1], dtype=np.int64)


def search(argument: str) -> list[int] | str:
    """Cuts of one file, decoded from end to end; what a child process runs.

    Args:
        argument: JSON of [rule, video], the fields of each.

    Returns:
        The cuts, or why the file cannot be read.
    """
    rule, video = json.loads(argument)
    video = Video(*video)
    try:
        shares = histograms(sequential(video, range(video.num_frames)))
    except FFmpegError as error:
        return f"does not decode: {error.strerror}"
    except ReadError as error:
        return error.reason
    if len(shares) != video.num_frames:
        return f"ends after {len(shares)} frames; {video.num_frames} were indexed"
    return cuts_of(shares, Rule(*rule)).tolist()


def find_shots(path: Path, *, root: Path | None, rule: Rule, num_workers: int, timeout_s: float) -> dict[str, Any]:
    """Search every readable file of a manifest and write its column `cuts`, in place, at once or not at all.

    A file that cannot be searched is left without a cut and named.

    Args:
        path: The manifest's CSV.
        root: Folder of the videos, where it is not the one the manifest names.
        rule: When a change is a cut.
        num_workers: Processes.
        timeout_s: Limit for one file.

    Returns:
        What the manifest's JSON then says under "shots": rule, number of videos with at least 2 and 4, failures.
    """
    manifest = Manifest.load(path, root=root)
    rows = [row for row in range(len(manifest)) if manifest.meta(row).num_frames > 0]
    if not rows:
        raise UserError(path, "holds no video that can be read", "Its JSON says why")
    arguments = [json.dumps([rule, manifest.video(row)]) for row in rows]
    cuts, failed = [""] * len(manifest), []
    for item, result in _progress(arguments, num_workers=num_workers, timeout_s=timeout_s):
        if isinstance(result, list):
            cuts[rows[item]] = " ".join(map(str, result))
        else:
            failed.append({"path": manifest.name(rows[item]), "reason": getattr(result, "reason", result)})
    counts = {str(k): sum(len(text.split()) + 1 >= k for text in (cuts[row] for row in rows)) for k in (2, 4)}
    shots = {
        **rule._asdict(),
        "videos": len(rows),
        "at_least": counts,
        "failed": sorted(failed, key=lambda f: f["path"]),
    }
    table = manifest.table.drop_columns("cuts") if "cuts" in manifest.table.column_names else manifest.table
    table = table.append_column("cuts", pa.array(cuts, pa.string()))
    info = {k: v for k, v in manifest.info.items() if k not in ("format", "root", "rows", "content_hash")}
    save(path, table=table, info={**info, "shots": shots}, root=path.parent / manifest.info["root"])
    return shots


def _progress(
    arguments: list[str], *, num_workers: int, timeout_s: float
) -> Iterable[tuple[int, list[int] | str | Lost]]:
    columns = (TextColumn("searching"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("searching", total=len(arguments))
        calls = run_isolated(search, arguments, num_workers=num_workers, timeout_s=timeout_s, prepare=prepare_process)
        for item, result in calls:
            progress.advance(task)
            yield item, result


def say_shots(shots: dict[str, Any]) -> None:
    """Print how many videos have how many shots, and the first that could not be searched."""
    lines = [f"videos: {shots['videos']} searched"]
    lines += [f"with at least {k} shots: {count}" for k, count in shots["at_least"].items()]
    failed = [f"  {entry['path']}: {entry['reason']}" for entry in shots["failed"]]
    if failed:
        lines += [f"not searched: {len(failed)}", *failed[:FIRST]]
    if len(failed) > FIRST:
        lines.append(f"  and {len(failed) - FIRST} more")
    sys.stdout.write("\n".join(lines) + "\n")

"""The toy world as a data set: real video files and their manifest (docs/toy-world.md)."""

import json
import os
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.progress import track

from vssl.data.index import build
from vssl.data.layouts import Listing
from vssl.data.pool import Lost, run_isolated
from vssl.data.toy_factors import (
    BACKGROUNDS,
    COLOURS,
    DRIFTS,
    MOTIONS,
    SHAPES,
    SPEEDS,
    TEXTURES,
    Nuisance,
    factors,
)
from vssl.data.toy_video import CODECS, Job, job_json, make
from vssl.errors import UserError

VERSION = 1
"""Of the rendering. It is frozen: a change is a commit of its own, with its reason and every baseline run again."""
MAX_VIDEOS = 1_000_000
EXTRA_EVERY = 20
"""For every so many videos there is one more of each other codec."""

_SETTINGS = "toy.json"
_VIDEOS = "videos"
_TIMEOUT_S = 60.0


def generate(
    out: Path,
    num_videos: int = 960,
    seed: int = 0,
    nuisance: Nuisance = "constant",
    workers: int = 0,
) -> Path:
    """Make a toy world, or what is missing of it.

    Split 1 lists the `num_videos` videos, three of five in train; a tenth as many files of other codecs come on top
    and are in no subset. Files are written at once or not at all: a stopped call is continued by the next.

    Args:
        out: Folder; gets `videos/`, `manifest.csv`, `manifest.json` and `toy.json` (these arguments).
        num_videos: Video i is the same whatever the number.
        seed: Of everything that is drawn.
        nuisance: "constant": colour, texture, background and drift stay the same over the video; column `label` is the
            motion. "redrawn": eight shots, each with its own; `label` is the shape.
        workers: Processes; 0: one per core.

    Returns:
        The manifest.

    Raises:
        UserError: An argument is out of range, `out` holds something else, or it cannot be written.
    """
    _check(num_videos=num_videos, seed=seed, nuisance=nuisance, workers=workers)
    manifest = out / "manifest.csv"
    _claim(out, {"version": VERSION, "num_videos": num_videos, "seed": seed, "nuisance": nuisance})
    listed, folder = jobs(num_videos), out / _VIDEOS
    missing = [job for job in listed if not (folder / job.name).is_file()]
    if not missing and manifest.is_file() and manifest.with_suffix(".json").is_file():
        return manifest
    # starting a process costs as much as some tens of files
    num_workers = min(workers or len(os.sched_getaffinity(0)), 1 + len(listed) // 32)
    _render(missing, folder=folder, seed=seed, nuisance=nuisance, num_workers=num_workers)
    rows = [columns(job, seed=seed, nuisance=nuisance) for job in listed]
    by_column = {name: [row[name] for row in rows] for name in rows[0]}
    # worlds of other seeds are other data: the name keeps their groups apart
    name = f"toy-{nuisance}-{seed}"
    listing = Listing(name, out, columns=by_column, official={}, listed={}, missing=[], refused={})
    build(listing, out=manifest, num_workers=num_workers, timeout_s=_TIMEOUT_S)
    return manifest


def jobs(num_videos: int) -> list[Job]:
    """The files of a world: the videos themselves, then those of other codecs, whose factors run through all values."""
    listed = [Job(f"{index:06d}.mp4", index, "intra") for index in range(num_videos)]
    for place, name in enumerate(("ordinary", "avi"), start=1):
        numbers, suffix = range(-(-num_videos // EXTRA_EVERY)), CODECS[name].suffix
        listed += [Job(f"{name}_{number:05d}{suffix}", place * MAX_VIDEOS + number, name) for number in numbers]
    return listed


def columns(job: Job, *, seed: int, nuisance: Nuisance) -> dict[str, str]:
    """What the manifest says about a file beside what probing finds out; nuisance columns hold the first shot's."""
    video = factors(job.video, seed=seed, nuisance=nuisance)
    mix = video.shots[0].mix
    shape, motion = SHAPES[video.shape], MOTIONS[video.motion]
    return {
        "path": f"{_VIDEOS}/{job.name}",
        "label": shape if nuisance == "redrawn" else motion,
        "shape": shape,
        "motion": motion,
        "speed": SPEEDS[video.speed],
        "colour": COLOURS[mix.colour],
        "texture": TEXTURES[mix.texture],
        "background": BACKGROUNDS[mix.background],
        "drift": DRIFTS[mix.drift],
        "group": Path(job.name).stem,
        "split1": video.split if job.codec == "intra" else "unused",
        "cuts": " ".join(str(shot.first) for shot in video.shots[1:]),
    }


def _check(*, num_videos: int, seed: int, nuisance: str, workers: int) -> None:
    if not 1 <= num_videos < MAX_VIDEOS:
        raise UserError(num_videos, f"is no number of videos from 1 to {MAX_VIDEOS - 1}", "Choose another --videos")
    if not 0 <= seed < 2**63:
        raise UserError(seed, "is no seed from 0 to 2**63 - 1", "Choose another --seed")
    if nuisance not in get_args(Nuisance):
        raise UserError(nuisance, "is no kind of nuisance", f"Choose one of {', '.join(get_args(Nuisance))}")
    if workers < 0:
        raise UserError(workers, "is no number of processes", "0 takes one per core")


def _claim(out: Path, settings: dict[str, Any]) -> None:
    """Say in the folder what it holds, or find that it does already."""
    path = out / _SETTINGS
    if path.is_file():
        found = json.loads(path.read_bytes())
        if found != settings:
            raise UserError(out, f"holds another toy world: {found}", f"Choose another folder for {settings}")
        return
    if out.is_dir() and any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise UserError(out, "is not empty and holds no toy world", "Choose another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        partial = out / f".{os.getpid()}.{_SETTINGS}"
        partial.write_text(json.dumps(settings))
        os.replace(partial, path)
    except OSError as error:
        raise UserError(out, f"cannot be written: {error.strerror}", "Choose another folder") from error


def _render(missing: list[Job], *, folder: Path, seed: int, nuisance: Nuisance, num_workers: int) -> None:
    folder.mkdir(exist_ok=True)
    # what a killed call left half-written
    for partial in folder.glob(".*"):
        partial.unlink(missing_ok=True)
    arguments = [job_json(job, folder=folder, seed=seed, nuisance=nuisance) for job in missing]
    results = run_isolated(make, arguments, num_workers=num_workers, timeout_s=_TIMEOUT_S)
    console = Console(stderr=True)
    for place, result in track(results, "rendering", len(missing), console=console, disable=not missing):
        if isinstance(result, Lost):
            raise RuntimeError(f"{missing[place].name}: {result.reason}")
        if result:
            raise UserError(folder / missing[place].name, f"cannot be written: {result}", "Make room, then go on")

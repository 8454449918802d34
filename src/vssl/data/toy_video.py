"""One toy video from its number to a finished file; this is what the generator's child processes run."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.stream import VideoStream
from jaxtyping import UInt8

from vssl.data.toy_factors import FPS, Nuisance
from vssl.data.toy_render import render
from vssl.data.toy_shapes import SIZE


class Codec(NamedTuple):
    """How FFmpeg encodes a file, and with which name ending."""

    name: str
    suffix: str
    options: dict[str, str]


# every frame is a key frame with the same quantiser: no frame can tell its place in the file
INTRA = Codec("libx264", ".mp4", {"preset": "veryfast", "g": "1", "qp": "16"})
# what video files are ordinarily like; at this size the error grows and falls with the distance to the key frame
ORDINARY = Codec(
    "libx264",
    ".mp4",
    {"preset": "veryfast", "crf": "23", "x264-params": "keyint=12:min-keyint=12:scenecut=0:bframes=2:b-adapt=0"},
)
AVI = Codec("mpeg4", ".avi", {"g": "12", "qscale": "4", "flags": "+qscale", "global_quality": str(4 * 118)})
CODECS = {"intra": INTRA, "ordinary": ORDINARY, "avi": AVI}


class Job(NamedTuple):
    """One file to make."""

    name: str
    """Relative to the folder of the videos."""
    video: int
    codec: str
    """A key of CODECS."""


def make(job: str) -> str:
    """Render and encode one file, at once or not at all.

    Args:
        job: JSON of [folder, seed, nuisance, *Job].

    Returns:
        Empty, or why the file cannot be written.
    """
    folder, seed, nuisance, *rest = json.loads(job)
    name, video, codec = rest
    path = Path(folder) / name
    partial = path.with_name(f".{os.getpid()}.{name}")
    try:
        write(partial, frames=planes(render(video, seed=seed, nuisance=nuisance)), codec=CODECS[codec])
        os.replace(partial, path)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def job_json(job: Job, *, folder: Path, seed: int, nuisance: Nuisance) -> str:
    """What make() takes."""
    return json.dumps([str(folder), seed, nuisance, *job])


def planes(frames: UInt8[np.ndarray, "t s s 3"]) -> UInt8[np.ndarray, "t h s"]:
    """Convert RGB to YUV 4:2:0 as FFmpeg lays it out, h = 3/2 s (BT.601, limited range), in integers.

    FFmpeg's own conversion depends on its version and on the processor.
    """
    red, green, blue = (frames[..., channel].astype(np.int32) for channel in range(3))
    luma = (16829 * red + 33039 * green + 6416 * blue + (16 << 16) + (1 << 15)) >> 16
    chroma = (-9714 * red - 19070 * green + 28784 * blue, 28784 * red - 24103 * green - 4681 * blue)
    halves = [(_squares(plane) + (128 << 18) + (1 << 17)) >> 18 for plane in chroma]
    length, side = frames.shape[:2]
    parts = [luma, *(plane.reshape(length, side // 4, side) for plane in halves)]
    return np.concatenate(parts, axis=1).astype(np.uint8)


def _squares(plane: np.ndarray) -> np.ndarray:
    return plane[:, ::2, ::2] + plane[:, 1::2, ::2] + plane[:, ::2, 1::2] + plane[:, 1::2, 1::2]


def write(path: Path, *, frames: UInt8[np.ndarray, "t h s"], codec: Codec) -> None:
    """Encode YUV 4:2:0 frames."""
    # the name of a temporary file must not decide the container
    container_format = codec.suffix.removeprefix(".")
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec.name, rate=FPS, options=codec.options)
        assert isinstance(stream, VideoStream)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1  # files are the parallelism; and the result must not depend on it
        for packet in _packets(stream, frames):
            container.mux(packet)


def _packets(stream: VideoStream, frames: np.ndarray) -> Iterator[av.Packet]:
    for frame in frames:
        yield from stream.encode(av.VideoFrame.from_ndarray(frame, format="yuv420p"))
    yield from stream.encode()

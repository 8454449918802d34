"""Frames of one video file: the k-th frame of a full sequential decode, whichever library reads it.

Frame k is the k-th frame of a full sequential decode by PyAV, in presentation order, of the container's best video
stream, turned upright. Time stamps never decide what frame k is: MPEG-4 files with packed B-frames number theirs
1, 2, 4, 3, 5. A reader may jump only to key frames whose seek was tried when the file was indexed.
"""

import functools
import importlib
import itertools
from bisect import bisect_right
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import av
import numpy as np
import torch
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import Int64, UInt8
from torch import Tensor

from vssl.data.keytable import parse_keys
from vssl.errors import UserError

Backend = Literal["pyav", "torchcodec"]

# decoding this many frames costs no more than a jump
_SEEK_GAIN = 4


class Video(NamedTuple):
    """All a reader must know about a file; small and picklable."""

    path: str
    num_frames: int
    height: int
    """Upright."""
    width: int
    """Upright."""
    rotation: int
    """Degrees counter-clockwise that turn a decoded frame upright: 0, 90, 180 or 270."""
    stream: int
    """Index of the best video stream among all streams of the container."""
    seek: str
    """"exact": torchcodec may read it; "count": only PyAV, counting from a key frame."""
    keyframes: str
    """Runs of verified key frames (see parse_keys); "" means: frame 0 alone."""


class ReadError(UserError):
    """A file that could not be decoded where it could when it was indexed."""

    def __init__(self, path: str, reason: str = "") -> None:
        super().__init__(path, reason, "vssl data check MANIFEST names every file that went bad.")
        self.path, self.reason = path, reason

    def __reduce__(self) -> Any:
        return type(self), (self.path, self.reason)


@runtime_checkable
class Indexed(Protocol):
    """A manifest, as far as the choice of a reader is concerned."""

    path: Path
    info: dict[str, Any]


def read(video: Video, indices: Int64[Tensor, " n"], backend: Backend = "pyav") -> UInt8[Tensor, "n 3 h w"]:
    """Decode frames in one pass over one open file.

    Args:
        video: From Manifest.video.
        indices: Rising, no repeats, all in [0, num_frames).
        backend: "torchcodec" is taken only for files whose seek is "exact"; PyAV reads the others.

    Returns:
        RGB, upright; not necessarily contiguous in memory.

    Raises:
        ReadError: A frame does not decode.
    """
    wanted: list[int] = indices.tolist()
    assert all(a < b for a, b in itertools.pairwise(wanted)), "indices must rise"
    assert not wanted or (wanted[0] >= 0 and wanted[-1] < video.num_frames), "index outside the video"
    if backend == "torchcodec" and video.seek == "exact":
        return read_torchcodec(video, wanted)
    return torch.from_numpy(read_pyav(video, wanted)).permute(0, 3, 1, 2)


def read_torchcodec(video: Video, wanted: list[int]) -> UInt8[Tensor, "n 3 h w"]:
    """Read with torchcodec, which turns frames upright by itself.

    Raises:
        ReadError: torchcodec refuses the file or a frame of it.
    """
    decoders = importlib.import_module("torchcodec.decoders")
    try:
        # seek_mode "exact" scans the packets first: from the header alone H.265 files gave wrong frames
        decoder = decoders.VideoDecoder(video.path, stream_index=video.stream, num_ffmpeg_threads=1, seek_mode="exact")
        return decoder.get_frames_at(wanted).data
    except (RuntimeError, ValueError, IndexError) as error:
        raise ReadError(video.path, f"torchcodec: {_first_line(error)}") from error


def read_pyav(video: Video, wanted: list[int]) -> np.ndarray:
    """Read with PyAV: from the start or a verified key frame, counting frames, never trusting time stamps.

    Returns:
        (n, h, w, 3) uint8.

    Raises:
        ReadError: The file or a frame of it does not decode, or the file is not the one that was indexed.
    """
    frames = np.empty((len(wanted), video.height, video.width, 3), np.uint8)
    to_rgb = RGB(video.height, video.width, video.rotation)
    try:
        with av.open(video.path) as container:
            for place, frame in enumerate(_pick(container, video, wanted)):
                frames[place] = to_rgb(frame)
    except FFmpegError as error:
        raise ReadError(video.path, f"pyav: {error.strerror}") from error
    return frames


class RGB:
    """Turns decoded frames into upright RGB arrays of one size; keeps the conversion context between frames."""

    def __init__(self, height: int, width: int, rotation: int) -> None:
        self._reformatter = VideoReformatter()
        self._turns = rotation // 90
        self._coded = (width, height) if self._turns % 2 else (height, width)

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """Give the frame as (h, w, 3) uint8; a stream that changes size midway is scaled to its first size."""
        height, width = self._coded
        rgb = self._reformatter.reformat(frame, width=width, height=height, format="rgb24").to_ndarray()
        return np.rot90(rgb, self._turns)


def open_stream(container: InputContainer, index: int | None = None) -> VideoStream | None:
    """Give the stream at an index, or the best video stream (None: there is no such video), on one thread.

    The loader's workers are the parallelism; threads inside a decoder only add latency to short reads.
    """
    if index is None:
        stream = container.streams.best("video")
    else:
        stream = next((each for each in container.streams if each.index == index), None)
    if not isinstance(stream, VideoStream):
        return None
    stream.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    return stream


def _pick(container: InputContainer, video: Video, wanted: list[int]) -> Iterator[VideoFrame]:
    stream = open_stream(container, video.stream)
    if stream is None:
        raise ReadError(video.path, f"has no video stream {video.stream}; it changed since it was indexed")
    keys, stamps = parse_keys(video.keyframes)
    frames, position = container.decode(stream), 0
    for target in wanted:
        place = bisect_right(keys, target) - 1
        jumped = place > 0 and keys[place] - position > _SEEK_GAIN
        if jumped:
            container.seek(stamps[place], stream=stream, backward=True)
            frames, position = container.decode(stream), keys[place]
        while True:
            frame = next(frames, None)
            if frame is None:
                raise ReadError(video.path, f"ends after {position} frames; {video.num_frames} were indexed")
            if jumped and frame.pts != stamps[place]:
                raise ReadError(video.path, f"key frame {keys[place]} is not where it was when indexed")
            jumped = False
            position += 1
            if position > target:
                yield frame
                break


@functools.cache
def installed_readers() -> dict[str, str]:
    """Name the readers that load here, with their versions; PyAV always does."""
    readers = {"pyav": version("av")}
    try:
        importlib.import_module("torchcodec.decoders")
        readers["torchcodec"] = version("torchcodec")
    except (ImportError, OSError, RuntimeError):  # optional; RuntimeError: it finds no FFmpeg it can use
        pass
    return readers


def choose_backend(setting: Literal["auto", "pyav", "torchcodec"], manifest: Indexed) -> tuple[Backend, str]:
    """Decide which library reads, and say so.

    Returns:
        The backend for read() and a message of one line.

    Raises:
        UserError: torchcodec is asked for but does not load, or the manifest was indexed without it.
    """
    loads = "torchcodec" in installed_readers()
    verified = "torchcodec" in manifest.info.get("readers", {})
    if setting == "pyav":
        return "pyav", "reader: pyav (as set)"
    if loads and verified:
        how = "as set" if setting == "torchcodec" else "auto"
        return "torchcodec", f"reader: torchcodec for files with exact seeking, pyav for the rest ({how})"
    reason = "torchcodec does not load here" if not loads else "the manifest was indexed without torchcodec"
    if setting == "auto":
        return "pyav", f"reader: pyav (auto: {reason})"
    if loads:
        raise UserError(manifest.path, reason, "Index it again, or set data.reader: pyav")
    raise UserError("torchcodec", reason, "Install vssl[torchcodec] and FFmpeg, or set data.reader: pyav")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)

"""What a file is: decoded once from end to end, so that nothing is believed that its header claims."""

import hashlib
import itertools
import zlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
import torch
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from vssl.data.keytable import format_keys
from vssl.data.reader import RGB, ReadError, Video, installed_readers, open_stream, read_pyav, read_torchcodec

# These standards fix every bit of the decoded picture. MPEG-1, 2 and 4 leave the inverse DCT open: builds of FFmpeg
# with and without assembler differ by one or two grey levels in a few frames, which five positions can miss.
_FIXED_BY_STANDARD = {"h264", "hevc", "av1", "libdav1d", "vp8", "vp9", "ffv1"}
_EIGHT_BIT_420 = {"yuv420p", "yuvj420p", "nv12"}
_CHUNK = 32
_DEFAULT_FPS = 25.0


class Probe(NamedTuple):
    """What one file turned out to be; `error` is empty where every frame decodes."""

    num_frames: int = 0
    fps: float = 0.0
    height: int = 0
    width: int = 0
    codec: str = ""
    rotation: int = 0
    stream: int = 0
    seek: str = ""
    keyframes: str = ""
    bytes: int = 0
    blake2: str = ""
    error: str = ""

    def video(self, path: str) -> Video:
        """What a reader must know about the file."""
        return Video(
            path=path,
            num_frames=self.num_frames,
            height=self.height,
            width=self.width,
            rotation=self.rotation,
            stream=self.stream,
            seek=self.seek,
            keyframes=self.keyframes,
        )


class _Scan(NamedTuple):
    """One sequential decode, pixels reduced to checksums."""

    stamps: list[int | None]
    sums: list[int]
    keys: list[int]
    shapes: set[tuple[int, int]]
    first: VideoFrame
    stream: int
    codec: str
    rate: Fraction | None
    tick: Fraction | None


def probe(path: str) -> Probe:
    """Decode a file completely and find out how it may be read; errors of the file are told, not raised."""
    try:
        size, digest = _digest(path)
    except OSError as error:
        return Probe(error=f"cannot be opened: {error.strerror}")
    try:
        return _probe(path)._replace(bytes=size, blake2=digest)
    except (FFmpegError, ReadError) as error:
        reason = error.reason if isinstance(error, ReadError) else error.strerror
        return Probe(bytes=size, blake2=digest, error=f"does not decode: {reason}")


def _probe(path: str) -> Probe:
    scan = _scan(path)
    rotation = round(scan.first.rotation / 90) * 90 % 360
    height, width = scan.first.height, scan.first.width
    if rotation % 180:
        height, width = width, height
    found = Probe(
        num_frames=len(scan.sums),
        fps=float(scan.rate or _DEFAULT_FPS),
        height=height,
        width=width,
        codec=scan.codec,
        rotation=rotation,
        stream=scan.stream,
        seek="count",
        keyframes=format_keys(_verified_keys(path, scan)),
    )
    positions = five_positions(found.num_frames)
    if not _same_as_sequential(found.video(path), positions):
        found = found._replace(keyframes="")  # then the reader counts from the first frame
    alone = "torchcodec" not in installed_readers()
    if _regular(scan) and (alone or _torchcodec_agrees(found.video(path), scan)):
        found = found._replace(seek="exact")
    return found


def five_positions(num_frames: int) -> list[int]:
    """Frames at which readers are compared; the last is among them."""
    last = num_frames - 1
    return sorted({last * i // 4 for i in range(5)})


def sequential(video: Video, wanted: Sequence[int]) -> Iterator[np.ndarray]:
    """Frames by a plain sequential decode, the definition of frame k: (h, w, 3) uint8, upright; `wanted` rises."""
    to_rgb, waiting = RGB(video.height, video.width, video.rotation), iter(wanted)
    target = next(waiting, -1)
    with av.open(video.path) as container:
        for number, frame in enumerate(container.decode(_stream(video.path, container))):
            if number == target:
                yield to_rgb(frame)
                target = next(waiting, -1)


def _scan(path: str) -> _Scan:
    stamps: list[int | None] = []
    sums: list[int] = []
    keys: list[int] = []
    shapes: set[tuple[int, int]] = set()
    first: VideoFrame | None = None
    with av.open(path) as container:
        stream = _stream(path, container)
        for number, frame in enumerate(container.decode(stream)):
            first = first or frame
            stamps.append(frame.pts)
            sums.append(_checksum(frame))
            shapes.add((frame.height, frame.width))
            if frame.key_frame:
                keys.append(number)
        if first is None:
            raise ReadError(path, "no frame of it")
        return _Scan(
            stamps=stamps,
            sums=sums,
            keys=keys,
            shapes=shapes,
            first=first,
            stream=stream.index,
            codec=stream.codec_context.name,
            rate=stream.average_rate or stream.guessed_rate,
            tick=stream.time_base,
        )


def _stream(path: str, container: InputContainer) -> VideoStream:
    stream = open_stream(container)
    if stream is None:
        raise ReadError(path, "no video stream in it")
    return stream


def _checksum(frame: VideoFrame) -> int:
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    # the end of a line is padding of no fixed content
    return zlib.crc32(rows[:, : min(plane.line_size, plane.width)].tobytes())


def _verified_keys(path: str, scan: _Scan) -> list[tuple[int, int]]:
    """Key frames at which a jump gives every frame up to the next key frame as the sequential decode did."""
    stamps = [stamp for stamp in scan.stamps if stamp is not None]
    if len(set(stamps)) < len(scan.stamps):
        return []
    stops = [*scan.keys, len(stamps)]
    verified: list[tuple[int, int]] = [(0, stamps[0])]
    with av.open(path) as container:
        stream = _stream(path, container)
        for start, stop in itertools.pairwise(stops):
            if start > 0 and stamps[start] > verified[-1][1] and _lands(container, stream, scan, start, stop):
                verified.append((start, stamps[start]))
    return verified


def _lands(container: InputContainer, stream: VideoStream, scan: _Scan, start: int, stop: int) -> bool:
    stamp = scan.stamps[start]
    assert stamp is not None
    try:
        container.seek(stamp, stream=stream, backward=True)
        frames = itertools.islice(container.decode(stream), stop - start)
        got = [(frame.pts, _checksum(frame)) for frame in frames]
    except FFmpegError:  # a place that cannot be jumped to is what is being found out
        return False
    return got == list(zip(scan.stamps[start:stop], scan.sums[start:stop], strict=True))


def _same_as_sequential(video: Video, positions: list[int]) -> bool:
    truth = np.stack(list(sequential(video, positions)))
    singly = np.concatenate([read_pyav(video, [k]) for k in positions])
    return np.array_equal(read_pyav(video, positions), truth) and np.array_equal(singly, truth)


def _regular(scan: _Scan) -> bool:
    """Whether time stamps rise by one frame from 0, up to one tick of rounding, and the picture keeps its size."""
    if scan.rate is None or scan.tick is None or len(scan.shapes) > 1:
        return False
    per_tick = scan.rate * scan.tick
    return scan.stamps[0] == 0 and all(
        stamp is not None and abs(stamp * per_tick - k) <= min(per_tick, Fraction(1, 4))
        for k, stamp in enumerate(scan.stamps)
    )


def _torchcodec_agrees(video: Video, scan: _Scan) -> bool:
    positions = five_positions(video.num_frames)
    if scan.codec not in _FIXED_BY_STANDARD:
        positions = list(range(video.num_frames))
    equal = scan.first.format.name in _EIGHT_BIT_420
    truth = sequential(video, positions)
    for at in range(0, len(positions), _CHUNK):
        chunk = positions[at : at + _CHUNK]
        expected = torch.from_numpy(np.stack(list(itertools.islice(truth, len(chunk))))).permute(0, 3, 1, 2)
        try:
            got = read_torchcodec(video, chunk)
        except ReadError:  # whether torchcodec can read it is what is being found out
            return False
        if not (torch.equal(got, expected) if equal else _close(got, expected)):
            return False
    return True


def _close(got: Tensor, expected: Tensor) -> bool:
    """Within 8 grey levels everywhere, 1 in the mean: conversions of 10-bit and 4:4:4 pictures round differently."""
    if got.shape != expected.shape:
        return False
    difference = (got.int() - expected.int()).abs()
    return bool(difference.max() <= 8) and bool(difference.float().mean() <= 1)


def _digest(path: str) -> tuple[int, str]:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        return file.tell(), digest.hexdigest()

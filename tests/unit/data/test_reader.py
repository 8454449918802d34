"""Frame k is the k-th of a full sequential decode, whichever library reads it and however it gets there."""

import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from support.readers import needs_torchcodec, video_of
from vssl.data.keytable import format_keys, parse_keys
from vssl.data.probe import probe
from vssl.data.reader import RGB, ReadError, Video, choose_backend, installed_readers, read
from vssl.errors import UserError

# closed and open groups of pictures, intra-only, and MPEG-4 with B-frames in AVI
CODECS = {
    "h264.mp4": {"codec": "libx264", "g": "12", "bf": "2"},
    "open.mkv": {"codec": "libx264", "x264-params": "keyint=10:min-keyint=10:open-gop=1:bframes=3:scenecut=0"},
    "intra.mp4": {"codec": "libx264", "g": "1"},
    "mpeg4.avi": {"codec": "mpeg4", "g": "12", "bf": "2", "qscale": "2"},
    "mpeg4.mp4": {"codec": "mpeg4", "g": "15", "bf": "0", "qscale": "2"},
}


def index_sets(num_frames: int, seed: int = 0) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    sizes = [1, 2, min(8, num_frames), min(16, num_frames)]
    sets = [np.sort(rng.choice(num_frames, min(size, num_frames), replace=False)) for size in sizes]
    ends = [[0], [num_frames - 1], sorted({0, num_frames - 1}), [*range(max(0, num_frames - 5), num_frames)]]
    return [torch.tensor(indices, dtype=torch.int64) for indices in [*map(list, sets), *ends]]


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("backend", ["pyav", "torchcodec"])
def test_the_drawn_frame_number_is_the_index(name, backend, tmp_path, numbered):
    if backend == "torchcodec" and backend not in installed_readers():
        pytest.skip("torchcodec does not load")
    encode, number_shown = numbered
    video = video_of(encode(tmp_path / name, 61, **CODECS[name]))
    assert video.num_frames == 61
    for indices in index_sets(61):
        frames = read(video, indices, backend)
        assert frames.shape == (len(indices), 3, 32, 160)
        assert frames.dtype == torch.uint8
        assert [number_shown(frame.permute(1, 2, 0).numpy()) for frame in frames] == indices.tolist()


def test_every_kind_of_clip_has_its_key_frames_found(tmp_path, numbered):
    encode, _ = numbered
    keys = {name: probe(str(encode(tmp_path / name, 61, **CODECS[name]))).keyframes for name in CODECS}
    assert [len(parse_keys(text)[0]) for text in keys.values()] == [6, 7, 61, 6, 5]
    assert keys["intra.mp4"] == "0:0:1:512:61"


def test_reading_late_frames_does_not_decode_the_early_ones(tmp_path, numbered):
    encode, number_shown = numbered
    path = encode(tmp_path / "h264.mp4", 61, **CODECS["h264.mp4"])
    video = video_of(path)
    spoil_packets(path, range(1, 12))
    frames = read(video, torch.tensor([40, 60]))
    assert [number_shown(frame.permute(1, 2, 0).numpy()) for frame in frames] == [40, 60]
    with pytest.raises(ReadError, match="pyav: Invalid data"):
        read(video._replace(keyframes=""), torch.tensor([40, 60]))  # this one counts from the start


def spoil_packets(path: Path, which: range) -> None:
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    raw = bytearray(path.read_bytes())
    for number in which:
        start, size = places[number]
        raw[start : start + size] = b"\xff" * size
    path.write_bytes(raw)


def test_only_the_frames_asked_for_are_converted(tmp_path, numbered, monkeypatch):
    encode, _ = numbered
    video = video_of(encode(tmp_path / "h264.mp4", 61, **CODECS["h264.mp4"]))
    converted = []
    true_call = RGB.__call__
    monkeypatch.setattr(RGB, "__call__", lambda self, frame: converted.append(frame.pts) or true_call(self, frame))
    read(video, torch.tensor([3, 30, 60]))
    assert converted == [3 * 512, 30 * 512, 60 * 512]


@needs_torchcodec
def test_torchcodec_failures_are_read_errors(tmp_path):
    path = tmp_path / "no.mp4"
    path.write_bytes(b"nothing")
    with pytest.raises(ReadError, match=r"no\.mp4: torchcodec: "):
        read(Video(str(path), 10, 8, 8, 0, 0, "exact", ""), torch.tensor([0]), "torchcodec")


def test_a_file_replaced_after_indexing_is_an_error_not_other_frames(tmp_path, numbered):
    encode, _ = numbered
    path = encode(tmp_path / "h264.mp4", 61, **CODECS["h264.mp4"])
    video = video_of(path)
    shutil.copy(encode(tmp_path / "short.mp4", 30, codec="libx264", g="7"), path)
    with pytest.raises(ReadError, match="ends after 30 frames; 61 were indexed"):
        read(video._replace(keyframes=""), torch.tensor([60]))
    with pytest.raises(ReadError, match="is not where it was"):
        read(video, torch.tensor([20]))
    path.unlink()
    with pytest.raises(ReadError, match="No such file"):
        read(video, torch.tensor([0]))


def test_a_missing_stream_is_an_error(tmp_path, numbered):
    encode, _ = numbered
    video = video_of(encode(tmp_path / "h264.mp4", 5, **CODECS["h264.mp4"]))
    with pytest.raises(ReadError, match="stream 3"):
        read(video._replace(stream=3), torch.tensor([0]))


@pytest.mark.parametrize("indices", [[3, 2], [2, 2], [-1, 2], [4, 5]])
def test_indices_must_rise_and_lie_inside(indices):
    with pytest.raises(AssertionError):
        read(Video("x", 5, 8, 8, 0, 0, "count", ""), torch.tensor(indices))


@given(st.sets(st.integers(0, 300)), st.integers(1, 1001), st.integers(-5, 5))
def test_key_tables_survive_text(frames, tick, offset):
    keys = [(frame, frame * tick + offset) for frame in sorted(frames)]
    assert [*zip(*parse_keys(format_keys(keys)), strict=True)] == keys


def test_regular_key_tables_are_short():
    assert format_keys([(k, 512 * k) for k in range(300)]) == "0:0:1:512:300"
    assert format_keys([(0, 0), (12, 12), (16, 16), (28, 28), (40, 40)]) == "0:0 12:12 16:16:12:12:3"
    assert format_keys([]) == ""


class FakeManifest:
    path = Path("m.csv")

    def __init__(self, *readers: str) -> None:
        self.info = {"readers": dict.fromkeys(readers, "1")}


@pytest.mark.parametrize(
    ("loads", "verified", "setting", "expected"),
    [
        (True, True, "auto", ("torchcodec", "auto")),
        (True, True, "torchcodec", ("torchcodec", "as set")),
        (True, True, "pyav", ("pyav", "as set")),
        (True, False, "auto", ("pyav", "indexed without torchcodec")),
        (False, True, "auto", ("pyav", "does not load")),
        (False, True, "torchcodec", "Install vssl"),
        (True, False, "torchcodec", "Index it again"),
    ],
)
def test_choosing_a_reader_says_what_was_taken(loads, verified, setting, expected, monkeypatch):
    installed = {"pyav": "1"} | ({"torchcodec": "1"} if loads else {})
    monkeypatch.setattr("vssl.data.reader.installed_readers", lambda: installed)
    manifest = FakeManifest("pyav", *(["torchcodec"] if verified else []))
    if isinstance(expected, str):
        with pytest.raises(UserError, match=expected):
            choose_backend(setting, manifest)
    else:
        backend, message = choose_backend(setting, manifest)
        assert backend == expected[0]
        assert expected[1] in message

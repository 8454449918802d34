"""One file decoded from end to end: what it is and how it may be read."""

import shutil

import av
import numpy as np
import pytest

from vssl.data import probe as probing
from vssl.data.probe import Probe, five_positions, probe

H264 = {"codec": "libx264", "g": "12", "bf": "2"}


def test_probe_of_an_ordinary_file(tmp_path, numbered):
    encode, _ = numbered
    found = probe(str(encode(tmp_path / "x.mp4", 31, **H264)))
    assert found == Probe(
        num_frames=31,
        fps=25.0,
        height=32,
        width=160,
        codec="h264",
        seek="exact",
        keyframes="0:0:12:6144:3",
        bytes=(tmp_path / "x.mp4").stat().st_size,
        blake2=found.blake2,
    )
    assert len(found.blake2) == 32


def test_without_torchcodec_regular_time_stamps_are_enough(tmp_path, numbered, monkeypatch):
    encode, _ = numbered
    path = encode(tmp_path / "x.mp4", 5, **H264)
    monkeypatch.setattr(probing, "installed_readers", lambda: {"pyav": "1"})
    assert probe(str(path)).seek == "exact"
    monkeypatch.setattr(probing, "_regular", lambda _: False)
    assert probe(str(path)).seek == "count"


def test_a_reader_that_disagrees_in_one_frame_makes_the_file_counted(tmp_path, numbered, monkeypatch):
    encode, _ = numbered
    path = encode(tmp_path / "x.mp4", 21, **H264)
    monkeypatch.setattr(probing, "installed_readers", lambda: {"pyav": "1", "torchcodec": "1"})

    def reader_wrong_at(place):
        def read(video, wanted):
            frames = probing.torch.from_numpy(probing.read_pyav(video, wanted)).permute(0, 3, 1, 2)
            for row, number in enumerate(wanted):
                frames[row] ^= int(number == place)
            return frames

        return read

    for place, seek in ((20, "count"), (5, "count"), (7, "exact")):  # 7 is none of the five positions
        monkeypatch.setattr(probing, "read_torchcodec", reader_wrong_at(place))
        assert (place, probe(str(path)).seek) == (place, seek)
    # MPEG-4 leaves the last bit open, so there every frame is compared
    path = encode(tmp_path / "x.avi", 21, codec="mpeg4", g="12")
    assert probe(str(path)).seek == "count"


def test_a_key_frame_that_a_jump_does_not_reach_is_left_out(tmp_path, numbered, monkeypatch):
    encode, _ = numbered
    path = encode(tmp_path / "x.mp4", 31, **H264)
    true_lands = probing._lands
    monkeypatch.setattr(probing, "_lands", lambda *args: args[3] != 12 and true_lands(*args))
    assert probe(str(path)).keyframes == "0:0 24:12288"


def test_wrong_checksums_are_seen_by_the_key_check(tmp_path, numbered):
    encode, _ = numbered
    path = str(encode(tmp_path / "x.mp4", 31, **H264))
    scan = probing._scan(path)
    assert [key for key, _ in probing._verified_keys(path, scan)] == [0, 12, 24]
    sums = [*scan.sums]
    sums[17] ^= 1
    assert [key for key, _ in probing._verified_keys(path, scan._replace(sums=sums))] == [0, 24]
    stamps = [*scan.stamps]
    stamps[3] = stamps[4]
    assert probing._verified_keys(path, scan._replace(stamps=stamps)) == []


@pytest.mark.parametrize(
    ("num_frames", "expected"), [(1, [0]), (2, [0, 1]), (5, [0, 1, 2, 3, 4]), (101, [0, 25, 50, 75, 100])]
)
def test_five_positions(num_frames, expected):
    assert five_positions(num_frames) == expected


def test_files_that_are_no_videos_are_told(tmp_path):
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "empty.mp4").touch()
    shutil.copy(tmp_path / "text.mp4", tmp_path / "locked.mp4")
    assert "does not decode: Invalid data" in probe(str(tmp_path / "text.mp4")).error
    assert probe(str(tmp_path / "empty.mp4")).error
    assert probe(str(tmp_path / "none.mp4")).error == "cannot be opened: No such file or directory"


def test_sound_without_pictures_is_bad(tmp_path):
    path = str(tmp_path / "sound.mp4")
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert probe(path).error == "does not decode: no video stream in it"

"""The readers on the 90 real clips and the odd files, against a decode written without anything of vssl."""

import pickle
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from support.readers import needs_torchcodec, video_of
from vssl.data.probe import probe
from vssl.data.reader import ReadError, Video, installed_readers, read

pytestmark = pytest.mark.real

ODD = {
    "av1_video.mkv": ((125, 360, 640), "exact"),
    "bt709_full_range.mp4": ((30, 720, 1280), "exact"),
    "flipping_a_pancake.mkv": ((310, 240, 426), "exact"),
    "h264_10bits.mp4": ((30, 200, 200), None),
    "h265_video.mp4": ((10, 128, 128), "exact"),
    "kinetics_like_28fps.mp4": ((280, 256, 340), "exact"),
    "nasa_13013.mp4": ((390, 270, 480), "exact"),
    "unordered.mov": ((4, 50, 50), "exact"),
    "video_180.mov": ((3, 320, 568), "exact"),
    "video_90.mov": ((3, 568, 320), "exact"),
}


def plain_decode(path: Path) -> np.ndarray:
    """The definition, written without anything of vssl: (n, h, w, 3)."""
    with av.open(str(path)) as container:
        frames = [
            np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
            for frame in container.decode(container.streams.best("video"))
        ]
    return np.stack(frames)


def index_sets(num_frames: int, seed: int = 0) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    sizes = [1, 2, min(8, num_frames), min(16, num_frames)]
    sets = [np.sort(rng.choice(num_frames, min(size, num_frames), replace=False)) for size in sizes]
    ends = [[0], [num_frames - 1], sorted({0, num_frames - 1}), [*range(max(0, num_frames - 5), num_frames)]]
    return [torch.tensor(indices, dtype=torch.int64) for indices in [*map(list, sets), *ends]]


def assert_same_rows(video: Video, truth: np.ndarray, backend: str) -> None:
    expected = torch.from_numpy(truth.copy()).permute(0, 3, 1, 2)
    for indices in index_sets(len(truth)):
        assert torch.equal(read(video, indices, backend), expected[indices]), (video.path, backend, indices)


def naive_read(path: Path, k: int) -> np.ndarray:
    """What one writes first: seek to the time of frame k, decode until a frame says it is at that time or later."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stamp = round(k / stream.average_rate / stream.time_base)
        container.seek(stamp, stream=stream)
        frames = (frame for frame in container.decode(stream) if frame.pts >= stamp)
        return next(frames).to_ndarray(format="rgb24")


@pytest.mark.parametrize("name", ODD)
def test_odd_files(name, real_data):
    shape, seek = ODD[name]
    path = real_data / "odd" / name
    video, truth = video_of(path), plain_decode(path)
    assert (video.num_frames, video.height, video.width) == shape == truth.shape[:3]
    assert seek is None or video.seek == seek
    assert_same_rows(video, truth, "pyav")
    if "torchcodec" in installed_readers() and seek == "exact":
        assert_same_rows(video, truth, "torchcodec")


def test_rotation_is_upright_and_not_the_coded_picture(real_data):
    path = real_data / "odd" / "video_90.mov"
    with av.open(str(path)) as container:
        coded = next(container.decode(video=0)).to_ndarray(format="rgb24")
    upright = read(video_of(path), torch.tensor([0]))[0].permute(1, 2, 0).numpy()
    assert np.array_equal(upright, coded.transpose(1, 0, 2)[:, ::-1])  # a quarter turn clockwise
    assert not np.array_equal(upright, coded.transpose(1, 0, 2)[::-1])


def test_of_two_streams_the_best_is_read(real_data):
    video = video_of(real_data / "odd" / "nasa_13013.mp4")
    assert (video.stream, video.height) == (3, 270)  # not stream 0, 180 lines


def ucf(real_data: Path) -> list[Path]:
    clips = sorted((real_data / "ucf101" / "UCF-101").glob("*/*.avi"))
    assert len(clips) == 90
    return clips


def check_clip(path: Path) -> str:
    """Both readers against the definition; returns how the file may be read."""
    video, truth = video_of(path), plain_decode(path)
    assert (video.num_frames, video.height, video.width) == truth.shape[:3]
    assert_same_rows(video, truth, "pyav")
    if "torchcodec" in installed_readers():
        assert_same_rows(video, truth, "torchcodec")
    return video.seek


def test_a_few_real_clips(real_data):
    assert all(check_clip(path) in ("exact", "count") for path in ucf(real_data)[::11])


@pytest.mark.slow
def test_all_real_clips(real_data):
    seeks = {path.name: check_clip(path) for path in ucf(real_data)}
    shuffled = [path.name for path in ucf(real_data) if stamps_out_of_order(path)]
    assert len(shuffled) == 24
    assert {seeks[name] for name in shuffled} == {"count"}
    assert "exact" in seeks.values()


def stamps_out_of_order(path: Path) -> bool:
    with av.open(str(path)) as container:
        stamps = [frame.pts for frame in container.decode(video=0)]
    return stamps != list(range(len(stamps)))


def test_negative_control_a_reader_that_trusts_time_stamps_is_wrong(real_data):
    path = real_data / "ucf101" / "UCF-101" / "BabyCrawling" / "v_BabyCrawling_g02_c01.avi"
    truth = plain_decode(path)
    wrong = [k for k in range(0, 60, 7) if not np.array_equal(naive_read(path, k), truth[k])]
    assert wrong
    assert_same_rows(video_of(path), truth, "pyav")
    regular = real_data / "ucf101" / "UCF-101" / "Punch" / "v_Punch_g01_c03.avi"
    assert np.array_equal(naive_read(regular, 20), plain_decode(regular)[20])


@needs_torchcodec
def test_negative_control_torchcodec_is_wrong_where_the_index_says_count(real_data):
    path = real_data / "ucf101" / "UCF-101" / "BabyCrawling" / "v_BabyCrawling_g02_c01.avi"
    video, truth = video_of(path), plain_decode(path)
    assert video.seek == "count"
    trusting = video._replace(seek="exact")
    got = read(trusting, torch.tensor([20]), "torchcodec")[0].permute(1, 2, 0).numpy()
    assert not np.array_equal(got, truth[20])


def test_a_file_that_does_not_decode_says_so(real_data):
    path = str(real_data / "odd" / "corrupted.mp4")
    assert "does not decode: Invalid data" in probe(path).error
    video = Video(path, 30, 720, 1280, 0, 0, "count", "")
    with pytest.raises(ReadError, match=r"corrupted.mp4: pyav: .*Invalid data") as caught:
        read(video, torch.tensor([29]))  # the first 28 decode
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.path, again.reason, str(again)) == (path, caught.value.reason, str(caught.value))

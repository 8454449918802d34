"""The toy world: same bytes everywhere, independent factors, files that tell nothing but their pixels."""

import hashlib
import itertools
import subprocess
import sys
from collections import Counter

import av
import numpy as np
import pytest

from vssl.data.manifest import Manifest
from vssl.data.manifest_file import PROBED
from vssl.data.toy import columns, generate, jobs
from vssl.data.toy_factors import BACKGROUNDS, COLOURS, DRIFTS, MOTIONS, TEXTURES, Draws, factors, mixes
from vssl.data.toy_render import render
from vssl.data.toy_video import AVI, CODECS, INTRA, ORDINARY, job_json, make, planes, write
from vssl.errors import UserError

# The generator is frozen: methods are tuned on it. A change here is a commit of its own, with its reason and every
# baseline run again.
GOLDEN = "2b5d2477c6635866bb7bee1e99784a37"
NUM_VIDEOS = 12
SHOWN = [*range(0, 136, 17), 5, 959, 1_000_003]


def digest(seed, numbers):
    total = hashlib.blake2b(digest_size=16)
    for nuisance, number in itertools.product(("constant", "redrawn"), numbers):
        frames = render(number, seed=seed, nuisance=nuisance)
        total.update(frames.tobytes())
        total.update(planes(frames).tobytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("toy") / "world", NUM_VIDEOS, nuisance="redrawn")


def test_frames_are_the_frozen_ones():
    assert digest(0, SHOWN) == GOLDEN
    assert digest(1, SHOWN) != GOLDEN


def test_the_frozen_videos_show_every_value():
    videos = [factors(number, seed=0, nuisance="constant") for number in SHOWN]
    assert {video.shape for video in videos} == {video.motion for video in videos} == set(range(8))
    assert {video.speed for video in videos} == set(range(3))
    assert {len(video.shots) for video in videos} == {1, 2}
    shots = [shot for number in SHOWN for shot in factors(number, seed=0, nuisance="redrawn").shots]
    for place, values in enumerate((COLOURS, TEXTURES, BACKGROUNDS, DRIFTS)):
        assert {shot.mix[place] for shot in shots} == set(range(len(values)))


@pytest.mark.parametrize("nuisance", ["constant", "redrawn"])
def test_factors_are_balanced_and_independent(nuisance):
    videos = [factors(number, seed=3, nuisance=nuisance) for number in range(960)]
    cells = Counter((video.shape, video.motion, video.speed, video.split) for video in videos)
    assert len(cells) == 8 * 8 * 3 * 2
    assert {(cell[-1], count) for cell, count in cells.items()} == {("train", 3), ("test", 2)}
    for split in ("train", "test"):
        first = [video.shots[0].mix for video in videos if video.split == split]
        for place in range(3):
            assert len(set(Counter(mix[place] for mix in first).values())) == 1
        assert Counter(mix[:3] for mix in first).keys() == set(mixes(split))
    drifts = Counter(video.shots[0].mix.drift for video in videos)
    assert set(drifts.values()) == {320}
    for of_video, of_mix in itertools.product(("shape", "motion", "speed"), range(4)):
        table = Counter((getattr(video, of_video), video.shots[0].mix[of_mix]) for video in videos)
        rows, columns = (len({pair[side] for pair in table}) for side in range(2))
        expected = 960 / rows / columns
        chi2 = sum((table[a, b] - expected) ** 2 / expected for a, b in itertools.product(range(rows), range(columns)))
        freedom = (rows - 1) * (columns - 1)
        # 5 standard deviations of chi-squared
        assert chi2 < freedom + 5 * (2 * freedom) ** 0.5


def test_train_and_test_share_values_but_no_mix():
    train, test = mixes("train"), mixes("test")
    assert not set(train) & set(test)
    assert len(train) + len(test) == len(COLOURS) * len(TEXTURES) * len(BACKGROUNDS)
    for place in range(3):
        counts = Counter(mix[place] for mix in train), Counter(mix[place] for mix in test)
        assert all(counts[0][value] == 3 * counts[1][value] for value in counts[0])
    for number in range(200):
        video = factors(number, seed=0, nuisance="redrawn")
        assert all(tuple(shot.mix[:3]) in (test if video.split == "test" else train) for shot in video.shots)


def test_shots():
    redrawn = factors(5, seed=0, nuisance="redrawn").shots
    assert [shot.first for shot in redrawn] == list(range(0, 48, 6))
    assert len({shot.mix[:3] for shot in redrawn}) > 1
    constant = [factors(number, seed=0, nuisance="constant").shots for number in range(800)]
    cut = [shots for shots in constant if len(shots) == 2]
    assert len(cut) == 100
    assert all(one.mix == two.mix and one.look == two.look and 16 <= two.first <= 32 for one, two in cut)


@pytest.mark.parametrize(("motion", "axis", "step"), [("left", 2, -9), ("right", 2, 9), ("up", 1, -9), ("down", 1, 9)])
def test_objects_move_as_labelled(motion, axis, step):
    number = next(
        n
        for n in range(960)
        if (video := factors(n, seed=0, nuisance="constant")).motion == MOTIONS.index(motion)
        and video.speed == 2
        and len(video.shots) == 1
    )
    # brighter than any background and distractor
    bright = render(number).max(-1) > 165

    def overlap(shift):
        moved = np.roll(bright[:-4], shift, axis)
        return (moved & bright[4:]).sum() / (moved | bright[4:]).sum()

    # 4 frames at 2.25 pixels a frame
    assert overlap(step) > 0.8
    assert overlap(-step) < 0.3


def test_draws_are_uniform_and_on_the_grid():
    draws = Draws(0, "pose", 0)
    values = [draws.between(-1.0, 3.0) for _ in range(2000)]
    assert all(value * 2**20 == round(value * 2**20) and -1 <= value < 3 for value in values)
    assert abs(np.mean(values) - 1.0) < 0.15
    assert set(Counter(draws.below(6) for _ in range(600))) == set(range(6))
    assert sorted(draws.permutation(48)) == list(range(48)) != draws.permutation(48)


def test_the_manifest_tells_every_factor(world):
    manifest = Manifest.load(world)
    listed = jobs(NUM_VIDEOS)
    assert len(manifest) == len(listed) == NUM_VIDEOS + 2
    for row, job in enumerate(listed):
        for name, value in columns(job, seed=0, nuisance="redrawn").items():
            assert manifest.table[name][row].as_py() == value
    assert set(manifest.table.column_names) == {*columns(listed[0], seed=0, nuisance="redrawn"), *PROBED}
    assert manifest.labels("label")[1] == manifest.labels("shape")[1]
    assert manifest.meta(0).cuts == tuple(range(6, 48, 6))
    assert manifest.meta(0).num_frames == 48
    assert manifest.meta(0).fps == 25
    assert len(manifest.rows(1, "train")) == 7
    assert len(manifest.rows(1, "test")) == 5
    assert manifest.table["codec"].to_pylist() == ["h264"] * (NUM_VIDEOS + 1) + ["mpeg4"]
    assert manifest.info["bad"] == []


def test_files_depend_neither_on_the_process_nor_on_the_number_of_videos(world, tmp_path):
    for job in jobs(3)[:3]:
        assert make(job_json(job, folder=tmp_path, seed=0, nuisance="redrawn")) == ""
        assert (tmp_path / job.name).read_bytes() == (world.parent / "videos" / job.name).read_bytes()
    other = jobs(1)[0]
    make(job_json(other, folder=tmp_path, seed=1, nuisance="redrawn"))
    assert (tmp_path / other.name).read_bytes() != (world.parent / "videos" / other.name).read_bytes()


def decoded(path):
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return np.stack([frame.to_ndarray() for frame in frames]), [frame.key_frame for frame in frames]


@pytest.mark.parametrize("nuisance", ["constant", "redrawn"])
def test_intra_files_are_near_lossless_and_no_frame_tells_its_place(tmp_path, nuisance):
    errors = []
    for codec in (INTRA, ORDINARY):
        errors.append(np.zeros(48))
        for number in range(0, 960, 97):
            frames = planes(render(number, nuisance=nuisance))
            write(tmp_path / "x.mp4", frames=frames, codec=codec)
            got, keys = decoded(tmp_path / "x.mp4")
            assert all(keys) == (codec is INTRA)
            errors[-1] += ((got.astype(float) - frames) ** 2).mean((1, 2)) / 10
    psnr = 10 * np.log10(255**2 / errors[0])
    assert psnr.min() > 45
    # key frames every 12: an ordinary file's error betrays them, an intra file's does not
    intra, ordinary = (error[::12].mean() / error.mean() for error in errors)
    assert 0.9 < intra < 1.1
    assert ordinary < 0.85


def test_avi_is_ordinary_mpeg4(tmp_path):
    write(tmp_path / "x.avi", frames=planes(render(0)), codec=AVI)
    got, keys = decoded(tmp_path / "x.avi")
    assert len(got) == 48
    assert sum(keys) == 4


def test_planes_are_what_ffmpeg_turns_back():
    # 2x2 blocks of one colour: nothing is lost to the subsampling
    blocks = np.repeat(np.repeat(render(5)[:, ::2, ::2], 2, 1), 2, 2)
    back = np.stack([av.VideoFrame.from_ndarray(f, "yuv420p").to_ndarray(format="rgb24") for f in planes(blocks)])
    assert abs(back.astype(int) - blocks)[:, 2:-2, 2:-2].mean() < 3


def test_a_second_call_makes_only_what_is_missing(world):
    folder = world.parent / "videos"
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    written = world.stat().st_mtime_ns
    assert generate(world.parent, NUM_VIDEOS, nuisance="redrawn") == world
    assert world.stat().st_mtime_ns == written

    # a killed call: some files, a half-written one, no manifest
    content = world.read_bytes()
    lost = folder / "000004.mp4"
    lost.unlink()
    (folder / ".1.000004.mp4").write_bytes(b"half")
    world.unlink()
    generate(world.parent, NUM_VIDEOS, nuisance="redrawn")
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    assert world.read_bytes() == content
    assert {path: both[1] for path, both in after.items()} == {path: both[1] for path, both in before.items()}
    assert [path for path in before if before[path][0] != after[path][0]] == [lost]


@pytest.mark.parametrize("other", [{"seed": 1}, {"num_videos": NUM_VIDEOS + 1}, {"nuisance": "constant"}])
def test_another_world_in_the_same_folder_is_refused(world, other):
    same = {"num_videos": NUM_VIDEOS, "nuisance": "redrawn"}
    assert generate(world.parent, **same) == world
    with pytest.raises(UserError, match="another toy world"):
        generate(world.parent, **{**same, **other})


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "manifest.csv").write_text("path,label\n")
    with pytest.raises(UserError, match="not empty"):
        generate(tmp_path, 2)
    assert (tmp_path / "manifest.csv").read_text() == "path,label\n"


@pytest.mark.parametrize("wrong", [{"num_videos": 0}, {"num_videos": 1_000_000}, {"seed": -1}, {"workers": -1}])
def test_arguments_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(UserError, match=str(next(iter(wrong.values())))):
        generate(tmp_path / "world", **wrong)
    assert not (tmp_path / "world").exists()


def test_a_file_that_cannot_be_written_says_so(tmp_path):
    blocked = tmp_path / "000000.mp4"
    blocked.mkdir()
    job = jobs(1)[0]
    assert "directory" in make(job_json(job, folder=tmp_path, seed=0, nuisance="constant"))


def test_child_processes_do_not_load_torch():
    code = "import vssl.data.toy_video, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_extra_codecs_run_through_all_values():
    extra = [job for job in jobs(960) if job.codec != "intra"]
    assert {job.codec for job in extra} == set(CODECS) - {"intra"}
    for codec in set(CODECS) - {"intra"}:
        said = [columns(job, seed=0, nuisance="constant") for job in extra if job.codec == codec]
        assert len(said) == 48
        assert {row["split1"] for row in said} == {"unused"}
        assert set(Counter(row["shape"] for row in said).values()) == {6}
        assert set(Counter(row["motion"] for row in said).values()) == {6}
        assert set(Counter(row["speed"] for row in said).values()) == {16}

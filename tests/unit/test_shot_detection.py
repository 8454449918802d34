"""Shot boundaries: VIVI check 12, the rule against a NumPy loop, encoded clips with true cuts, the command."""

import json

import numpy as np
import pytest

from support.cli import in_process, refused
from vssl.data.manifest import Manifest
from vssl.data.shots import Rule, cuts_of, distances, find_shots, histogram, histograms
from vssl.data.toy import generate
from vssl.data.toy_factors import factors
from vssl.data.toy_video import CODECS, planes, write
from vssl.errors import UserError


def flat(*colour):
    return np.full((16, 24, 3), colour, np.uint8)


PLAIN = Rule()
RED_BLUE = [flat(220, 10, 10)] * 50 + [flat(10, 10, 220)] * 50


def cuts(frames, rule=PLAIN):
    return cuts_of(histograms(frames), rule).tolist()


def test_red_then_blue_is_one_boundary():
    change = distances(histograms(RED_BLUE))
    assert change[49] == 2.0
    assert np.delete(change, 49).max() == 0.0
    assert cuts(RED_BLUE) == [50]


def textured(brightness):
    texture = np.random.default_rng(0).integers(60, 160, size=(48, 64, 3))
    return np.clip(texture * brightness, 0, 255).astype(np.uint8)


def test_a_slow_ramp_of_brightness_is_no_boundary():
    slow = [textured(b) for b in np.linspace(0.4, 1.6, 100)]
    assert cuts(slow) == []
    assert np.abs(histogram(slow[0]) - histogram(slow[-1])).sum() > 1.9  # the ends differ as much as a cut
    assert cuts(slow[50:] + slow[:50]) == [50]  # and a jump back is one


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_a_flash_is_no_boundary_unless_it_lasts(length):
    frames = [flat(20, 20, 20)] * 30 + [flat(250, 250, 250)] * length + [flat(20, 20, 20)] * 30
    assert cuts(frames, Rule(min_frames=4)) == ([] if length < 4 else [30, 34])
    assert cuts(frames, Rule(min_frames=1, flash_frames=0)) == [30, 30 + length]


def test_a_flicker_is_no_boundary_because_of_the_local_median():
    flicker = [flat(220, 10, 10), flat(10, 10, 220)] * 30
    rule = Rule(flash_frames=0)
    assert (distances(histograms(flicker)) == 2.0).all()
    assert cuts(flicker, rule) == []
    assert len(cuts(flicker, rule._replace(ratio=0.5))) > 0


def blended(change):
    """Frames between two colours whose histograms are so far from each other."""
    level, shares = 0.0, [[1.0, 0.0]]
    for d in change:
        level = level + d / 2 if level + d / 2 <= 1 else level - d / 2
        shares.append([1 - level, level])
    return np.pad(np.array(shares), ((0, 0), (0, 62)))


def test_shortest_shot_keeps_the_larger_change():
    change = np.zeros(99)
    change[[3, 40, 44, 60, 95]] = [1.9, 1.2, 1.8, 1.1, 1.9]
    shares, plain = blended(change), Rule(flash_frames=0)
    np.testing.assert_allclose(distances(shares), change, atol=1e-12)
    assert cuts_of(shares, plain).tolist() == [45, 61]  # near an end, or near a larger change: dropped
    assert cuts_of(shares, plain._replace(min_frames=1)).tolist() == [4, 41, 45, 61, 96]
    assert cuts_of(shares, plain._replace(threshold=1.5, min_frames=1)).tolist() == [4, 45, 96]
    assert cuts_of(shares[:1]).tolist() == cuts_of(shares[:0]).tolist() == []


def test_equals_a_loop_over_frames():
    shares = np.random.default_rng(1).random((300, 64)) ** 12
    shares /= shares.sum(-1, keepdims=True)
    rule, far = Rule(1.3, 1.05, 1, 2), lambda a, b: np.abs(shares[a] - shares[b]).sum()
    change, expected = [far(t, t + 1) for t in range(299)], []
    for t, d in enumerate(change):
        near = [change[s] for s in range(max(0, t - 12), min(299, t + 13)) if s != t]
        if d > 1.3 and far(max(0, t - 2), min(299, t + 3)) > 1.3 and d > 1.05 * np.median(near):
            expected.append(t + 1)
    assert cuts_of(shares, rule).tolist() == expected
    assert 10 < len(expected) < 290


def test_histogram_counts_pixels():
    frame = np.random.default_rng(2).integers(0, 256, size=(9, 7, 3), dtype=np.uint8)
    counts = np.zeros((4, 4, 4))
    for red, green, blue in frame.reshape(-1, 3):
        counts[red // 64, green // 64, blue // 64] += 1
    np.testing.assert_allclose(histogram(frame), counts.ravel() / 63)


@pytest.fixture
def folder(tmp_path, capfd):
    """Encoded clips with one, two and no true cuts, one file that will be truncated, one that never decoded."""
    colours = [(220, 10, 10), (10, 10, 220), (20, 200, 20)]
    clips = {"none": [30], "one": [20, 12], "two": [12, 25, 11], "cut_off": [20, 20]}
    root = tmp_path / "videos" / "clips"
    root.mkdir(parents=True)
    for name, lengths in clips.items():
        frames = [np.full((48, 48, 3), c, np.uint8) for c, n in zip(colours, lengths, strict=False) for _ in range(n)]
        write(root / f"{name}.mp4", frames=planes(np.stack(frames)), codec=CODECS["ordinary"])
    (root / "bad.mp4").write_bytes(b"no video")
    done = in_process(
        capfd, "data", "index", root.parent, "--dataset", "folder", "--out", tmp_path / "m.csv", "--workers", "1"
    )
    assert done.returncode == 0
    return tmp_path


@pytest.mark.slow
def test_the_command_finds_the_true_cuts_of_encoded_clips(folder, capfd):
    manifest = folder / "m.csv"
    before = Manifest.load(manifest)
    assert before.meta(0).cuts is None  # never searched
    (folder / "videos" / "clips" / "cut_off.mp4").write_bytes(b"\0" * 1000)
    done = in_process(capfd, "data", "shots", manifest, "--workers", "2")
    assert done.returncode == 0
    after = Manifest.load(manifest)
    found = {after.name(row).removeprefix("clips/").removesuffix(".mp4"): after.meta(row).cuts for row in range(5)}
    assert found == {"none": (), "one": (20,), "two": (12, 37), "cut_off": (), "bad": ()}
    assert "videos: 4 searched\nwith at least 2 shots: 2\nwith at least 4 shots: 0\nnot searched: 1\n" in done.stdout
    assert "clips/cut_off.mp4: does not decode" in done.stdout

    # everything else stays, and the hash says that the CSV is another one
    kept = [name for name in before.table.column_names if name != "cuts"]
    assert after.table.select(kept).equals(before.table.select(kept))
    assert after.info["content_hash"] == after.content_hash != before.content_hash
    assert {k: v for k, v in after.info.items() if k not in ("shots", "content_hash")} == {
        k: v for k, v in before.info.items() if k != "content_hash"
    }
    assert after.info["shots"]["at_least"] == {"2": 2, "4": 0}
    assert not list(folder.glob(".*"))

    again = in_process(capfd, "data", "shots", manifest, "--workers", "1", "--min-frames", "13")
    assert again.returncode == 0
    assert Manifest.load(manifest).table.column_names == after.table.column_names  # replaced, not added
    assert in_process(capfd, "data", "check", manifest, "--workers", "1").returncode == 1  # the truncated file


@pytest.mark.slow
def test_toy_worlds_true_cuts(tmp_path):
    """Coarse bins miss cuts between similar colours, and invent none; the default threshold is for real video."""
    manifest = generate(tmp_path, 24, 0, "redrawn", 1)
    truth = [set(Manifest.load(manifest).meta(row).cuts) for row in range(24)]
    assert all(len(cuts) == 7 for cuts in truth)
    assert truth[0] == {shot.first for shot in factors(0, seed=0, nuisance="redrawn").shots[1:]}
    find_shots(manifest, root=None, rule=Rule(0.3, 3.0, 4), num_workers=1, timeout_s=60.0)
    found = [set(Manifest.load(manifest).meta(row).cuts) for row in range(24)]
    right = sum(len(a & b) for a, b in zip(found, truth, strict=True))
    assert right == sum(map(len, found))
    assert right >= 0.7 * 7 * 24


def test_mistakes_in_one_line(tmp_path, capfd):
    refused(in_process(capfd, "data", "shots", tmp_path / "nowhere.csv"), "nowhere.csv", "no such file")
    refused(in_process(capfd, "data", "shots", "m.csv", "--threshold", "-1"), "--threshold", "-1")
    refused(in_process(capfd, "data", "shots", "m.csv", "--min-frames", "0"), "--min-frames")


def test_a_manifest_without_a_readable_file_is_refused(tmp_path):
    header = "path,group,num_frames,fps,height,width,codec,rotation,stream,seek,keyframes,bytes,blake2"
    (tmp_path / "m.csv").write_text(f'{header}\n"a.mp4","",0,0.0,0,0,"",0,0,"","",0,""\n')
    info = {"format": 1, "dataset": "x", "root": ".", "rows": 1}
    (tmp_path / "m.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match="holds no video that can be read"):
        find_shots(tmp_path / "m.csv", root=None, rule=Rule(), num_workers=1, timeout_s=60.0)


@pytest.mark.real
@pytest.mark.slow
def test_the_real_clips_are_all_one_shot(real_ucf):
    search = {"root": None, "num_workers": 1, "timeout_s": 60.0}
    shots = find_shots(real_ucf, rule=Rule(), **search)
    assert (shots["videos"], shots["at_least"], shots["failed"]) == (90, {"2": 0, "4": 0}, [])
    shots = find_shots(real_ucf, rule=Rule(flash_frames=0), **search)
    manifest = Manifest.load(real_ucf)
    found = {manifest.name(row).rpartition("/")[2]: manifest.meta(row).cuts for row in range(90)}
    assert {name: cuts for name, cuts in found.items() if cuts} == {  # looked at: all three are camera flashes
        "v_Punch_g01_c05.avi": (40,),
        "v_Punch_g04_c01.avi": (17,),
        "v_Punch_g13_c05.avi": (189,),
    }

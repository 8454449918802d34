"""Indexing: each file decoded once in a child process; what is bad loses itself only, and all of it is told."""

import json
import os
import shutil
from pathlib import Path

import pytest

from vssl.data.index import FIRST, build, check, duplicates, prepare_process, say, say_changes
from vssl.data.layouts import OFFICIAL, Listing, folder
from vssl.data.manifest import Manifest
from vssl.data.probe import Probe
from vssl.errors import UserError

H264 = {"codec": "libx264", "g": "12", "bf": "2"}


@pytest.fixture
def videos(tmp_path, numbered) -> Path:
    encode, _ = numbered
    root = tmp_path / "v"
    (root / "run").mkdir(parents=True)
    (root / "jump").mkdir()
    encode(root / "run" / "a.mp4", 13, **H264)
    encode(root / "jump" / "b.avi", 9, codec="mpeg4", g="12")
    shutil.copy(root / "run" / "a.mp4", root / "jump" / "same as a.mp4")
    (root / "run" / "broken.mp4").write_bytes(b"no video")
    return root


@pytest.fixture
def in_process(monkeypatch):
    """Probe without child processes: starting them costs seconds (they import torch)."""

    def run(function, arguments, *, num_workers, timeout_s, prepare):
        assert num_workers >= 1
        assert timeout_s > 0
        assert prepare is prepare_process
        return ((item, function(argument)) for item, argument in reversed(list(enumerate(arguments))))

    monkeypatch.setattr("vssl.data.index.run_isolated", run)


@pytest.mark.usefixtures("in_process")
def test_a_folder_becomes_a_manifest_and_is_checked_again(videos, tmp_path, numbered, capsys):
    out = tmp_path / "m.csv"
    info = build(folder(videos, None, "mine"), out=out, num_workers=2, timeout_s=60.0)
    say(info)
    text = capsys.readouterr().out
    assert info.items() <= json.loads(out.with_suffix(".json").read_text()).items()
    assert info["counts"]["videos"] == {"found": 4, "readable": 3}
    assert info["counts"]["split1 train"] == {"found": 4, "readable": 3}
    broken = {"path": "run/broken.mp4", "reason": "does not decode: Invalid data found when processing input"}
    assert info["bad"] == [broken]
    assert info["duplicates"] == [["jump/same as a.mp4", "run/a.mp4"]]
    assert "videos: 4 found, 3 readable\n" in text
    assert "bad: 1\n  run/broken.mp4: does not decode" in text
    assert "duplicates: 1\n  jump/same as a.mp4 = run/a.mp4\n" in text

    m = Manifest.load(out)
    assert [m.name(row) for row in m.rows(1, "all")] == ["jump/b.avi", "jump/same as a.mp4", "run/a.mp4"]
    assert [m.meta(row).num_frames for row in range(4)] == [9, 13, 13, 0]
    assert m.labels("label")[1] == ["jump", "run"]
    assert m.content()[1] == m.content()[2] != m.content()[0]
    assert check(m, num_workers=2, timeout_s=60.0)[1] == []

    os.unlink(videos / "jump" / "b.avi")
    numbered[0](videos / "run" / "a.mp4", 12, **H264)
    found, changes = check(m, num_workers=2, timeout_s=60.0)
    say(found)
    say_changes(changes)
    assert found == {"bad": [broken], "missing": ["jump/b.avi"], "duplicates": []}
    assert {(change.path, change.column) for change in changes} >= {
        ("run/a.mp4", column) for column in ("num_frames", "bytes", "blake2")
    }
    assert {change.path for change in changes} == {"run/a.mp4"}
    assert "  run/a.mp4: num_frames was 13, is 12\n" in capsys.readouterr().out


@pytest.mark.slow
def test_a_file_that_hangs_is_bad_and_the_others_are_read(videos, tmp_path):
    os.mkfifo(videos / "run" / "hang.mp4")  # reading it never ends
    info = build(folder(videos, None, "mine"), out=tmp_path / "m.csv", num_workers=2, timeout_s=3.0)
    assert info["counts"]["videos"] == {"found": 5, "readable": 3}
    assert info["bad"][1] == {"path": "run/hang.mp4", "reason": "took longer than 3 s"}
    m = Manifest.load(tmp_path / "m.csv")
    assert m.content()[4] == 0
    assert m.meta(4).num_frames == 0


def test_nothing_to_index_and_a_wrong_name_are_errors(tmp_path, videos):
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="holds no video files"):
        build(folder(tmp_path / "none", None, "x"), out=tmp_path / "m.csv", num_workers=1, timeout_s=1.0)
    with pytest.raises(UserError, match=r"m\.txt: a manifest is a \.csv file.*Write .*m\.csv"):
        build(folder(videos, None, "x"), out=tmp_path / "m.txt", num_workers=1, timeout_s=1.0)


def test_counts_that_are_not_the_official_ones_are_said(capsys):
    counts = {
        "videos": {"found": 90, "readable": 89, "official": 13320, "listed": 13320},
        "split1 train": {"found": 3, "readable": 3, "official": 2, "listed": 9},
        "split1 test": {"found": 4, "readable": 4, "official": 4, "listed": 4},
    }
    missing = [f"clip{n}" for n in range(FIRST + 4)]
    say({"counts": counts, "bad": [], "missing": missing, "duplicates": []})
    assert capsys.readouterr().out.splitlines() == [
        "videos: 90 found, 89 readable; NOT the official 13320 (13230 missing)",
        "split1 train: 3 found, 3 readable; NOT the official 2 (1 too many); the split files list 9: THEY ARE NOT "
        "THE OFFICIAL ONES",
        "split1 test: 4 found, 4 readable",
        "missing: 14",
        *(f"  clip{n}" for n in range(FIRST)),
        "  and 4 more",
    ]


def test_only_equal_contents_are_duplicates():
    probes = [Probe(blake2="x"), Probe(blake2="y"), Probe(blake2="x"), Probe(), Probe()]
    assert duplicates(["a", "b", "c", "d", "e"], probes) == [["a", "c"]]


@pytest.mark.usefixtures("in_process")
def test_files_outside_every_official_list_are_named(videos, tmp_path):
    paths = ["jump/b.avi", "run/a.mp4"]
    columns = {"path": paths, "label": ["x", "x"], "group": ["", ""], "split1": ["", "train"], "split2": ["", ""]}
    listing = Listing("d", videos, columns, OFFICIAL["ucf101"] | {}, {}, [], {"bad\\udcff.mp4": "its name"})
    listing = listing._replace(official={"videos": 2})
    info = build(listing, out=tmp_path / "m.csv", num_workers=1, timeout_s=60.0)
    assert info["unlisted"] == ["jump/b.avi"]
    assert info["bad"] == [{"path": "bad\\udcff.mp4", "reason": "its name"}]

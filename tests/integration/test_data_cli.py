"""`vssl data` as it is called: real layouts in, manifests out, errors on one line."""

import itertools
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from vssl.cli.data import main
from vssl.data.manifest import Manifest
from vssl.data.probe import probe
from vssl.data.reader import read
from vssl.errors import UserError


@pytest.mark.real
@pytest.mark.slow
def test_the_real_ucf101_clips(real_data, tmp_path, capsys):
    out = tmp_path / "ucf.csv"
    root, lists = real_data / "ucf101" / "UCF-101", real_data / "splits" / "ucfTrainTestlist"
    arguments = ["index", str(root), "--dataset", "ucf101", "--splits", str(lists), "--out", str(out)]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "videos: 90 found, 90 readable; NOT the official 13320 (13230 missing)\n" in text
    assert "split1 train: 60 found, 60 readable; NOT the official 9537 (9477 missing)\n" in text
    assert "  and 13220 more\n" in text
    info = json.loads(out.with_suffix(".json").read_text())
    assert (info["bad"], info["duplicates"], len(info["missing"])) == ([], [], 13230)

    m = Manifest.load(out)
    assert len(m) == len(m.rows(1, "all")) == 90
    assert m.labels("label")[1] == ["BabyCrawling", "Punch", "PushUps"]
    groups, train, test = m.groups(), m.rows(1, "train"), m.rows(1, "test")
    assert (len(train), len(test), len(np.unique(groups))) == (60, 30, 45)
    assert not set(groups[train]) & set(groups[test])
    assert set(groups[m.rows(2, "test")]) <= set(groups[train])  # the leak that evaluation must refuse
    assert main(["check", str(out)]) == 0
    assert "90 files checked: as stored" in capsys.readouterr().out


def hmdb_folder(real_data: Path, root: Path) -> list[str]:
    """Odd clips under official names, each special character among them; one clip stands for several names."""
    lists = real_data / "splits" / "testTrainMulti_7030_splits"
    names = [
        f"{file.name.removesuffix('_test_split1.txt')}/{line.split()[0]}"
        for file in sorted(lists.glob("*_test_split1.txt"))
        for line in file.read_text().splitlines()
    ]
    special = sorted({c for name in names for c in name if not c.isalnum() and c not in "_./-"})
    assert set(special) == set("!#&()+;@[]~")
    strange = {next(name for name in names if c in name) for c in special}
    chosen = sorted(strange | set(names[::700]))
    clips = ["h265_video.mp4", "unordered.mov", "video_90.mov", "h264_10bits.mp4"]
    for name, clip in zip(chosen, itertools.cycle(clips), strict=False):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(real_data / "odd" / clip, root / name)
    shutil.copy(real_data / "odd" / "corrupted.mp4", root / chosen[0])
    return chosen


@pytest.mark.real
def test_an_hmdb51_folder_with_special_names(real_data, tmp_path, capsys):
    root, out = tmp_path / "hmdb", tmp_path / "lists" / "hmdb.csv"
    names = hmdb_folder(real_data, root)
    lists = str(real_data / "splits" / "testTrainMulti_7030_splits")
    arguments = ["index", str(root), "--dataset", "hmdb51", "--splits", lists, "--out", str(out), "--workers", "1"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert f"videos: {len(names)} found, {len(names) - 1} readable; NOT the official 6766" in text
    assert "split3 test:" in text

    m = Manifest.load(out)
    rows = {m.name(row): row for row in range(len(m))}
    assert set(rows) == set(names)
    assert [m.name(row) for row in range(len(m)) if m.meta(row).num_frames == 0] == [names[0]]
    for split in (1, 2, 3):
        official = official_subset(Path(lists), split)
        for subset in ("train", "test"):
            listed = {m.name(row) for row in m.listed(split, subset)}
            assert listed == {name for name in names if official[name] == subset}
    ids, classes = m.labels("label")
    assert all(classes[ids[row]] == name.split("/")[0] for name, row in rows.items())
    for name in names[1:]:
        video = m.video(rows[name])
        assert read(video, torch.tensor([video.num_frames - 1])).shape == (1, 3, video.height, video.width)
    info = json.loads(out.with_suffix(".json").read_text())
    assert [entry["path"] for entry in info["bad"]] == [names[0]]
    assert sum(len(group) for group in info["duplicates"]) == len(names) - 1


def official_subset(lists: Path, split: int) -> dict[str, str]:
    codes = {"0": "unused", "1": "train", "2": "test"}
    return {
        f"{file.name.removesuffix(f'_test_split{split}.txt')}/{line.split()[0]}": codes[line.split()[1]]
        for file in lists.glob(f"*_test_split{split}.txt")
        for line in file.read_text().splitlines()
    }


def test_check_fails_where_a_file_changed(tmp_path, capsys, monkeypatch):
    def in_process(function, arguments, **_):
        assert function is probe
        return enumerate(map(function, arguments))

    monkeypatch.setattr("vssl.data.index.run_isolated", in_process)
    (tmp_path / "v" / "run").mkdir(parents=True)
    (tmp_path / "v" / "run" / "a.mp4").write_bytes(b"no video")
    index = ["index", str(tmp_path / "v"), "--dataset", "folder", "--out", str(tmp_path / "m.csv")]
    assert main(index) == 1  # nothing in it can be read
    assert Manifest.load(tmp_path / "m.csv").dataset == "v"
    (tmp_path / "v" / "run" / "a.mp4").write_bytes(b"no video!")
    report = tmp_path / "report.json"
    assert main(["check", str(tmp_path / "m.csv"), "--report", str(report)]) == 1
    text = capsys.readouterr().out
    assert "run/a.mp4: bytes was 8, is 9" in text
    assert "1 files checked: NOT as stored" in text
    assert [change["column"] for change in json.loads(report.read_text())["changes"]] == ["bytes", "blake2"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "COMMAND: required. See vssl data --help"),
        (["index", "x", "--out", "m.csv"], "--dataset: required. See vssl data index --help"),
        (
            ["index", "x", "--dataset", "imagenet", "--out", "m.csv"],
            "imagenet: choose from ucf101, hmdb51, folder, csv. See vssl data index --help",
        ),
        (["check", "m.csv", "--workers", "0"], "--workers: 0 is no whole number from 1 on. See vssl data check --help"),
        (
            ["check", "m.csv", "--workers", "two"],
            "--workers: two is no whole number from 1 on. See vssl data check --help",
        ),
        (
            ["check", "m.csv", "--timeout-s", "0"],
            "--timeout-s: 0 is no number of seconds above 0. See vssl data check --help",
        ),
        (
            ["check", "m.csv", "--timeout-s", "x"],
            "--timeout-s: x is no number of seconds above 0. See vssl data check --help",
        ),
        (["toy", "o", "--seed", "s"], "s: is no int for --seed. See vssl data toy --help"),
        (["check", "m.csv", "--fast"], "--fast: unknown argument. See vssl data --help"),
        (["check", "m.csv", "--root"], "--root: expected one argument. See vssl data check --help"),
        (["toy"], "OUT: required. See vssl data toy --help"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, line, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"vssl: error: {line}\n"


def test_files_that_are_not_there_are_user_errors(tmp_path):
    with pytest.raises(UserError, match=r"none: no such folder\."):
        main(["index", str(tmp_path / "none"), "--dataset", "folder", "--out", str(tmp_path / "m.csv")])
    with pytest.raises(UserError, match=r"m\.csv: no such file\."):
        main(["check", str(tmp_path / "m.csv")])


@pytest.mark.parametrize(
    "arguments", [["--help"], ["index", "--help"], ["check", "--help"], ["toy", "--help"], ["curate", "--help"]]
)
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys\nfrom vssl.cli.data import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'torch', 'av', 'pyarrow', 'rich', 'numpy'} & set(sys.modules), 'heavy import'\n"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert time.perf_counter() - start < 10  # the half second is measured elsewhere, on a quiet machine
    assert "usage: vssl data" in done.stdout


def test_toy_writes_images_when_asked(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("vssl.data.toy.generate", lambda out, **_: out / "manifest.csv")
    assert main(["toy", str(tmp_path), "--images", "9"]) == 0
    assert capsys.readouterr().out.endswith(f"wrote {tmp_path / 'images'}\n")
    assert len(list((tmp_path / "images").glob("*/*.png"))) == 9


def test_toy_hands_its_arguments_on(monkeypatch, tmp_path, capsys):
    given = {}

    def generate(out, **settings):
        given.update(settings, out=out)
        return out / "manifest.csv"

    monkeypatch.setattr("vssl.data.toy.generate", generate)
    assert main(["toy", str(tmp_path), "--videos", "12", "--nuisance", "redrawn", "--workers", "1"]) == 0
    expected = {"out": tmp_path, "num_videos": 12, "seed": 0, "nuisance": "redrawn", "workers": 1}
    assert given == expected
    assert capsys.readouterr().out == f"wrote {tmp_path / 'manifest.csv'}\n"

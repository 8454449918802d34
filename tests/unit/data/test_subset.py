"""Part of a manifest by a list."""

import json

import pyarrow as pa
import pytest

from vssl.cli import main
from vssl.data.manifest import Manifest
from vssl.data.manifest_file import PROBED, save
from vssl.data.subset import subset
from vssl.errors import UserError

PATHS = ["train/push up/a_1_2.mp4", "train/push up/b_1_2.mp4", "train/digging/c_1_2.mp4", "val/push up/d_1_2.mp4"]


@pytest.fixture
def manifest(tmp_path):
    numbers = {"num_frames": [30, 0, 30, 30], "seek": ["exact", "count", "count", "exact"]}
    fill = {pa.string(): "x", pa.int64(): 1, pa.float64(): 25.0}
    columns = {name: pa.array(numbers.get(name, [fill[kind]] * 4), kind) for name, kind in PROBED.items()}
    table = pa.table(
        {
            "path": PATHS,
            "label": [path.split("/")[1] for path in PATHS],
            "group": [""] * 4,
            "split1": ["train", "train", "train", "test"],
        }
        | columns
    )
    info = {
        "dataset": "k400",
        "readers": {"av": "1"},
        "counts": {"videos": {"found": 4, "readable": 3, "official": 9}},
        "bad": [{"path": PATHS[1], "reason": "r"}],
        "missing": [],
        "duplicates": [[PATHS[0], PATHS[2]], [PATHS[0], PATHS[3]]],
        "unlisted": [],
    }
    save(tmp_path / "k.csv", table=table, info=info, root=tmp_path)
    return Manifest.load(tmp_path / "k.csv")


def test_a_list_of_clips(manifest, tmp_path, capsys):
    (tmp_path / "k100.list").write_text("push_up/b_1_2 300\npush_up/a_1_2 250\npush_up/gone_1_2 33\ndigging/a_1_2 9\n")
    assert main(["data", "subset", str(manifest.path), "--list", str(tmp_path / "k100.list")]) == 0
    out = capsys.readouterr().out
    assert "2 of 4 clips found, 2 missing: digging/a_1_2, push_up/gone_1_2" in out
    assert "2 of 4 rows kept" in out
    part = Manifest.load(tmp_path / "k-k100.csv")
    assert part.table["path"].to_pylist() == PATHS[:2]
    assert part.table.equals(manifest.table.slice(0, 2))
    assert (part.dataset, part.root.resolve()) == ("k400", tmp_path.resolve())
    info = json.loads((tmp_path / "k-k100.json").read_text())
    assert info["rows"] == 2
    assert info["readers"] == {"av": "1"}
    assert info["counts"]["videos"] == {"found": 2, "readable": 1, "official": 9}
    assert info["counts"]["split1 test"] == {"found": 0, "readable": 0}
    assert info["seek"] == {"exact": 1, "count": 1}
    assert [entry["path"] for entry in info["bad"]] == [PATHS[1]]
    assert info["duplicates"] == []
    assert info["subset"]["missing"] == ["digging/a_1_2", "push_up/gone_1_2"]


def test_a_list_of_classes_keeps_all_their_rows(manifest, tmp_path):
    (tmp_path / "classes.txt").write_text("push_up\nwriting\n")
    found = subset(manifest, tmp_path / "classes.txt", out=tmp_path / "part.csv")
    assert (found["names"], found["listed"], found["found"], found["missing"]) == ("classes", 2, 1, ["writing"])
    assert Manifest.load(tmp_path / "part.csv").table["path"].to_pylist() == [PATHS[0], PATHS[1], PATHS[3]]
    duplicates = json.loads((tmp_path / "part.json").read_text())["duplicates"]
    assert duplicates == [[PATHS[0], PATHS[3]]]


@pytest.mark.parametrize(
    ("text", "out", "says"),
    [
        ("", "part.csv", "is empty"),
        ("push_up\npush_up/a_1_2 3\n", "part.csv", "mixes clips and classes"),
        ("push up\npush_up\n", "part.csv", "push_up: is listed twice"),
        ("push_up/a_1_2.mp4\n", "part.csv", "names none of the 4 files"),
        ("push_up\n", "k.csv", "a .csv of its own"),
        ("push_up\n", "part.json", "a .csv of its own"),
    ],
)
def test_what_is_refused(text, out, says, manifest, tmp_path):
    (tmp_path / "list").write_text(text)
    before = manifest.path.read_bytes()
    with pytest.raises(UserError, match=says):
        subset(manifest, tmp_path / "list", out=tmp_path / out)
    assert manifest.path.read_bytes() == before
    with pytest.raises(UserError, match="no such file"):
        subset(manifest, tmp_path / "nowhere", out=tmp_path / "part.csv")


@pytest.mark.real
def test_the_published_list_of_kinetics_100(real_data, tmp_path, manifest):
    """Its own 32,552 clips and 100 classes (auxskd.md 4.3) are read as such."""
    listing = real_data / "splits" / "kinetics" / "k100_auxSKD.list"
    first, *_ = listing.read_text().splitlines()
    table = manifest.table.slice(0, 2)
    columns = {"path": [f"train/{first.split()[0]}.mp4", PATHS[0]], "label": [first.partition("/")[0], "push up"]}
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    save(tmp_path / "m.csv", table=table, info={"dataset": "k400"}, root=tmp_path)
    found = subset(Manifest.load(tmp_path / "m.csv"), listing, out=tmp_path / "out.csv")
    assert (found["listed"], found["found"], found["rows"]) == (32552, 1, 1)
    assert found["sha256"].startswith("90f2331b")
    classes = listing.with_name("k100_classes_auxSKD.txt")
    found = subset(Manifest.load(tmp_path / "m.csv"), classes, out=tmp_path / "out.csv")
    assert (found["listed"], found["found"]) == (100, 2)

"""The manifest's two files: what goes in comes out, and nothing else is believed."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vssl.data.manifest import Manifest
from vssl.data.manifest_file import PROBED, save
from vssl.errors import UserError
from vssl.types import VideoMeta

NAMES = ["a/x y.avi", 'a/q"uote,comma.avi', "b/(n)&![;#'.mp4", "b/\u00e9t\u00e9.mp4", "c/new\nline.mp4"]


def table(**extra: list) -> pa.Table:
    rows = len(NAMES)
    columns = {
        "path": NAMES,
        "label": ["run", "run", "", "jump", "jump"],
        "shape": ["10", "9", "9", "", "10"],
        "group": ["g1", "g1", "", "g2", "NA"],
        "split1": ["train", "test", "train", "unused", ""],
        "split2": ["test", "test", "test", "test", "train"],
        "num_frames": [10, 20, 30, 40, 0],
        "fps": [25.0, 29.97, 30000 / 1001, 1.0, 0.0],
        "height": [240, 241, 242, 243, 0],
        "width": [320] * rows,
        "codec": ["h264"] * (rows - 1) + [""],
        "rotation": [0, 90, 0, 0, 0],
        "stream": [0, 3, 0, 0, 0],
        "seek": ["exact", "count", "exact", "exact", ""],
        "keyframes": ["0:0:12:512:3", "", "0:0", "0:0 7:9", ""],
        "bytes": [1, 2, 3, 4, 5],
        "blake2": [f"{n:032x}" for n in (2**120, 2**127, 7, 2**127)] + [""],
    }
    arrays = {name: pa.array(values, PROBED.get(name, pa.string())) for name, values in columns.items()}
    return pa.table(arrays | {name: pa.array(values) for name, values in extra.items()})


@pytest.fixture
def saved(tmp_path) -> Path:
    (tmp_path / "videos").mkdir()
    save(tmp_path / "m.csv", table=table(), info={"dataset": "d", "readers": {}}, root=tmp_path / "videos")
    return tmp_path / "m.csv"


def test_what_was_written_is_read(saved):
    m = Manifest.load(saved)
    assert len(m) == 5
    assert [m.name(row) for row in range(5)] == NAMES
    assert m.file(0) == saved.parent / "videos" / "a" / "x y.avi"
    assert (m.path, m.root, m.dataset, m.info["rows"]) == (saved, saved.parent / "videos", "d", 5)
    assert m.meta(2) == VideoMeta(num_frames=30, fps=30000 / 1001, height=242, width=320, cuts=None, row=2)
    video = m.video(1)
    assert video == (str(m.file(1)), 20, 241, 320, 90, 3, "count", "")
    assert isinstance(m.path, Path)
    assert not list(saved.parent.glob(".*"))  # no temporary file stays


def test_cuts_when_there_is_such_a_column(saved):
    more = table(cuts=["", "12 40", "7", "", ""])
    save(saved, table=more, info={"dataset": "d"}, root=saved.parent / "videos")
    m = Manifest.load(saved)
    assert [m.meta(row).cuts for row in range(3)] == [(), (12, 40), (7,)]
    assert m.label_columns == ["label", "shape"]


def test_labels(saved):
    m = Manifest.load(saved)
    ids, names = m.labels("label")
    assert names == ["jump", "run"]
    assert ids.dtype == np.int64
    assert ids.tolist() == [1, 1, -1, 0, 0]
    ids, names = m.labels("shape")
    assert names == ["10", "9"]  # sorted as text
    assert ids.tolist() == [0, 1, 1, -1, 0]


@pytest.mark.parametrize("column", ["colour", "group", "path", "split1", "num_frames"])
def test_a_column_that_is_no_label_is_refused_naming_those_that_are(saved, column):
    with pytest.raises(UserError, match=rf"^{column}: is no label column of .*It has: label, shape$"):
        Manifest.load(saved).labels(column)


def test_rows_are_readable_and_listed_ones_are_not_all(saved):
    m = Manifest.load(saved)
    assert m.rows(1, "train").tolist() == [0, 2]
    assert m.rows(1, "test").tolist() == [1]
    assert m.rows(1, "train").dtype == np.int64
    assert m.rows(1, "all").tolist() == [0, 1, 2, 3]
    assert m.listed(1, "all").tolist() == [0, 1, 2, 3, 4]
    assert m.listed(2, "train").tolist() == [4]
    with pytest.raises(UserError, match=r"none of the 1 files of split 2, subset train can be read\. \S"):
        m.rows(2, "train")


def test_a_split_that_is_not_there_is_an_error_with_the_remedy(saved):
    with pytest.raises(UserError, match=r"^3: is no split of .*It has: 1, 2$"):
        Manifest.load(saved).rows(3, "train")
    columns = table().set_column(4, "split1", pa.array(["train"] * 5))
    save(saved, table=columns, info={"dataset": "d"}, root=saved.parent / "videos")
    with pytest.raises(UserError, match=r"split 1 lists no test videos that were found\. Choose"):
        Manifest.load(saved).rows(1, "test")


def test_groups_and_contents_are_stable_numbers(saved):
    m = Manifest.load(saved)
    groups, content = m.groups(), m.content()
    assert groups.dtype == content.dtype == np.int64
    assert groups[0] == groups[1] != groups[3]
    assert groups[2] == 0
    assert groups[4] != 0  # "NA" is a name, not an absence
    assert groups[0] == 5729991642910863253  # by b2sum -l 64 of "d:g1"
    assert content.tolist() == [2**56, -(2**63), 0, -(2**63), 0]
    save(saved, table=table(), info={"dataset": "other"}, root=saved.parent / "videos")
    assert Manifest.load(saved).groups()[0] != groups[0]


def test_the_hash_ignores_where_the_files_lie_and_nothing_else(saved, tmp_path):
    m = Manifest.load(saved)
    other = tmp_path / "elsewhere"
    other.mkdir()
    save(other / "n.csv", table=table(), info={"dataset": "x"}, root=tmp_path)
    assert Manifest.load(other / "n.csv").content_hash == m.content_hash == m.info["content_hash"]
    changed = table().set_column(1, "label", pa.array(["walk"] * 5))
    save(saved, table=changed, info={"dataset": "d"}, root=saved.parent / "videos")
    assert Manifest.load(saved).content_hash != m.content_hash


def test_a_manifest_moves_with_the_folder_that_holds_its_videos(saved, tmp_path):
    assert json.loads(saved.with_suffix(".json").read_text())["root"] == "videos"
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("m.csv", "m.json", "videos"):
        shutil.move(tmp_path / name, moved / name)
    assert Manifest.load(moved / "m.csv").root == moved / "videos"


def test_a_root_outside_is_kept_absolute_and_can_be_overridden(tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "videos").mkdir()
    path = tmp_path / "lists" / "m.csv"
    save(path, table=table(), info={"dataset": "d"}, root=tmp_path / "videos")
    assert Manifest.load(path).root == (tmp_path / "videos").resolve()
    (tmp_path / "videos").rename(tmp_path / "new")
    with pytest.raises(UserError, match=r"videos: the folder of the videos does not exist\. .*--data\.root"):
        Manifest.load(path)
    assert Manifest.load(path, root=tmp_path / "new").root == tmp_path / "new"


@pytest.mark.parametrize("escape", ["/etc/passwd", "../x.avi", "a/../../x.avi", "a/..", ""])
def test_paths_that_leave_the_root_are_refused_written_and_read(saved, escape):
    bad = table().set_column(0, "path", pa.array([escape, *NAMES[1:]]))
    with pytest.raises(UserError, match="leaves the root"):
        save(saved, table=bad, info={"dataset": "d"}, root=saved.parent)
    text = saved.read_text(encoding="utf-8")
    saved.write_text(text.replace('"a/x y.avi"', f'"{escape}"'), encoding="utf-8")
    with pytest.raises(UserError, match="leaves the root"):
        Manifest.load(saved)


def test_dots_inside_a_name_do_not_leave_the_root(saved):
    fine = table().set_column(0, "path", pa.array(["a/..b/x..avi", *NAMES[1:]]))
    save(saved, table=fine, info={"dataset": "d"}, root=saved.parent)
    assert Manifest.load(saved).name(0) == "a/..b/x..avi"


def spoil(path: Path, how: str) -> None:
    text = path.read_bytes()
    lines = text.splitlines(keepends=True)
    spoiled = {
        "a row too few": b"".join(lines[:-1]),
        "cut in a row": text[:-60],
        "cut in the last value": text[:-4],
        "foreign": b"video,class\nx.avi,run\n",
        "no column": text.replace(b'"num_frames"', b'"frames"'),
        "double column": text.replace(b'"shape"', b'"label"'),
        "not text": b"\xff\xfe\x00" + text,
        "not a number": text.replace(b",240,", b",tall,"),
        "an empty number": text.replace(b",240,", b",,"),
        "empty": b"",
    }
    assert spoiled[how] != text
    path.write_bytes(spoiled[how])


@pytest.mark.parametrize(
    "how",
    [
        *("a row too few", "cut in a row", "cut in the last value", "foreign", "no column", "double column"),
        *("not text", "not a number", "an empty number", "empty"),
    ],
)
def test_a_truncated_or_foreign_csv_is_one_line(saved, how):
    spoil(saved, how)
    with pytest.raises(UserError, match="Make the manifest again") as caught:
        Manifest.load(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("json_text", ["", "[]", "{}", '{"format": 99, "dataset": "d", "root": ".", "rows": 5}'])
def test_a_foreign_json_is_one_line(saved, json_text):
    saved.with_suffix(".json").write_text(json_text)
    with pytest.raises(UserError, match="Make the manifest again") as caught:
        Manifest.load(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_both_files_must_be_there(saved, suffix):
    saved.with_suffix(suffix).unlink()
    with pytest.raises(UserError, match=rf"m\{suffix}: no such file\. vssl data index"):
        Manifest.load(saved)


def test_pickles_small_and_whole(saved):
    m = pickle.loads(pickle.dumps(Manifest.load(saved)))
    assert m.video(3) == Manifest.load(saved).video(3)
    assert m.labels("label")[1] == ["jump", "run"]


@pytest.mark.slow
def test_a_million_rows_load_in_seconds_and_pickle_as_arrays(tmp_path):
    rows = 1_000_000
    columns = {name: pa.array(table()[name].to_pylist()[:1] * rows, kind) for name, kind in PROBED.items()}
    columns |= {"path": pa.array([f"class{n % 400}/clip_{n:07d}.mp4" for n in range(rows)])}
    columns |= {"label": pa.array([f"class{n % 400}" for n in range(rows)]), "group": pa.array([""] * rows)}
    columns |= {"split1": pa.array(["train", "test"] * (rows // 2))}
    save(tmp_path / "m.csv", table=pa.table(columns), info={"dataset": "d"}, root=tmp_path)
    m = Manifest.load(tmp_path / "m.csv")
    assert len(m.labels("label")[1]) == 400
    assert len(m.rows(1, "test")) == rows // 2
    assert len(m.content()) == rows
    assert len(pickle.dumps(m, protocol=5)) < 400 * rows

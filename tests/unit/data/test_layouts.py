"""Official layouts: labels, groups, splits and what is missing, from names alone."""

from pathlib import Path

import pytest

from vssl.data.layouts import LAYOUTS, OFFICIAL, csv_file, folder, hmdb51, hmdb_source, ucf101
from vssl.errors import UserError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return root


def write(folder_: Path, **files: str) -> Path:
    folder_.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder_ / f"{name}.txt").write_bytes(text.encode())
    return folder_


@pytest.fixture
def ucf_lists(tmp_path) -> Path:
    lists = {f"{subset}list0{n}": "" for n in (1, 2, 3) for subset in ("train", "test")}
    lists["trainlist01"] = "Run/v_Run_g08_c01.avi 1\r\nRun/v_Run_g08_c02.avi 1\r\n"
    lists["testlist01"] = "Run/v_Run_g01_c01.avi\n\n"
    lists["trainlist02"] = "Run/v_Run_g01_c01.avi 1\r\n"
    lists["testlist03"] = "Run/v_Run_g08_c01.avi"
    return write(tmp_path / "lists", **lists)


def test_ucf101(tmp_path, ucf_lists):
    root = touch(tmp_path / "v", "Run/v_Run_g01_c01.avi", "Run/v_Run_g08_c01.avi", "Run/extra.AVI", "Run/note.txt")
    found = ucf101(root, ucf_lists, "ucf101")
    assert found.columns == {
        "path": ["Run/extra.AVI", "Run/v_Run_g01_c01.avi", "Run/v_Run_g08_c01.avi"],
        "label": ["Run", "Run", "Run"],
        "group": ["", "Run_g01", "Run_g08"],
        "split1": ["", "test", "train"],
        "split2": ["", "train", ""],
        "split3": ["", "", "test"],
    }
    assert found.missing == ["Run/v_Run_g08_c02.avi"]
    assert found.listed["videos"] == 3
    assert (found.listed["split1 train"], found.listed["split1 test"]) == (2, 1)


def test_official_lists_are_demanded(tmp_path, ucf_lists):
    root = touch(tmp_path / "v", "Run/v_Run_g01_c01.avi")
    for layout in (ucf101, hmdb51):
        with pytest.raises(UserError, match=r"needs its official split files\. .*--splits"):
            layout(root, None, "x")
    (ucf_lists / "testlist02.txt").unlink()
    with pytest.raises(UserError, match=r"testlist02.txt: no such file\. --splits"):
        ucf101(root, ucf_lists, "ucf101")
    with pytest.raises(UserError, match="no CLASS_test_split1"):
        hmdb51(root, ucf_lists, "hmdb51")
    with pytest.raises(UserError, match=r"nowhere: no such folder\. ROOT"):
        folder(tmp_path / "nowhere", None, "x")


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "lists", "num_classes"),
    [("ucf101", "ucfTrainTestlist", 101), ("hmdb51", "testTrainMulti_7030_splits", 51)],
)
def test_the_official_lists_hold_the_official_counts(name, lists, num_classes, real_data, tmp_path):
    found = LAYOUTS[name](touch(tmp_path, "x/y.avi"), real_data / "splits" / lists, name)
    assert found.listed == found.official == OFFICIAL[name]
    assert len(found.missing) == OFFICIAL[name]["videos"]
    assert len({path.split("/")[0] for path in found.missing}) == num_classes


HMDB_NAMES = {
    "brush_hair/Brushing_Her_Hair__[_NEW_AUDIO_]_UPDATED!!!!_brush_hair_h_cm_np1_fr_goo_0.avi": (
        "Brushing_Her_Hair__[_NEW_AUDIO_]_UPDATED!!!!"
    ),
    "cartwheel/Geena_und_die_Radschl_ge___;-)_cartwheel_f_cm_np1_fr_med_2.avi": "Geena_und_die_Radschl_ge___;-)",
    "sword/Duncan_Macleod_&_Amanda_Soulmates_Part_2_sword_u_cm_np2_fr_med_0.avi": (
        "Duncan_Macleod_&_Amanda_Soulmates_Part_2"
    ),
}


def test_hmdb51(tmp_path):
    lists = {
        f"{path.split('/')[0]}_test_split{n}": f"{path.split('/')[1]} {(place + n) % 3} \n"
        for place, path in enumerate(HMDB_NAMES)
        for n in (1, 2, 3)
    }
    found = hmdb51(touch(tmp_path / "v", *HMDB_NAMES), write(tmp_path / "lists", **lists), "hmdb51")
    assert found.columns["path"] == sorted(HMDB_NAMES)
    assert found.columns["group"] == [f"{path.split('/')[0]}/{HMDB_NAMES[path]}" for path in sorted(HMDB_NAMES)]
    assert found.columns["label"] == ["brush_hair", "cartwheel", "sword"]
    assert found.columns["split1"] == ["train", "test", "unused"]
    assert found.columns["split3"] == ["unused", "train", "test"]
    assert not found.missing


def test_a_film_in_two_hmdb51_classes_is_two_groups(tmp_path):
    codes = "f_cm_np1_fr_med"
    clips = {
        f"run/F_run_{codes}_0.avi": 1,
        f"run/F_run_{codes}_1.avi": 1,
        f"sit/F_sit_{codes}_0.avi": 2,
        "sit/x.avi": 0,
    }
    lists = {
        f"{label}_test_split{n}": "".join(f"{p.split('/')[1]} {c}\n" for p, c in clips.items() if p.startswith(label))
        for label in ("run", "sit")
        for n in (1, 2, 3)
    }
    found = hmdb51(touch(tmp_path / "v", *clips), write(tmp_path / "lists", **lists), "hmdb51")
    assert found.columns["group"] == ["run/F", "run/F", "sit/F", ""]
    assert found.columns["split1"] == ["train", "train", "test", "unused"]


@pytest.mark.real
@pytest.mark.parametrize(
    ("split", "films", "videos"), [("split1", 133, 457), ("split2", 149, 527), ("split3", 144, 529)]
)
def test_official_hmdb51_splits_share_films_across_classes_and_no_group(split, films, videos, real_data, tmp_path):
    lists = real_data / "splits" / "testTrainMulti_7030_splits"
    names = hmdb51(touch(tmp_path / "none", "x/y.avi"), lists, "hmdb51").missing
    columns = hmdb51(touch(tmp_path / "all", *names), lists, "hmdb51").columns
    pairs = list(zip(columns["group"], columns[split], strict=True))
    assert all(group for group, _ in pairs)
    train, test = ([group for group, subset in pairs if subset == side] for side in ("train", "test"))
    assert not set(train) & set(test)
    film = {group: group.split("/", 1)[1] for group, _ in pairs}  # what the docs say of films
    both = {film[group] for group in train} & {film[group] for group in test}
    assert (len(both), sum(film[group] in both for group in test)) == (films, videos)


@pytest.mark.real
def test_every_official_hmdb51_name_has_a_source(real_data, tmp_path):
    lists = real_data / "splits" / "testTrainMulti_7030_splits"
    names = hmdb51(touch(tmp_path, "x/y.avi"), lists, "hmdb51").missing
    sources = {path: hmdb_source(path.split("/")[1], path.split("/")[0]) for path in names}
    assert [path for path, source in sources.items() if not source] == []
    assert hmdb_source("holiday.avi", "run") == ""


def test_class_folders_without_splits_are_all_train(tmp_path):
    found = folder(touch(tmp_path, "run/a.mp4", "jump/deep/er/b.webm", "top.mkv", "run/._a.mp4"), None, "mine")
    assert found.columns == {
        "path": ["jump/deep/er/b.webm", "run/a.mp4", "top.mkv"],
        "label": ["jump", "run", ""],
        "group": ["", "", ""],
        "split1": ["train", "train", "train"],
    }
    assert (found.dataset, found.root) == ("mine", tmp_path)


@pytest.mark.parametrize(
    ("subsets", "expected"),
    [
        (("train", "test"), ["test", "train"]),
        (("train", "val"), ["train", "test"]),
        (("train", "val", "test"), ["test", "train", "unused"]),
    ],
)
def test_subset_folders(subsets, expected, tmp_path):
    found = folder(touch(tmp_path, *(f"{subset}/run/a.mp4" for subset in subsets)), None, "k")
    assert found.columns["split1"] == expected
    assert set(found.columns["label"]) == {"run"}


def test_a_class_called_train_is_no_subset(tmp_path):
    found = folder(touch(tmp_path, "train/a.mp4", "plane/b.mp4"), None, "vehicles")
    assert found.columns["label"] == ["plane", "train"]
    assert found.columns["split1"] == ["train", "train"]


def test_a_name_that_is_not_utf8_is_reported_not_listed(tmp_path):
    touch(tmp_path, "run/a.mp4")
    (tmp_path / "run" / "b\udcff.mp4").touch()
    found = folder(tmp_path, None, "x")
    assert found.columns["path"] == ["run/a.mp4"]
    assert list(found.refused) == ["run/b\\udcff.mp4"]


def test_csv(tmp_path):
    touch(tmp_path, "a b.mp4", "c.mp4")
    source = tmp_path / "list.csv"
    source.write_text("path,label,mood,group,split2,num_frames\r\na b.mp4,run,glad,g,train,7\r\ngone.mp4,run,,,,\r\n")
    found = csv_file(source, None, "mine")
    assert found.columns == {
        "path": ["a b.mp4"],
        "label": ["run"],
        "mood": ["glad"],
        "group": ["g"],
        "split2": ["train"],
    }
    assert (found.missing, found.root) == (["gone.mp4"], tmp_path)
    source.write_text("path\nc.mp4\n")
    assert csv_file(source, None, "mine").columns == {"path": ["c.mp4"], "group": [""], "split1": ["train"]}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("file,label\nc.mp4,x\n", "no column path"),
        ("path,split1\nc.mp4,validation\n", "validation: is no value for split1"),
        ("path\nc.mp4\nc.mp4\n", "names 1 paths twice"),
    ],
)
def test_a_wrong_csv_is_refused(text, rule, tmp_path):
    touch(tmp_path, "c.mp4")
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UserError, match=rule):
        csv_file(tmp_path / "list.csv", None, "x")


def test_layouts_without_split_files_refuse_them(tmp_path):
    for layout in (folder, csv_file):
        with pytest.raises(UserError, match="reads no split files"):
            layout(tmp_path, tmp_path, "x")

"""`vssl evaluate` in this process, on a real checkpoint file; only decoding is replaced."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from vssl.backbones.registry import build
from vssl.cli import main
from vssl.data.manifest import Manifest
from vssl.evaluate.result import of_run

SPEC = {"class_path": "vssl.backbones.TinyVideo", "init_args": {}}


@pytest.fixture
def checkpoint(tmp_path, manifest, monkeypatch):
    """A run directory pretrained on split 1 of the manifest."""
    monkeypatch.setattr(
        Manifest, "load", lambda path, root: manifest if (path, root) == (Path("m.csv"), None) else None
    )
    rows = manifest.rows(1, "train")
    groups = np.unique(manifest.groups()[rows])
    seen = {"dataset": "tiny", "manifest": "feed", "split": 1, "subset": "train", "rows": "aa", "num_videos": len(rows)}
    seen |= {"groups": torch.from_numpy(groups), "content": torch.from_numpy(manifest.content()[rows])}
    net = build(SPEC)
    ours = {
        "backbone": net.spec(),
        "method": "x.Tiny",
        "seen": seen,
        "budget": {"clips_seen": 99},
        "prefix": "backbone.",
    }
    state = {f"backbone.{name}": value for name, value in net.state_dict().items()}
    path = tmp_path / "run0" / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    torch.save({"vssl": ours | {"prefix": "backbone."}, "state_dict": state, "global_step": 7, "epoch": 1}, path)
    return tmp_path / "run0"


def command(checkpoint, *words):
    return ["evaluate", str(checkpoint), "--data.manifest", "m.csv", "--workers", "0", *words]


def fresh_groups(manifest):
    """Groups of neighbours straddle split 1 here; without them only files can leak."""
    index = manifest.table.column_names.index("group")
    manifest.table = manifest.table.set_column(index, "group", [["" for _ in range(len(manifest))]])


@pytest.mark.usefixtures("passes")
def test_scores_controls_and_baselines_are_written_and_shown(checkpoint, manifest, capsys):
    fresh_groups(manifest)
    assert main(command(checkpoint, "--label", "label,speed", "--clips", "2")) == 0
    shown = capsys.readouterr().out
    found = of_run(checkpoint)
    assert {(r.kind, r.name, r.label) for r in found} == {
        (kind, name, label)
        for label in ("label", "speed")
        for kind, name in [
            ("trained", "Tiny"),
            *[("random", f"random {seed}") for seed in range(3)],
            ("baseline", "PixelHistogram"),
            ("baseline", "FrameDifference"),
        ]
    }
    trained = next(r for r in found if r.kind == "trained")
    assert (trained.run, trained.split, trained.checkpoint["step"]) == ("run0", 1, 7)
    assert trained.protocol["name"] == "knn-v1+clips=2"
    assert trained.pretraining["clips_seen"] == 99
    for words in (
        "random init x3",
        "FrameDifference",
        "7 of 8",
        "not read: 06.avi",
        "too few videos",
        "tiny s1, 99 clips",
    ):
        assert words in shown


@pytest.mark.usefixtures("passes")
def test_a_leak_is_refused_or_stamped(checkpoint, capsys):
    words = command(checkpoint, "--splits", "2", "--seeds-random", "0", "--clips", "1")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("vssl: error: run0: split 2: pretraining saw ")
    assert "--allow-leak" in error
    assert len(error.splitlines()) == 1
    assert not (checkpoint / "results").exists()
    assert main([*words, "--allow-leak", "--out", str(checkpoint / "elsewhere")]) == 0
    assert "LEAKED" in capsys.readouterr().out
    assert {r.leaked for r in of_run(checkpoint / "elsewhere") if r.kind == "trained"} == {True}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--protocol", "knn-v9"], "knn-v9: is not a known protocol"),
        (["--splits", "1,x"], "--splits: 1,x: is not a list of split numbers"),
        (["--splits", "9"], "9: is no split of"),
        (
            ["--set", "neighbours.distance=euclidean"],
            "neighbours.distance=euclidean: is always cosine in a knn",
        ),
        (
            ["--protocol", "finetune-v1", "--set", "frozen.trainable=head"],
            "frozen.batch_norm=train: does not go with frozen.trainable=head",
        ),
        (["--clips", "0"], "--clips: 0: is not a whole number of at least 1"),
        (["--label", "colour"], "colour: is no label column of"),
        (["--nope"], "--nope: unknown argument"),
        (["-c", "gone.yaml"], "gone.yaml: no such file"),
    ],
)
def test_mistakes_are_one_line(checkpoint, manifest, capsys, words, message):
    fresh_groups(manifest)
    try:
        code = main(command(checkpoint, *words))
    except SystemExit as left:
        code = left.code
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert len(error.splitlines()) == 1


def test_the_data_section_of_layers_is_resolved_and_flags_win(tmp_path, monkeypatch):
    from vssl.cli.encoders import data_section
    from vssl.cli.evaluate import _parser

    monkeypatch.setenv("VSSL_DATA", "/somewhere")
    (tmp_path / "a.yaml").write_text(
        "data: {manifest: '${oc.env:VSSL_DATA,data}/m.csv', reader: pyav, batch_size: 3}\n"
    )
    (tmp_path / "b.yaml").write_text("where: there\ndata: {root: '${where}/videos'}\n")
    layers = ["-c", str(tmp_path / "a.yaml"), "-c", str(tmp_path / "b.yaml")]
    found = data_section(_parser().parse_args(["x.ckpt", *layers]))
    assert found == {"manifest": ["/somewhere/m.csv"], "reader": "pyav", "batch_size": 3, "root": "there/videos"}
    assert data_section(_parser().parse_args(["x.ckpt", *layers, "--data.manifest", "n.csv"]))["manifest"] == ["n.csv"]


def test_without_a_manifest_the_remedy_is_named(capsys, checkpoint):
    assert main(["evaluate", str(checkpoint)]) == 2
    assert "--data.manifest: is missing. Name the manifest" in capsys.readouterr().err


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_exported_features_give_the_same_scores(checkpoint, manifest, tmp_path, capsys, suffix):
    """kNN and retrieval by scikit-learn, linear by hand: from the exported file alone."""
    fresh_groups(manifest)
    out = tmp_path / f"f{suffix}"
    assert main(command(checkpoint, "--protocol", "knn-v1,retrieval-v1,linear-v1", "--seeds-random", "0")) == 0
    assert main(["features", *command(checkpoint, "--out", str(out))[1:]]) == 0
    assert f"wrote {out}: 23 of 24 videos, 64 features each" in capsys.readouterr().out
    data = exported(out)
    train, test = (data["split1"] == part for part in ("train", "test"))
    classes = sorted(set(data["label"].tolist()))
    x, y = np.asarray(data["features"], np.float64), np.searchsorted(classes, data["label"])
    scores = {r.protocol["name"]: r for r in of_run(checkpoint) if r.kind == "trained"}

    near = NearestNeighbors(n_neighbors=16, metric="cosine", algorithm="brute").fit(x[train])
    distance, place = near.kneighbors(x[test])
    votes = np.exp((1 - distance) / 0.07)  # all 16 train videos: fewer than k = 20
    ballot = np.stack([(votes * (y[train][place] == c)).sum(1) for c in range(2)], axis=1)
    assert scores["knn-v1"].predictions["predicted"] == ballot.argmax(1).tolist()
    assert scores["knn-v1"].predictions["row"] == data["row"][test].tolist()
    for k in (1, 5, 10):
        hit = (y[train][place[:, :k]] == y[test][:, None]).any(1)
        assert scores["retrieval-v1"].metrics[f"R@{k}"] == pytest.approx(100 * hit.mean())

    (weights,) = [p for p in (checkpoint / "results").glob("*linear-v1*.npz") if "Tiny" in p.name]
    head = np.load(weights)
    logits = (x[test] - head["mean"]) / head["std"] @ head["weight"].astype(np.float64) + head["bias"]
    assert scores["linear-v1"].predictions["predicted"] == logits.argmax(1).tolist()
    assert scores["linear-v1"].metrics["top1"] == pytest.approx(100 * (logits.argmax(1) == y[test]).mean())
    assert 0 < scores["linear-v1"].details["num_validation"] < 16


def exported(path):
    if path.suffix == ".npz":
        with np.load(path) as data:
            return dict(data)
    table = pq.read_table(path)
    columns = {name: np.array(table[name].to_pylist()) for name in table.column_names}
    return columns | {"features": columns["features"].astype(np.float32)}


def test_an_unknown_format_is_refused(checkpoint, capsys):
    assert main(["features", *command(checkpoint, "--out", "f.csv")[1:]]) == 2
    assert "f.csv: is neither .npz nor .parquet. Try f.npz" in capsys.readouterr().err


def test_features_of_a_protocol_that_cannot_be_run_are_refused(checkpoint, capsys):
    assert main(["features", *command(checkpoint, "--out", "f.npz", "--protocol", "coclr-2020")[1:]]) == 2
    assert "coclr-2020: cannot be run here: sliding clips" in capsys.readouterr().err


@pytest.mark.usefixtures("passes")
def test_features_are_of_the_clips_as_they_are(checkpoint, tmp_path, capsys):
    out = str(tmp_path / "f.npz")
    assert main(["features", *command(checkpoint, "--out", out, "--protocol", "temporal-v1", "--clips", "1")[1:]]) == 0
    assert "23 of 24 videos" in capsys.readouterr().out
    assert len(list((checkpoint / "features").iterdir())) == 1


@pytest.mark.usefixtures("passes")
def test_features_go_where_they_are_asked_to(checkpoint, manifest, tmp_path):
    fresh_groups(manifest)
    few = ["--seeds-random", "0", "--clips", "1"]
    assert main(command(checkpoint, *few, "--no-cache")) == 0
    assert not (checkpoint / "features").exists()
    assert main(command(checkpoint, *few, "--force", "--cache", str(tmp_path / "shared"))) == 0
    assert list((tmp_path / "shared").glob("Tiny-normal-*/*.npz"))
    assert main(command(checkpoint, *few, "--force")) == 0
    assert list((checkpoint / "features").glob("Tiny-normal-*/*.npz"))


@pytest.mark.usefixtures("passes")
def test_several_data_sets_in_one_call(checkpoint, manifest, tmp_path, capsys, monkeypatch):
    fresh_groups(manifest)
    other = Manifest(Path("n.csv"), table=manifest.table, info={"dataset": "other"}, root=tmp_path, content_hash="beef")
    named = {("m.csv", None): manifest, ("n.csv", None): other}
    monkeypatch.setattr(Manifest, "load", lambda path, root: named[str(path), root])
    words = [*command(checkpoint, "--seeds-random", "0", "--clips", "1"), "--data.manifest", "n.csv"]
    assert main([*words, "--data.root", "x"]) == 2
    assert "--data.root: is one folder for several manifests" in capsys.readouterr().err
    assert main([*words, "--allow-leak"]) == 0
    assert {r.dataset for r in of_run(checkpoint)} == {"tiny", "other"}

"""`vssl evaluate` in this process, on a real checkpoint file; only decoding is replaced."""

from pathlib import Path

import numpy as np
import pytest
import torch

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
    from vssl.cli.evaluate import _parser, data_section

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

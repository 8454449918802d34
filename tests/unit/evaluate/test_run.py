from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from vssl.backbones.base import Backbone, Input
from vssl.errors import UserError
from vssl.evaluate import features, run, score
from vssl.evaluate import passes as passes_module
from vssl.evaluate.cache import Cache
from vssl.evaluate.encoder import Encoder, environment, pretraining
from vssl.evaluate.fields import READ
from vssl.evaluate.knn import predict
from vssl.evaluate.protocol import Protocol, load
from vssl.evaluate.result import of_run

CARD = Input(4, mean=(0.0,) * 3, std=(1.0,) * 3)
NUM = 24


class Colour(Backbone):
    """Mean colour, through a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.map_dims, self.input = 3, (3,), CARD
        self.norm = nn.BatchNorm3d(3)

    def maps(self, x, last=1):
        assert last == 1
        return (self.norm(x.transpose(1, 2)),)


def encoder(folder, *, kind="trained", splits=(1,), seen=None, **changes):
    spec = {"class_path": "Colour", "init_args": {}}
    fields = {"kind": kind, "name": kind, "run": "r0", "folder": folder / "r0" / "results", "spec": spec}
    if kind == "trained":
        fields["checkpoint"] = {"sha": "ab", "step": 1, "epoch": 0, "file": "last.ckpt"}
        fields["pretraining"] = pretraining("m.Tiny", seen, {"hours": 0.5})
    fields |= {"backbone": Colour(), "card": CARD, "splits": list(splits), "seen": seen}
    return Encoder(**fields | changes)


def evaluate(encoders, manifest, labels=("label",), protocol="knn-v1", **settings):
    return run.evaluate(
        [run.Job(load(protocol), encoders)],
        manifest=manifest,
        labels=list(labels),
        settings=run.Settings(**settings),
    )


def test_all_splits_and_labels_come_from_one_pass_and_are_written(tmp_path, manifest, passes):
    found = evaluate([encoder(tmp_path, splits=(1, 2))], manifest, ("label", "speed"))
    assert [(r.split, r.label) for r in found] == [(1, "label"), (1, "speed"), (2, "label"), (2, "speed")]
    assert passes == [list(range(NUM))]
    assert sorted(r.key for r in of_run(tmp_path / "r0")) == sorted(r.key for r in found)


@pytest.mark.usefixtures("passes")
def test_the_score_is_the_knn_of_the_features(tmp_path, manifest, batch):
    (result,) = evaluate([encoder(tmp_path)], manifest)
    test = [row for row in range(0, NUM, 3) if row != 6]
    train = [row for row in range(NUM) if row % 3]
    net = Colour().eval()
    with torch.no_grad():
        values = {row: net(batch([row], 10).views["clips"][0].float() / 255).mean(0).numpy() for row in range(NUM)}
    queries, gallery = (np.stack([values[row] for row in rows]) for rows in (test, train))
    expected = predict(queries, gallery, np.array([row % 2 for row in train]))
    assert result.predictions["row"] == test
    assert result.predictions["predicted"] == expected.tolist()
    assert result.metrics["top1"] == pytest.approx(100 * np.mean(expected == np.array([row % 2 for row in test])))
    assert result.predictions["group"][0] == 0  # row 0 has no group: it is its own
    assert len(set(result.predictions["group"])) == len(test)


@pytest.mark.usefixtures("passes")
def test_unread_and_unlabelled_videos(tmp_path, manifest):
    by_class, by_speed = evaluate([encoder(tmp_path)], manifest, ("label", "speed"))
    assert (by_class.num_scored, by_class.num_listed, by_class.num_official) == (7, 8, 99)
    assert by_class.failures == [{"path": "06.avi", "part": "test", "reason": "frame 3 does not decode"}]
    assert (by_class.num_gallery, by_class.num_gallery_listed) == (16, 16)
    assert (by_speed.num_scored, by_speed.num_listed) == (6, 7)  # row 3 has no speed


def test_what_exists_is_reused_unless_forced(tmp_path, manifest, passes):
    encoders = [encoder(tmp_path), encoder(tmp_path, kind="random", seed=0)]
    first = evaluate(encoders, manifest)
    num_passes = len(passes)
    assert num_passes == 2  # calibration, features
    assert evaluate(encoders, manifest) == first
    assert len(passes) == num_passes
    evaluate(encoders, manifest, force=True)
    assert len(passes) == 2 * num_passes
    # another checkpoint needs its own pass, the cached control does not
    other = encoder(tmp_path, checkpoint={"sha": "cd", "step": 2, "epoch": 0, "file": "last.ckpt"})
    evaluate([other, encoders[1]], manifest)
    assert len(passes) == 2 * num_passes + 1


def test_controls_are_calibrated_on_the_first_splits_train_rows(tmp_path, manifest, passes):
    control = encoder(tmp_path, kind="random", seed=0, splits=(2,))
    evaluate([control], manifest)
    assert passes[0] == [row for row in range(NUM) if row % 3]
    assert not torch.equal(control.backbone.norm.running_mean, torch.zeros(3))


def seen(manifest, rows, dataset="tiny"):
    groups = np.unique(manifest.groups()[rows])
    content = torch.from_numpy(manifest.content()[rows])
    record = {"dataset": dataset, "manifest": "feed", "split": 1, "subset": "train", "rows": "aa"}
    return record | {"num_videos": len(rows), "groups": torch.from_numpy(groups[groups != 0]), "content": content}


def test_a_leaked_split_is_refused_with_the_clean_one(tmp_path, manifest):
    trained = encoder(tmp_path, seen=seen(manifest, np.arange(12, NUM)), splits=(2,))
    score.guard(trained, manifest)
    with pytest.raises(UserError, match=r"r0: split 1: pretraining saw \d source groups.*--splits 2, or"):
        score.guard(encoder(tmp_path, seen=trained.seen, splits=(1,)), manifest)


@pytest.mark.usefixtures("passes")
def test_an_allowed_leak_is_stamped_and_controls_are_not(tmp_path, manifest):
    record = seen(manifest, np.arange(NUM))
    trained = encoder(tmp_path, seen=record)
    control = encoder(tmp_path, kind="random", seed=0)
    results = evaluate([trained, control], manifest)
    assert [r.leaked for r in results] == [True, False]
    assert results[0].leak == "7 source groups and 8 of 8 test files"
    assert results[0].pretraining["data"]["num_videos"] == NUM
    assert "content" not in results[0].pretraining["data"]


def test_unknown_columns_and_splits_are_refused(tmp_path, manifest, passes):
    with pytest.raises(UserError, match="motion: is no label column"):
        evaluate([encoder(tmp_path)], manifest, ("motion",))
    with pytest.raises(UserError, match="7: is no split"):
        evaluate([encoder(tmp_path, splits=(7,))], manifest)
    with pytest.raises(UserError, match="7: is no split"):
        score.guard(encoder(tmp_path, splits=(7,)), manifest)
    assert passes == []
    assert not Path(tmp_path / "r0").exists()


def test_environment_names_versions():
    found = environment(reader="pyav")
    assert found["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["reader"] == "pyav"


NAMES = ["knn-v1", "linear-v1", "retrieval-v1", "fewshot-v1"]


def several(encoders, manifest, names, **settings):
    few = {"optimisation__steps": 5}
    jobs = [run.Job(load(n).override(**few if "optimisation.steps" in load(n).fields else {}), encoders) for n in names]
    return run.evaluate(jobs, manifest=manifest, labels=["label", "speed"], settings=run.Settings(**settings))


def test_protocols_splits_and_labels_share_one_pass_and_what_is_kept(tmp_path, manifest, passes):
    trained = encoder(tmp_path, splits=(1, 2), features=tmp_path / "features")
    found = several([trained], manifest, NAMES)
    assert len(found) == 4 * 2 * 2
    assert passes == [list(range(NUM))]  # every video decoded once
    # another command, other scores wanted: nothing is decoded, and the scores are the same
    again = several([encoder(tmp_path / "b", splits=(1, 2), features=tmp_path / "features")], manifest, NAMES)
    assert len(passes) == 1
    assert [r.metrics for r in again] == [r.metrics for r in found]
    # negative control: other weights are other features
    net = Colour()
    net.norm.weight.data.fill_(0.5)
    other = encoder(tmp_path / "c", splits=(1, 2), features=tmp_path / "features", backbone=net)
    several([other], manifest, NAMES[:1])
    assert len(passes) == 2


@pytest.mark.parametrize("changes", [{"views__crops": 3}, {"views__size": 8}, {"views__fps": 5}, {"views__clips": 3}])
def test_jobs_with_other_views_do_not_share_a_pass(tmp_path, manifest, passes, monkeypatch, changes):
    wanted = []
    loader = passes_module.evaluation_loader
    spy = lambda *args, recipe, **given: wanted.append(recipe) or loader(*args, recipe=recipe, **given)
    monkeypatch.setattr(passes_module, "evaluation_loader", spy)
    protocols = [load("knn-v1"), Protocol("other", {**load("knn-v1").fields, **dotted(changes)})]
    jobs = [run.Job(protocol, [encoder(tmp_path, features=tmp_path / "f")]) for protocol in protocols]
    run.evaluate(jobs, manifest=manifest, labels=["label"], settings=run.Settings())
    assert len(passes) == 2
    assert wanted == [features.recipe(protocol, CARD) for protocol in protocols]
    assert wanted[0] != wanted[1]


class Traced(dict):
    """Remembers the fields that code asks for."""

    def __init__(self, *args):
        super().__init__(*args)
        self.read = set()

    def __getitem__(self, key):
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key, default=None):
        self.read.add(key)
        return super().get(key, default)


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize("name", ["knn-v1", "linear-v1", "retrieval-v1", "fewshot-v1", "temporal-v1"])
def test_every_field_that_may_change_is_read(tmp_path, manifest, name):
    shipped = load(name)
    fields = Traced(
        shipped.override(**{"optimisation.steps": 5} if "optimisation.steps" in shipped.fields else {}).fields
    )
    jobs = [run.Job(Protocol("x", fields), [encoder(tmp_path)])]
    run.evaluate(jobs, manifest=manifest, labels=["label"], settings=run.Settings())
    by_cards = {"input"}  # an encoder's card is made of it before
    assert set(READ[shipped["task"]]) - by_cards <= fields.read
    assert not {field for field in fields if field.startswith("neighbours.")} & fields.read - set(READ[shipped["task"]])


def dotted(changes):
    return {name.replace("__", "."): value for name, value in changes.items()}


def test_clips_of_one_frame_need_no_pass_for_their_variants(tmp_path, manifest, passes):
    result = several([encoder(tmp_path)], manifest, ["temporal-v1"])[0]
    assert passes == [list(range(NUM))]
    assert result.metrics["speed"] == 50.0  # one frame has no speed: the head answers alike for both
    same = {result.metrics[name] for name in ("top1", "frozen", "shuffled", "reversed")}
    assert len(same) == 1
    assert result.classes == ["x1", "x2"]
    assert len(result.predictions["row"]) == 2 * result.num_scored


@pytest.mark.parametrize("batch_size", [8, 3])
def test_a_killed_pass_continues(tmp_path, manifest, passes, monkeypatch, batch_size):
    whole = evaluate([encoder(tmp_path / "whole")], manifest)
    monkeypatch.setattr(features, "SHARD", 8)
    add, kept = Cache.add, []

    def killed(self, name, part):
        add(self, name, part)
        kept.extend(part.rows.tolist() + [video.row for video in part.lost])
        raise KeyboardInterrupt

    monkeypatch.setattr(Cache, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate([encoder(tmp_path, features=tmp_path / "f")], manifest, batch_size=batch_size)
    monkeypatch.setattr(Cache, "add", add)
    passes.clear()
    (found,) = evaluate([encoder(tmp_path, features=tmp_path / "f")], manifest)
    assert 8 <= len(kept) < NUM
    assert passes == [sorted(set(range(NUM)) - set(kept))]
    assert (found.metrics, found.predictions) == (whole[0].metrics, whole[0].predictions)
    assert found.failures == whole[0].failures


def test_a_corrupt_shard_is_said_and_computed_again(tmp_path, manifest, passes, capsys):
    settings = {"console": Console(width=300), "force": False}
    (first,) = evaluate([encoder(tmp_path, features=tmp_path / "f")], manifest)
    (shard,) = (tmp_path / "f").glob("*/*.npz")
    raw = bytearray(shard.read_bytes())
    raw[len(raw) // 2] ^= 255
    shard.write_bytes(bytes(raw))
    (second,) = evaluate([encoder(tmp_path / "b", features=tmp_path / "f")], manifest, **settings)
    assert f"{shard}: cannot be read" in capsys.readouterr().out
    assert len(passes) == 2
    assert second.predictions == first.predictions

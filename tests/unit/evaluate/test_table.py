import json

import pytest

from vssl.evaluate import render, summary, words
from vssl.evaluate.fields import CALIBRATED
from vssl.evaluate.protocol import load
from vssl.evaluate.table import build, differences

VITO = {"spec": {"class_path": "vssl.backbones.tiny.TinyImage", "init_args": {}}, "num_parameters": 3, "seed": None}


def random(make_result, **changes):
    return [make_result(0.4, seed=s, kind="random", **changes) for s in range(3)]


def test_trained_first_then_random_then_baselines(make_result):
    (group,) = build([make_result(0.3, kind="baseline"), *random(make_result), make_result(0.8)])
    assert [row.kind for row in group.rows] == ["trained", "random", "baseline"]
    trained, control, _ = group.rows
    assert (trained.rank, control.rank) == (1, None)
    assert len(control.values[1]) == 3
    assert trained.versus.verdict == "beats"
    assert trained.versus.difference == trained.mean.mean - sum(control.values[1]) / 3


def test_a_network_is_held_against_its_own_initialisation(make_result):
    other = make_result(0.5, seed=9, run="vito", sha="b" * 64, name="VITO", backbone=VITO)
    (group,) = build([make_result(0.8), other, *random(make_result)])
    assert [(row.name, row.versus is None) for row in group.rows[:2]] == [("VSPP", False), ("VITO", True)]
    assert group.rows[1].flags == ["no random control"]


def test_a_hard_field_divides_and_is_named(make_result):
    protocol = load("knn-v1").override(views__clips=5)
    groups = build([make_result(), make_result(protocol=protocol, run="other", sha="b" * 64)])
    assert len(groups) == 2
    assert list(differences(*groups)) == ["views.clips"]
    assert "differ in views.clips: 10 / 5" in render.apart(groups)[0]
    assert [row.rank for group in groups for row in group.rows] == [1, 1]


def test_a_soft_field_is_flagged_and_ranked(make_result):
    card = make_result().card | {"frames": 16}
    (group,) = build([make_result(0.5), make_result(0.9, card=card, run="other", sha="b" * 64, seed=1)])
    assert [row.rank for row in group.rows] == [1, 2]
    assert any("input.frames" in note for note in group.notes)


def test_labels_manifest_and_labels_used_divide(make_result):
    supervised = make_result().pretraining | {"labels_used": "imagenet"}
    results = [
        make_result(),
        make_result(label="motion"),
        make_result(manifest="f" * 16, run="b"),
        make_result(pretraining=supervised, sha="b" * 64, run="c"),
    ]
    groups = build([*results, *random(make_result)])
    assert len(groups) == 4
    # controls used no labels: they stand beside both kinds of pretraining
    assert sum("random" in {row.kind for row in group.rows} for group in groups) == 2
    assert render.apart(groups)


def test_leaked_scores_are_stamped_and_neither_averaged_nor_ranked(make_result):
    leaked = make_result(0.99, leaked=True, leak="2 source groups", run="leaky", sha="b" * 64)
    (group,) = build([make_result(0.6), leaked, *random(make_result)])
    row = next(row for row in group.rows if row.run == "leaky")
    assert (row.rank, row.mean, row.versus) == (None, None, None)
    assert "LEAKED (split 1)" in row.flags
    assert words.value(row, 1).endswith("LEAKED")
    assert group.rows[0].run == "vspp-s0"


def test_a_leaked_split_is_left_out_of_the_mean(make_result):
    results = [make_result(0.5), make_result(0.99, split=2, leaked=True, leak="x", seed=1)]
    (group,) = build(results)
    (row,) = group.rows
    assert row.mean.mean == results[0].metrics["top1"]
    assert row.clean == [1]


def test_ranks_use_the_splits_that_all_share(make_result):
    a = [make_result(0.6, seed=1), make_result(0.9, split=2, seed=2)]
    b = make_result(0.7, seed=3, run="b", sha="b" * 64)
    (group,) = build([*a, b])
    assert group.ranked_on == [1]
    assert [row.run for row in group.rows] == ["b", "vspp-s0"]
    assert "Ranked on split 1, which all rows share." in group.notes


def test_without_a_shared_split_nothing_is_ranked(make_result):
    (group,) = build([make_result(), make_result(split=2, run="b", sha="b" * 64)])
    assert [row.rank for row in group.rows] == [None, None]
    assert any("nothing is ranked" in note for note in group.notes)


def test_unread_videos_are_counted_named_and_unranked_if_others_read_them(make_result):
    failures = [{"path": "a.avi", "part": "test", "reason": "does not decode"}]
    lame = {"num_listed": 301, "failures": failures}
    (group,) = build([make_result(0.9, run="b", sha="b" * 64, **lame), make_result(0.5)])
    assert [(row.run, row.rank) for row in group.rows] == [("vspp-s0", 1), ("b", None)]
    assert words.counts(group.rows[1]) == "300 of 301"
    assert render.unread([group]) == ["not read: a.avi (toy s1 test): does not decode"]
    # the same video lost by both: nobody gained by it
    (group,) = build([make_result(0.9, run="b", sha="b" * 64, **lame), make_result(0.5, **lame)])
    assert [row.rank for row in group.rows] == [1, 2]


def test_copies_of_a_result_count_once_and_two_checkpoints_of_a_run_are_two_rows(make_result):
    later = make_result(0.9, seed=4, checkpoint={"sha": "b" * 64, "step": 1800, "epoch": 72, "file": "last.ckpt"})
    (group,) = build([make_result(), make_result(), later, *random(make_result), *random(make_result)])
    assert [row.run for row in group.rows] == ["vspp-s0 step 1800", "vspp-s0 step 900", ""]
    assert len(group.rows[2].values[1]) == 3


def test_the_leader_is_only_called_ahead_where_it_is_resolved(make_result):
    near = make_result(0.52, seed=5, run="b", sha="b" * 64)
    (group,) = build([make_result(0.5, seed=1), near])
    assert group.notes[-1].endswith("not resolved.")
    far = make_result(0.9, seed=5, run="b", sha="b" * 64)
    (group,) = build([make_result(0.5, seed=1), far])
    assert group.notes[-1].endswith(": resolved.")


def test_few_videos_are_said(make_result):
    results = [make_result(0.9, num_videos=40), *random(make_result, num_videos=40)]
    (group,) = build(results)
    assert words.verdict(group.rows[0]) == "too few videos"


def test_a_part_of_the_official_list_is_said(make_result):
    (group,) = build([make_result(num_official=3783)])
    assert "Not the official test list: split 1 has 300 of its 3783 videos here." in group.notes
    (group,) = build([make_result(num_official=300)])
    assert group.notes == []


def test_csv_and_json_hold_every_row(make_result):
    import csv
    import io

    groups = build([make_result(0.8), *random(make_result), make_result(0.3, kind="baseline")])
    lines = list(csv.DictReader(io.StringIO(render.to_csv(groups))))
    assert [line["method"] for line in lines if line["split"] == "1"] == [
        "VSPP", "random 0", "random 1", "random 2", "PixelHistogram",
    ]  # fmt: skip
    assert [line["verdict"] for line in lines if line["split"] == "mean"] == ["beats", "", ""]
    (group,) = json.loads(render.to_json(groups))
    assert [row["kind"] for row in group["rows"]] == ["trained", "random", "baseline"]
    assert group["hard"]["neighbours.k"] == 20


def test_any_two_ranked_rows_are_compared_in_pairs(make_result):
    rights = {"a": 0.9, "b": 0.55, "c": 0.5}
    results = [make_result(r, seed=i, run=run, sha=run * 64) for i, (run, r) in enumerate(rights.items())]
    leaked = make_result(0.99, leaked=True, leak="x", run="d", sha="d" * 64)
    (group,) = build([*results, leaked, *random(make_result)])
    names = {(group.rows[i].run, group.rows[j].run): found for (i, j), found in group.pairs.items()}
    assert set(names) == {("a", "b"), ("a", "c"), ("b", "c")}
    for (first, second), found in names.items():
        scores = [next(r for r in results if r.run == run).metrics["top1"] for run in (first, second)]
        assert found.difference == pytest.approx(scores[0] - scores[1])
    assert words.resolved(names["a", "b"]) == "resolved"
    assert words.resolved(names["b", "c"]) == "difference not resolved"
    assert len(json.loads(render.to_json([group]))[0]["pairs"]) == 3


def test_further_metrics_are_shown_and_the_first_one_ranks(make_result):
    retrieval = load("retrieval-v1")
    names = ["R@1", "R@5", "R@10", "R@20", "R@50", "R@1 centred"]

    def result(first, **changes):
        metrics = dict(zip(names, [first, 70.0, 80.0, 85.0, 90.25, 41.5], strict=True))
        return make_result(first / 100, protocol=retrieval, metrics=metrics, **changes)

    (group,) = build([result(60.0), result(50.0, split=2), result(40.0, run="b", sha="b" * 64)])
    assert group.metrics == names
    heading, cells = words.columns(group), words.cells(group, group.rows[0])
    assert [cells[heading.index(n)] for n in ("R@1 s1", "R@1 s2", "R@50", "R@1 centred")] == [
        "60.0",
        "50.0",
        "90.2",
        "41.5",
    ]
    assert len(words.numeric(group)) == len(heading)
    assert [(row.run, row.rank) for row in group.rows] == [("vspp-s0", 1), ("b", 2)]
    assert "vspp-s0" in render.to_csv([group])
    assert render.to_csv([group]).count("R@50") == 3


def test_few_groups_are_as_little_as_few_videos(make_result):
    def verdict(num_groups):
        made = {"num_groups": num_groups}
        (group,) = build([make_result(0.9, **made), *random(make_result, **made)])
        return words.verdict(group.rows[0])

    assert [verdict(num) for num in (1, 19, 20)] == ["too few videos", "too few videos", "beats"]


def test_unread_train_videos_are_flagged(make_result):
    lame = {"num_gallery": 476, "num_gallery_listed": 576}
    failures = [{"path": "t.avi", "part": "train", "reason": "does not decode"}]
    (group,) = build([make_result(0.9, run="b", sha="b" * 64, failures=failures, **lame), make_result(0.5)])
    assert [(row.run, row.rank) for row in group.rows] == [("vspp-s0", 1), ("b", None)]
    assert group.rows[1].flags[:2] == ["train videos not read: 100", "incomplete"]


def test_one_checkpoint_under_two_settings_is_two_rows_each_beside_its_own_control(make_result):
    """A soft field changes a score: it is never averaged away."""
    plain, other = load("finetune-v1"), load("finetune-v1").override(optimisation__lr=0.001)
    results = [make_result(0.9, protocol=plain), make_result(0.4, protocol=other)]
    results += random(make_result, protocol=plain)
    results += [make_result(0.2, seed=s, kind="random", protocol=other) for s in range(3)]
    results += [make_result(0.3, kind="baseline", protocol=p, seed=i) for i, p in enumerate((plain, other))]
    (group,) = build(results)
    first, second, *controls = group.rows
    assert [(row.rank, row.run) for row in (first, second)] == [(1, "vspp-s0"), (2, "vspp-s0")]
    assert second.flags == ["finetune-v1+lr=0.001"]
    assert first.flags == []
    assert first.versus.difference == pytest.approx(first.mean.mean - sum(controls[0].values[1]) / 3)
    assert second.versus.difference == pytest.approx(second.mean.mean - sum(controls[1].values[1]) / 3)
    assert [control.flags for control in controls] == [[], ["finetune-v1+lr=0.001"]] * 2
    assert all(len(control.values[1]) == 1 for control in controls[2:])
    assert "Soft fields differ between rows: optimisation.lr." in group.notes
    (part,) = summary.build([group])
    assert [line.cells[0].text for line in part.lines[:2]] == [words.mean(row) for row in (first, second)]


def test_two_settings_that_lost_other_videos_are_not_ranked_together(make_result):
    plain, other = load("finetune-v1"), load("finetune-v1").override(optimisation__lr=0.001)
    lame = {"num_listed": 400, "failures": [{"path": "a.avi", "part": "test", "reason": "does not decode"}]}
    (group,) = build([make_result(0.9, protocol=plain, **lame), make_result(0.4, protocol=other)])
    assert sorted((row.rank, "incomplete" in row.flags) for row in group.rows if row.rank) == [(1, False)]


def test_what_began_with_a_file_of_weights_is_flagged(make_result):
    record = make_result().pretraining
    (group,) = build([make_result(pretraining=record | {"data": record["data"] | {"unknown": True}})])
    assert "pretraining data unknown" in group.rows[0].flags
    assert words.seen(group.rows[0]).startswith("unknown + toy s1")


def test_a_control_is_from_scratch_where_the_whole_network_trains(make_result):
    head = {"frozen__trainable": "head", "frozen__batch_norm": "eval"}
    frozen = load("finetune-v1").override(**head, controls__calibration=CALIBRATED)
    whole = load("attentive-v1").override(frozen__trainable="all")
    for protocol, name in ((frozen, "random init x1"), (whole, "from scratch x1"), (load("knn-v1"), "random init x1")):
        (group,) = build([make_result(kind="random", protocol=protocol)])
        assert words.name(group.rows[0]) == name

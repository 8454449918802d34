from dataclasses import replace

import numpy as np
import pytest
import yaml

from vssl.evaluate import render, summary, words
from vssl.evaluate.families import Origin, origin
from vssl.evaluate.protocol import load
from vssl.evaluate.table import build

CONFIG = {
    "seed_everything": 0,
    "model": {"class_path": "x.VSPP", "init_args": {"optim": {"lr": 0.1}}},
    "data": {"manifest": "a.csv", "root": None, "split": 1, "num_workers": 2, "batch_size": 8},
    "trainer": {"max_steps": 9, "logger": None},
}


def write(run, **changes):
    config = yaml.safe_load(yaml.safe_dump(CONFIG))
    for name, value in changes.items():
        *path, last = name.split("__")
        part = config
        for key in path:
            part = part[key]
        part[last] = value
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    return origin(run)


def test_a_recipe_is_what_remains_without_seed_split_and_places(tmp_path):
    first = write(tmp_path / "a")
    assert first.seed == 0
    other = write(tmp_path / "b", seed_everything=3, data__split=2, data__manifest="z/b.csv", data__num_workers=0)
    assert other == Origin(3, first.recipe)
    for i, change in enumerate(({"data__batch_size": 9}, {"trainer__max_steps": 10}, {"model__class_path": "x.VITO"})):
        assert write(tmp_path / f"c{i}", **change).recipe != first.recipe
    assert origin(tmp_path) is None


def test_a_stage_takes_in_the_recipe_that_it_started_from(tmp_path):
    found = []
    for i, rate in enumerate((0.1, 0.1, 0.2)):
        write(tmp_path / f"{i}" / "aux", seed_everything=i, model__init_args={"lr": rate})
        start = str(tmp_path / f"{i}" / "aux" / "checkpoints" / "last.ckpt")
        found.append(write(tmp_path / f"{i}" / "vspp", seed_everything=i, init_from=start).recipe)
    assert found[0] == found[1] != found[2]


@pytest.fixture
def seeds(make_result):
    """Three runs, their scores, and where they come from."""
    runs = [make_result(0.5 + 0.1 * i, seed=i, run=f"vspp-{i}", sha=str(i) * 64) for i in range(3)]
    return runs, {f"vspp-{i}": Origin(i, "same") for i in range(3)}


def test_seeds_of_a_recipe_become_one_row(seeds, make_result):
    runs, origins = seeds
    random = [make_result(0.4, seed=s + 7, kind="random") for s in range(3)]
    (group,) = build([*runs, *random], origins)
    row, control = group.rows
    values = [r.metrics["top1"] for r in runs]
    assert (row.many, row.rank, row.values[1]) == ("mean of 3 seeds", 1, values)
    assert row.mean.mean == pytest.approx(np.mean(values))
    # per video the mean of the three answers, by hand
    right = np.mean([np.equal(r.predictions["predicted"], r.predictions["true"]) for r in runs], axis=0)
    assert row.scores([1])[0].values == pytest.approx(right)
    assert row.versus.difference == pytest.approx(np.mean(values) - np.mean(control.values[1]))
    (note,) = [note for note in group.notes if "mean of 3 seeds" in note]
    for i, value in enumerate(values):
        assert f"vspp-{i} (seed {i}, split 1) {value:.1f}" in note
    assert f"mean {np.mean(values):.1f}, standard deviation {np.std(values, ddof=1):.1f}" in note
    assert words.who(row) == "VSPP, mean of 3 seeds"
    assert words.cells(group, row)[2] == "3 runs"
    assert '"seed": 2' in render.to_json([group])


def test_without_one_recipe_runs_stay_apart(seeds):
    runs, origins = seeds
    (group,) = build(runs, {})
    assert [row.many for row in group.rows] == ["", "", ""]
    (group,) = build(runs, origins | {"vspp-1": Origin(1, "another")})
    assert sorted((row.many, row.run) for row in group.rows) == [
        ("", "vspp-1"),
        ("mean of 2 seeds", "vspp-0, vspp-2"),
    ]
    (group,) = build(runs, origins | {"vspp-1": Origin(0, "same")})
    assert [row.many for row in group.rows] == ["mean of 3 runs"]


def pretrained(make_result, split, **changes):
    record = make_result().pretraining
    return record | {"data": record["data"] | {"split": split}, **changes}


def test_one_run_per_split_is_one_row_over_all_splits(make_result):
    runs = [
        make_result(0.5 + 0.1 * s, seed=s, run=f"v{s}", sha=str(s) * 64, split=s)
        for s in (1, 2, 3)
    ]  # fmt: skip
    results = [r.__class__(**{**vars(r), "pretraining": pretrained(make_result, r.split)}) for r in runs]
    (group,) = build(results, {f"v{s}": Origin(0, "same") for s in (1, 2, 3)})
    (row,) = group.rows
    assert (row.many, group.ranked_on, row.rank) == ("pretrained on each of 3 splits", [1, 2, 3], 1)
    assert row.mean.mean == pytest.approx(np.mean([r.metrics["top1"] for r in runs]))
    assert words.seen(row) == "toy s1 / toy s2 / toy s3, 21.6k clips each"
    assert not any("standard deviation" in note for note in group.notes)  # splits differ too: no spread of seeds


def test_a_leaked_score_is_not_merged(make_result):
    runs = [make_result(0.5, run="a", sha="a" * 64), make_result(0.6, seed=1, run="b", sha="b" * 64)]
    leaked = make_result(0.99, seed=2, run="b", sha="b" * 64, split=2, leaked=True, leak="x")
    (group,) = build([*runs, leaked], {"a": Origin(0, "r"), "b": Origin(1, "r")})
    whole, apart = group.rows
    assert (whole.many, whole.rank, whole.clean) == ("mean of 2 seeds", 1, [1])
    assert (apart.run, apart.rank, apart.mean) == ("b", None, None)
    assert "LEAKED (split 2)" in apart.flags
    (part,) = summary.build([group])
    assert [line.cells[0].text for line in part.lines] == [f"{whole.mean.mean:.1f}", "LEAKED"]


def test_runs_of_different_length_are_flagged(seeds):
    runs, origins = seeds
    short = runs[0].__class__(**{**vars(runs[0]), "checkpoint": runs[0].checkpoint | {"step": 3, "epoch": 0}})
    (group,) = build([short, *runs[1:]], origins)
    assert "runs of different length" in group.rows[0].flags
    (group,) = build(runs, origins)
    assert "runs of different length" not in group.rows[0].flags


def test_a_row_of_several_runs_is_ranked_by_their_mean(make_result):
    lucky = [make_result(right, seed=i, run=f"a-{i}", sha=f"a{i}" * 32) for i, right in enumerate((0.9, 0.4, 0.4))]
    steady = [make_result(0.7, seed=i + 5, run=f"b-{i}", sha=f"b{i}" * 32, name="VITO") for i in range(3)]
    origins = {f"{name}-{i}": Origin(i, name) for name in "ab" for i in range(3)}
    (group,) = build([*lucky, *steady], origins)
    assert [(row.name, row.rank) for row in group.rows] == [("VITO", 1), ("VSPP", 2)]
    assert group.pairs[0, 1].difference > 0


def test_runs_on_different_data_are_no_seeds_of_each_other(seeds):
    runs, origins = seeds
    record = runs[0].pretraining
    other = record | {"data": record["data"] | {"manifest": "another"}}
    (group,) = build([replace(runs[0], pretraining=other), *runs[1:]], origins)
    assert sorted(row.many for row in group.rows) == ["", "mean of 2 seeds"]


def test_runs_that_are_not_alike_are_flagged(seeds, make_result):
    runs, origins = seeds
    longer = replace(runs[0], checkpoint=runs[0].checkpoint | {"step": 901})
    (group,) = build([longer, *runs[1:]], origins)
    assert group.rows[0].flags[0] == "runs of different length"
    more = make_result(0.5, split=2, run="vspp-0", sha="0" * 64)
    (group,) = build([*runs, more], origins)
    assert group.rows[0].flags[0] == "not every run on every split"


def test_a_copied_run_is_not_another_run(seeds):
    runs, origins = seeds
    copy = replace(runs[0], run="copy")
    (group,) = build([runs[0], copy], origins | {"copy": origins["vspp-0"]})
    (row,) = group.rows
    assert (row.many, row.flags[0]) == ("", "also in vspp-0")
    assert row.run == "copy"


def test_a_copy_brings_the_splits_that_it_alone_was_scored_on(seeds, make_result):
    runs, origins = seeds
    copy = make_result(0.6, split=2, run="z-copy", sha="0" * 64)
    (group,) = build([runs[0], copy], origins | {"z-copy": origins["vspp-0"]})
    (row,) = group.rows
    assert row.clean == [1, 2]


def test_seeds_that_began_with_a_file_of_weights_are_seeds(seeds):
    runs, origins = seeds
    data = runs[0].pretraining["data"] | {"unknown": True}
    (group,) = build([replace(run, pretraining=run.pretraining | {"data": data}) for run in runs], origins)
    assert [row.many for row in group.rows] == ["mean of 3 seeds"]


def test_cells_say_whose_mean_they_are(seeds, make_result):
    """The line is of three seeds; under the other protocol one of them was scored."""
    runs, origins = seeds
    alone = make_result(0.6, run="vspp-0", sha="0" * 64, protocol=load("linear-v1"))
    (part,) = summary.build(build([*runs, alone], origins))
    (line,) = part.lines
    assert line.row.many == "mean of 3 seeds"
    assert [cell.text.partition(" ")[2] for cell in line.cells] == ["(one run)", ""]


def test_cells_say_which_splits_they_are_over(make_result):
    """One column for two groups, which differ in the labels that pretraining used."""
    three = [make_result(0.5, split=split) for split in (1, 2, 3)]
    labels = make_result().pretraining | {"labels_used": "imagenet"}
    other = make_result(0.8, run="b", sha="b" * 64, pretraining=labels)
    (part,) = summary.build(build([*three, other]))
    header, cells = part.splits[0], {line.row.run: line.cells[0].text for line in part.lines}
    assert header == "1"
    assert "(s1,2,3)" in cells["vspp-s0"]
    assert "(" not in cells["b"]

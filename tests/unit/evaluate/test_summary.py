import re

import pytest

from vssl.evaluate import summary, typeset, words
from vssl.evaluate.protocol import load
from vssl.evaluate.table import build

SPEC = {"class_path": "vssl.backbones.baselines.PixelHistogram", "init_args": {}}


@pytest.fixture
def groups(make_result):
    """Two encoders under three protocols; one of them under a changed one as well."""
    names = {"linear-v1": ["top1"], "knn-v1": ["top1"], "retrieval-v1": None}
    results = []
    for i, (run, right) in enumerate((("good", 0.8), ("near", 0.79), ("far", 0.3))):
        for name in names:
            protocol = load(name)
            metrics = {"R@1": 50.0 + i} | {f"R@{k}": 60.0 for k in (5, 10, 20, 50)} | {"R@1 centred": 1.0}
            changes = {} if names[name] else {"metrics": metrics}
            results.append(make_result(right, seed=i, run=run, sha=run * 16, protocol=protocol, **changes))
    other = load("knn-v1").override(views__clips=5)
    other = other.__class__("knn-v1", other.fields)  # same name, other content
    results.append(make_result(0.99, seed=8, run="good", sha="good" * 16, protocol=other))
    results += [make_result(0.4, seed=s, kind="random") for s in range(3)]
    return build(results)


def test_columns_are_protocols_and_equal_names_are_told_apart(groups):
    (part,) = summary.build(groups)
    fingerprints = {g.key.fingerprint for g in groups}
    assert set(part.fingerprints) == fingerprints
    assert len(fingerprints) == 4
    assert part.columns[0] == "linear-v1 top-1"
    assert part.columns[-1] == "retrieval-v1 R@1"
    assert all(re.fullmatch(r"knn-v1 \(native-\w{8}\) top-1", column) for column in part.columns[1:3])


def test_a_cell_is_the_score_of_its_group_and_the_best_are_marked_inside_a_column(groups):
    (part,) = summary.build(groups)
    assert [line.row.run for line in part.lines if line.row.kind == "trained"].count("good") == 1
    lines = {line.row.run: line for line in part.lines}
    for group in groups:
        place = part.fingerprints.index(group.key.fingerprint)
        for row in group.rows:
            cell = lines[row.run].cells[place] if row.run else part.lines[-1].cells[place]
            assert cell.text == f"{row.mean.mean if group.metrics[0] == 'top1' else row.values[1][0]:.1f}"
    linear = [lines[run].cells[0].best for run in ("good", "near", "far")]
    assert linear == [True, True, False]  # 80 and 79 of 100: not told apart
    assert not part.lines[-1].cells[0].best  # a control is never ranked
    alone = [lines["good"].cells[i].best for i in (1, 2) if lines["near"].cells[i].text == ""]
    assert alone == [False]  # nobody to be better than


def test_a_leaked_score_is_a_word(make_result):
    (part,) = summary.build(build([make_result(leaked=True, leak="x")]))
    assert part.lines[0].cells[0].text == "LEAKED"


def test_splits_that_others_lack_are_said(make_result):
    results = [make_result(0.5), make_result(0.5, split=2, run="b", sha="b" * 64)]
    (part,) = summary.build(build(results))
    assert {cell.text[-5:] for line in part.lines for cell in line.cells} == {" (s1)", " (s2)"}


def test_latex_has_one_row_per_encoder_and_escapes(groups, make_result):
    text = typeset.to_latex(groups)
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    (part,) = summary.build(groups)
    assert len(lines) == len(part.lines)
    assert {line.count(" & ") for line in lines} == {4 + len(part.columns)}
    assert lines[0].count(r"\textbf{") >= 1
    for environment in ("table", "tabular"):
        assert text.count(rf"\begin{{{environment}}}") == text.count(rf"\end{{{environment}}}") == 1
    hard = typeset.to_latex(build([make_result(run="a_b%c{d}\\e", label="x&y")]))
    assert r"a\_b\%c\{d\}\textbackslash{}e" in hard
    assert r"x\&y" in hard
    assert "% Not ranked together" in text


def test_markdown_has_whole_rows_and_escapes(groups, make_result):
    text = typeset.to_markdown(groups)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    (part,) = summary.build(groups)
    assert len(rows) == 2 + len(part.lines)
    assert len({line.count(" | ") for line in rows}) == 1
    assert "Not ranked together" in text
    assert r"a\|b" in typeset.to_markdown(build([make_result(run="a|b")]))


def test_labels_that_came_through_a_frozen_network_are_said(make_result):
    frozen = "ImageTarget mobilenetv2_100 (ImageNet-1k, supervised)"
    record = make_result().pretraining
    learnt = make_result(0.6, pretraining=record | {"frozen": frozen, "labels_used": "ImageNet-1k"})
    arguments = {"name": "mobilenetv2_100", "weights": "x.pth", "labels_used": "ImageNet-1k"}
    spec = {"class_path": "vssl.backbones.ImageTarget", "init_args": arguments}
    teacher = make_result(
        0.7, kind="baseline", seed=3, backbone={"spec": spec, "num_parameters": 0, "seed": None}, name=frozen
    )
    plain = make_result(0.3, kind="baseline", backbone=teacher.backbone | {"spec": SPEC, "num_parameters": 0})
    groups = build([learnt, teacher, plain, make_result(0.5, run="alone")])
    (part,) = summary.build(groups)
    assert [(line.labels, words.backbone(line.row)) for line in part.lines] == [
        ("ImageNet-1k", "TinyVideo"),
        ("none", "TinyVideo"),
        ("ImageNet-1k", "mobilenetv2_100"),
        ("none", "no network"),
    ]
    with_labels, without = groups
    assert with_labels.rows[0].flags[0] == f"learnt from {frozen}"
    assert not any("learnt" in flag for flag in without.rows[0].flags)
    assert [row.rank for group in groups for row in group.rows if row.rank] == [1, 1]  # never against each other

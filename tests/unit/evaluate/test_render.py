"""The table in a terminal of any width: figures and words stay whole, and what has no room is named."""

import io

import pytest
from rich.console import Console

from vssl.evaluate import render, words
from vssl.evaluate.protocol import load
from vssl.evaluate.table import build

LONG = "ImageTarget mobilenetv2_100 (ImageNet-1k, supervised)"


@pytest.fixture
def group(make_result):
    metrics = {"R@1": 51.234, "R@5": 60.0, "R@10": 70.0, "R@20": 80.0, "R@50": 100.0, "R@1 centred": 44.0}
    shared = {"protocol": load("retrieval-v1"), "metrics": metrics}
    trained = [make_result(0.8, split=split, run="auxskd-vspp-s1-seed0/vspp", **shared) for split in (1, 2, 3)]
    random = [make_result(0.4, seed=s, kind="random", split=k, **shared) for s in range(3) for k in (1, 2, 3)]
    (group,) = build([*trained, *random, make_result(0.3, kind="baseline", name=LONG, **shared)])
    return group


def shown(group, width):
    console = Console(file=io.StringIO(), width=width)
    render.show([group], console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [100, 120, 160, 200, render.WIDE])
def test_no_line_is_too_long_and_no_word_or_figure_broken(group, width):
    text = shown(group, width)
    assert max(map(len, text.splitlines())) <= width
    for whole in (
        "VSPP",
        words.counts(group.rows[0]),
        "beats",
        "mobilenetv2_100",
        words.interval(group.rows[0]),
        words.versus(group.rows[0]),
    ):
        assert whole in text


def test_what_has_no_room_is_named(group):
    assert "Left out" not in shown(group, render.WIDE)
    assert "R@50" in shown(group, render.WIDE)
    narrow = shown(group, 160)
    assert "Left out at this width: R@1 centred, R@50, R@20, R@10, R@5" in narrow
    assert "R@1 s2" in narrow.split("Left out")[0]
    narrowest = shown(group, 100)
    assert "R@1 s1, R@1 s2, R@1 s3, run; vssl compare --html" in " ".join(narrowest.split())
    assert "mean" in narrowest

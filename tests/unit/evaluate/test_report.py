import re
from html.parser import HTMLParser

import pytest

from vssl.evaluate.charts import bars, curve, dots
from vssl.evaluate.report import page
from vssl.evaluate.table import build

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Checker(HTMLParser):
    """Balanced tags, unique ids, labelled pictures, nothing fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.pictures, self.text, self.problems = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag in ("svg", "img") and "svg" not in self.open:
            self.pictures.append(attributes.get("aria-label") or attributes.get("alt"))
        self.problems += [a for a in attributes if a in ("src", "href", "onclick")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}>")

    def handle_data(self, data):
        self.text.append(data)


def check(html):
    checker = Checker()
    checker.feed(html)
    return checker


@pytest.fixture
def groups(make_result):
    results = [make_result(0.8), *[make_result(0.4, seed=s, kind="random") for s in range(3)]]
    return build([*results, make_result(0.3, kind="baseline"), make_result(0.5, seed=8, label="motion")])


def test_the_page_is_whole_offline_and_labelled(groups):
    html = page(groups, [])
    found = check(html)
    assert found.problems == []
    assert found.open == []
    assert len(set(found.ids)) == len(found.ids)
    assert len(found.pictures) > 5
    assert all(found.pictures)
    assert "http" not in html
    assert "url(" not in html
    assert html.startswith("<!DOCTYPE html>")
    text = " ".join(" ".join(found.text).split())
    assert "VSPP (vspp-s0)" in text
    assert "The interval lies above 0" in text
    assert "None: every listed video was scored." in text
    assert "neighbours.temperature" in text


def test_names_are_escaped(make_result):
    html = page(build([make_result(run="<script>alert(1)</script>", label="a&b")]), [])
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "a&amp;b" in html


def test_a_leak_and_an_unread_video_are_said(make_result):
    failures = [{"path": "bad.avi", "part": "test", "reason": "frame 3 does not decode"}]
    leaky = make_result(leaked=True, leak="2 source groups and 0 of 300 test files", failures=failures)
    text = " ".join(" ".join(check(page(build([leaky]), [])).text).split())
    assert "LEAKED" in text
    assert "pretraining saw 2 source groups" in text
    assert "bad.avi" in text


def test_no_claim_without_enough_videos(make_result):
    results = [make_result(0.9, num_videos=40)]
    results += [make_result(0.2, seed=s, kind="random", num_videos=40) for s in range(3)]
    text = " ".join(check(page(build(results), [])).text)
    assert "too few to say anything" in text
    assert "pretraining helped" not in text


def test_dots_lie_where_the_numbers_are(groups):
    group = next(g for g in groups if g.key.label == "speed")
    found, axis = dots(group)
    end = float(axis.ticks[-1][1])
    assert [dot.kind for dot in found] == ["trained", "random", "baseline"]
    for dot, row in zip(found, group.rows, strict=True):
        assert dot.x * end / 100 == pytest.approx(row.mean.mean)
        assert dot.low < dot.x < dot.high <= 100
    assert axis.chance * end / 100 == pytest.approx(25)


def test_bars_average_to_the_difference(groups):
    group = next(g for g in groups if g.key.label == "speed")
    found, left_out = bars(group, group.rows[0])
    assert left_out == 0
    total = sum(bar.points * bar.num_videos for bar in found) / sum(bar.num_videos for bar in found)
    assert total == pytest.approx(group.rows[0].versus.difference)
    assert [bar.points for bar in found] == sorted((bar.points for bar in found), reverse=True)


def test_many_classes_are_cut_and_said(make_result):
    results = [make_result(0.8, num_classes=50, num_videos=500)]
    results += [make_result(0.4, seed=s, kind="random", num_classes=50, num_videos=500) for s in range(3)]
    (group,) = build(results)
    found, left_out = bars(group, group.rows[0])
    assert (len(found), left_out) == (20, 30)
    assert "30 classes in between are not shown" in page([group], [])


def test_the_curve_joins_the_parts_of_a_resumed_run(tmp_path):
    assert curve(tmp_path) is None
    (tmp_path / "metrics.1.csv").write_text("step,train/loss,lr\n0,4.0,\n0,,0.1\n10,3.0,\n")
    (tmp_path / "metrics.csv").write_text("step,train/loss\n20,2.0\n30,nan\n40,1.0\n")
    found = curve(tmp_path)
    assert (found.low, found.high, found.last_step) == (1.0, 4.0, 40)
    assert re.findall(r"\S+", found.points) == ["0.00,5.00", "25.00,35.00", "50.00,65.00", "100.00,95.00"]

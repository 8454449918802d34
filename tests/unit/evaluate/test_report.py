import re
import warnings
from html.parser import HTMLParser

import html5lib
import pytest

from vssl.evaluate import literature, summary, words
from vssl.evaluate.charts import bars, curve, dots
from vssl.evaluate.families import Origin
from vssl.evaluate.gallery import Gallery, Shown
from vssl.evaluate.protocol import load
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
        self.problems += [a for a in attributes if a in ("href", "onclick", "srcset")]
        self.problems += [v for a, v in attrs if a == "src" and not v.startswith("data:image/")]
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # html5lib's own deprecations
        parser = html5lib.HTMLParser(strict=False)
        parser.parse(html)
    assert parser.errors == []
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


def test_the_control_of_finetuning_is_called_from_scratch(make_result, groups):
    tuned = load("finetune-v1")
    both = [make_result(0.8, protocol=tuned), make_result(0.4, kind="random", protocol=tuned)]
    below = make_result(0.1, run="worse", sha="b" * 64, protocol=tuned)
    (group,) = build([*both, below])
    assert words.name(group.rows[-1]) == "from scratch x1"
    assert "minus scratch" in words.columns(group)
    assert words.numeric(group)[words.columns(group).index("minus scratch")]
    text = " ".join(" ".join(check(page([group], [])).text).split())
    assert "points against the same network trained from scratch" in text
    assert "is worse than trained from scratch" in text
    assert "open dot: the same network from scratch" in text
    assert "change per class against the same network from scratch" in text
    assert "random initialisations" not in text
    assert text.startswith("vssl: comparison of encoders")
    assert "Comparison of encoders" in text
    frozen = " ".join(" ".join(check(page(groups, [])).text).split())
    assert "against its random initialisations" in frozen
    assert "minus random" in frozen
    assert "random init x3" in frozen
    assert "minus scratch" not in frozen
    (mixed,) = summary.build([group, groups[-1]])  # a line for each: they are not one control
    names = [words.who(line.row) for line in mixed.lines if line.row.kind == "random"]
    assert sorted(names) == ["from scratch x1", "random init x3"]


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


@pytest.fixture
def everything(make_result):
    """A page with every part that it can have."""
    results = [make_result(0.5 + i / 10, seed=i, run=f"s{i}", sha=str(i) * 64, dataset="ucf101") for i in range(3)]
    results += [make_result(0.5, seed=4, run="b", sha="b" * 64, name="VITO", dataset="ucf101")]
    results += [make_result(0.49, seed=6, run="n", sha="d" * 64, name="VIVI", dataset="ucf101")]
    results += [make_result(0.9, run="l", sha="c" * 64, dataset="ucf101", leaked=True, leak="3 source groups")]
    results += [make_result(0.4, seed=s, kind="random", dataset="ucf101") for s in range(3)]
    other = load("knn-v1").override(views__clips=5)
    results += [make_result(0.5, seed=4, run="b", sha="b" * 64, name="VITO", dataset="ucf101", protocol=other)]
    shown = Shown("data:image/webp;base64,AAAA", "class <1>", False, "v_1.avi, class <1>")
    gallery = Gallery("VITO (b)", "ucf101, label, split 1", [(shown, [shown, shown._replace(uri="", right=True)])])
    lost = ["iboot seed 0: fit: exit code 2: no <teacher>"]
    groups = build(results, {f"s{i}": Origin(i, "r") for i in range(3)})
    return page(groups, [], lost=lost, galleries=[gallery])


def test_a_page_with_every_part_is_valid_and_says_all(everything):
    found = check(everything)
    assert found.problems == []
    assert found.open == []
    assert all(found.pictures)
    text = " ".join(" ".join(found.text).split())
    for sentence in (
        "VSPP, mean of 3 seeds",
        "difference not resolved",
        "differ in views.clips: 10 / 5",
        "no <teacher>",
        "LEAKED",
        "taken for",
        "21.6k",
        "not decoded",
        "same class",
        "Reported elsewhere",
    ):
        assert sentence in text, sentence


def test_the_validator_finds_mistakes(everything):
    for broken in (everything.replace("</section>", "", 1), everything.replace("<tbody>", "<tbody><p>", 1)):
        with pytest.raises(AssertionError):
            check(broken)


def test_literature_of_the_data_set_is_shown_and_memory_is_not_shown_as_published(everything, groups):
    rows = literature.rows(dataset="ucf101")
    table = everything[everything.index('id="literature"') :]
    found = re.findall(r"<tr[^>]*><th scope=\"row\">.*?</tr>", table, re.DOTALL)
    assert len(found) == len(rows) > 50
    for row, line in zip(rows, found, strict=True):
        assert f">{row.label}<" in line
        assert (f"<em>{row.number}</em>" in line) == (not row.verified)
    assert 'id="literature"' not in page(groups, [])  # nobody reports the toy world


def test_names_in_every_part_are_escaped(everything):
    assert "class <1>" not in everything
    assert "no <teacher>" not in everything

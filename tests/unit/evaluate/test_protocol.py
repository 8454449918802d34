import pytest

from vssl.errors import UserError
from vssl.evaluate.protocol import FIELDS, METRICS, Protocol, fields_that_differ, fingerprint, load, names, parse
from vssl.evaluate.readouts import READOUTS

CARD = {"size": 112, "frames": 16, "stride": 1, "mean": (0.5,) * 3, "std": (0.25,) * 3, "color": "rgb"}
FRAME = CARD | {"size": 224, "frames": 1}


def test_the_shipped_protocols_load():
    assert names() == ["fewshot-v1", "knn-v1", "linear-v1", "retrieval-v1", "temporal-v1"]
    assert {load(name)["task"] for name in names()} == set(METRICS) == set(READOUTS)
    assert set().union(*(load(name).fields for name in names())) == set(FIELDS)
    knn = load("knn-v1")
    assert (knn["neighbours.k"], knn["neighbours.temperature"], knn["views.clips"]) == (20, 0.07, 10)


@pytest.mark.parametrize(
    ("name", "fingerprint"),
    [
        ("knn-v1", "547752e0"),
        ("linear-v1", "7f5ed341"),
        ("retrieval-v1", "941f6497"),
        ("fewshot-v1", "708bd44a"),
        ("temporal-v1", "751aa72e"),
    ],
)
def test_the_fingerprint_of_a_published_protocol_is_fixed(name, fingerprint):
    # a changed protocol is a new version: old results would silently stop being comparable
    assert load(name).record(CARD)["fingerprint"] == f"native-{fingerprint}"


def test_native_input_is_soft():
    a, b = load("knn-v1").record(CARD), load("knn-v1").record(FRAME)
    assert a["fingerprint"] == b["fingerprint"]
    assert a["fingerprint"].startswith("native-")
    assert fields_that_differ(a, b) == {}
    assert fields_that_differ(a, b, "soft") == {"input.frames": (16, 1), "input.size": (112, 224)}


def test_fixed_input_is_hard():
    fields = dict(load("knn-v1").fields)
    a, b = (Protocol("fixed", fields | {"input": card}).record(CARD) for card in (CARD, FRAME))
    assert a["fingerprint"] != b["fingerprint"]
    assert "native" not in a["fingerprint"]
    assert set(fields_that_differ(a, b)) == {"input"}


@pytest.mark.parametrize("field", sorted(f for f, part in FIELDS.items() if part == "hard" and f != "input"))
def test_every_hard_field_changes_the_fingerprint(field):
    before = load("knn-v1")
    after = Protocol("x", dict(before.fields) | {field: "other"})
    a, b = before.record(CARD), after.record(CARD)
    if field == "readout.frames":  # frame aggregation is part of a native input
        assert a["fingerprint"] == b["fingerprint"]
    else:
        assert a["fingerprint"] != b["fingerprint"]
        assert fields_that_differ(a, b) == {field: (before.fields.get(field), "other")}


def test_info_fields_do_not_count():
    before = load("knn-v1")
    after = Protocol("other name", dict(before.fields) | {"about": "x", "controls.random_seeds": [7]})
    assert before.record(CARD)["fingerprint"] == after.record(CARD)["fingerprint"]


def test_an_override_is_said_in_the_name():
    changed = load("knn-v1").override(views__clips=5)
    assert changed.name == "knn-v1+clips=5"
    assert load("knn-v1").override(views__clips=10).name == "knn-v1"


def test_fingerprint_ignores_order():
    record = load("knn-v1").record(CARD)
    turned = record | {"hard": dict(reversed(record["hard"].items()))}
    assert fingerprint(turned) == record["fingerprint"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\ntask: knn\ninput: native\nviews: {klips: 3}", "x: views.klips: is not a field"),
        ("name: x\ntask: knn", "x: the protocol has no field input"),
        ("name: x\ntask: knn\ninput: {size: 3}", "is neither native nor size, frames"),
    ],
)
def test_a_wrong_protocol_is_refused(text, words):
    with pytest.raises(UserError, match=words):
        parse(text)


def test_an_unknown_protocol_is_refused():
    with pytest.raises(UserError, match=r"knn-v9: is not a known protocol\. Known: .*knn-v1"):
        load("knn-v9")

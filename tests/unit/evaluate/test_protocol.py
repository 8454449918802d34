import re

import pytest

from vssl.backbones.base import Input
from vssl.backbones.tiny import TinyVideo
from vssl.errors import UserError
from vssl.evaluate.clips import TASKS
from vssl.evaluate.clips.data import training_recipe
from vssl.evaluate.clips.network import optim
from vssl.evaluate.features import card_of, recipe
from vssl.evaluate.fields import CALIBRATED, FIELDS, READ
from vssl.evaluate.protocol import METRICS, Protocol, fields_that_differ, fingerprint, load, names, parse
from vssl.evaluate.readouts import READOUTS

CARD = {"size": 112, "frames": 16, "stride": 1, "mean": (0.5,) * 3, "std": (0.25,) * 3, "color": "rgb"}
NATIVE_ONES = [f"{n}-v1" for n in ("attentive", "fewshot", "finetune", "knn", "linear", "retrieval", "temporal")]
HISTORICAL = {
    "coclr-2020": 2020,
    "coclr-retrieval-2020": 2020,
    "rho-2021": 2021,
    "rspnet-2021": 2021,
    "severe-2022": 2022,
    "vcop-2019": 2019,
    "videomae-2022": 2022,
}
FRAME = CARD | {"size": 224, "frames": 1}


def test_the_shipped_protocols_load():
    assert names() == sorted([*NATIVE_ONES, *HISTORICAL])
    assert {load(name)["task"] for name in names()} == set(METRICS) == set(READ) == set(READOUTS) | set(TASKS)
    assert not set(READOUTS) & set(TASKS)
    assert {load(name)["controls.calibration"] for name in names()} == {"none", CALIBRATED}
    assert set().union(*(load(name).fields for name in names())) == set(FIELDS)
    knn = load("knn-v1")
    assert (knn["neighbours.k"], knn["neighbours.temperature"], knn["views.clips"]) == (20, 0.07, 10)


@pytest.mark.parametrize("name", names())
def test_every_protocol_file(name):
    """Name, record, input, and what makes a historical one readable or runnable."""
    found = load(name)
    record = found.record(CARD)
    assert found.name == name
    assert found.native == (name in NATIVE_ONES)
    assert record["fingerprint"].startswith("native-") == found.native
    assert found["about"]
    assert found["controls.random_seeds"]
    if name in HISTORICAL:
        assert str(HISTORICAL[name]) in found["citation"]
        assert len(found["caveats"]) >= 2
        assert record["hard"]["input"]["mean"] == "native"  # colours belong to the encoder, and are shown
        assert record["soft"]["input.mean"] == [0.5] * 3
    if "missing" in found.fields:
        with pytest.raises(UserError, match=f"{name}: cannot be run here: "):
            found.must_run()
        return
    found.must_run()
    card = found["input"] if name in HISTORICAL else CARD
    view = recipe(found, Input(card["size"], card["frames"], card["stride"])).views["clips"]
    assert len(view.augment) == found["views.crops"]
    if found["task"] in TASKS:
        assert optim(found).lr == found["optimisation.lr"]
        assert training_recipe(found, Input(112, 16)).copies == found["optimisation.clips_per_video"]
        assert (found["splits.validation"] == "none") == (found["splits.selection"] == "last")
        assert found.selected_on_test == (name in ("rspnet-2021", "severe-2022"))
        assert found.selected_on_test == any(
            "selected on test" in str(words) for words in found.fields.get("caveats", ())
        )


@pytest.mark.parametrize(
    ("name", "fingerprint"),
    [
        ("finetune-v1", "407d0122"),
        ("attentive-v1", "da144a6e"),
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


FIXED = [
    (name, field)
    for name in NATIVE_ONES
    for field in load(name).fields
    if field not in {*READ[load(name)["task"]], "task"} and FIELDS[field] != "info"
]


@pytest.mark.parametrize(("name", "field"), FIXED)
def test_a_field_that_nothing_reads_cannot_be_changed(name, field):
    with pytest.raises(UserError, match=re.escape(f"{field}=other: is always ")):
        load(name).override(**{field.replace(".", "__"): "other"})
    file = Protocol("x", {**load(name).fields, field: "other"})
    with pytest.raises(UserError, match=re.escape(f"{field}=other: is always ")):
        file.must_run()


def test_what_may_be_changed_is_said():
    for field in ("distance", "normalise", "centring", "gallery", "same_group", "ties"):
        assert ("knn-v1", f"neighbours.{field}") in FIXED
    assert {("linear-v1", "splits.refit"), ("linear-v1", "head.dropout"), ("finetune-v1", "views.flip")} <= set(FIXED)
    with pytest.raises(UserError) as error:
        load("knn-v1").override(neighbours__distance="euclidean")
    assert str(error.value).startswith(
        "neighbours.distance=euclidean: is always cosine in a knn protocol. May change: input, views.crops, "
    )
    with pytest.raises(UserError, match="task=linear: is always knn in a knn protocol"):
        load("knn-v1").override(task="linear")
    assert load("knn-v1").override(neighbours__k=5, about="mine").fields["neighbours.k"] == 5


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("knn-v1", {"task": "linear"}, "x: the protocol has no field head.layers. Add it, as in linear-v1"),
        ("knn-v1", {"head.dropout": 0.5}, "head.dropout=0.5: means nothing in a knn protocol"),
        ("knn-v1", {"views.crops": 2}, "views.crops=2: is none of 1, 3"),
        ("knn-v1", {"task": "tree"}, "task=tree: is none of knn, retrieval, "),
        ("rho-2021", {"input": {**load("rho-2021")["input"], "color": "hsv"}}, "has a color that is none of native"),
        ("retrieval-v1", {"neighbours.ks": [5, 1]}, "does not begin with 1, whose score ranks"),
        ("fewshot-v1", {"fewshot.shots": 10}, "fewshot.shots=10: does not begin with 5"),
        ("temporal-v1", {"views.variants": ["normal", "frozen"]}, "is no list of normal, frozen, shuffled"),
        ("temporal-v1", {"views.variants": ["normal", "x2", "mirrored"]}, "is no list of normal, frozen, shuffled"),
        ("finetune-v1", {"splits.validation": "test"}, "splits.selection=last: does not go with splits.validation"),
        ("attentive-v1", {"frozen.batch_norm": "train"}, "frozen.batch_norm=train: does not go with frozen.trainable"),
        ("finetune-v1", {"frozen.trainable": "head", "frozen.batch_norm": "eval"}, "controls.calibration=none: does"),
    ],
)
def test_a_file_with_a_value_that_is_not_read_cannot_be_run(name, changes, words):
    Protocol("x", load(name).fields).must_run()
    with pytest.raises(UserError, match=re.escape(words)):
        Protocol("x", {**load(name).fields, **changes}).must_run()


def test_a_file_without_a_field_that_decides_cannot_be_run():
    fields = {field: value for field, value in load("knn-v1").fields.items() if field != "neighbours.ties"}
    with pytest.raises(UserError, match=r"x: the protocol has no field neighbours.ties. Add it, as in knn-v1"):
        Protocol("x", fields).must_run()


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


def test_a_partly_fixed_input_takes_the_rest_from_the_card():
    given = {"size": 64, "frames": 4, "stride": 2} | dict.fromkeys(("mean", "std", "color"), "native")
    protocol = Protocol("x", {"task": "knn", "input": given})
    net = TinyVideo(4, size=24, frames=8)
    net.input = net.input._replace(color="bgr")
    assert card_of(protocol, net) == net.input._replace(size=64, frames=4, stride=2)
    a, b = (protocol.record(card) for card in (CARD, CARD | {"color": "bgr"}))
    assert a["fingerprint"] == b["fingerprint"]
    assert fields_that_differ(a, b, "soft") == {"input.color": ("rgb", "bgr")}

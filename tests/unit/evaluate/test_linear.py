import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from vssl.errors import UserError
from vssl.evaluate.linear import Grid, Head, cross_entropy, fit, held_out, product
from vssl.evaluate.protocol import load
from vssl.evaluate.readouts.base import Part
from vssl.evaluate.readouts.linear import chosen
from vssl.evaluate.readouts.linear import linear as readout

NUM_CLASSES = 5


def features(num, *, seed, width=24, signal=1.0, num_groups=10):
    """Class centres in directions of very different variance, and a part that a whole source group shares."""
    rng = np.random.default_rng(0)
    scale = np.geomspace(30, 0.1, width)
    centre = signal * rng.normal(size=(NUM_CLASSES, width))
    source = 0.7 * rng.normal(size=(NUM_CLASSES * num_groups, width))
    turn = np.linalg.qr(rng.normal(size=(width, width)))[0]
    rng = np.random.default_rng(seed)
    labels = rng.integers(NUM_CLASSES, size=num)
    groups = labels * num_groups + rng.integers(num_groups, size=num)
    own = centre[labels] + source[groups] + 1.5 * rng.normal(size=(num, width))
    return ((own * scale) @ turn).astype(np.float32) + 7, labels, groups


def part(x, y, groups):
    return Part(np.arange(len(x)), y, groups, {"normal": x})


@pytest.mark.parametrize("decay", [1e-3, 1e-1])
def test_a_head_is_scikit_learns_of_the_same_penalty(decay):
    x, y, _ = features(600, seed=1)
    new, _, _ = features(1000, seed=2)
    (head,) = fit(x, y, NUM_CLASSES, grid=Grid((1.0,), (decay,), 400, 512))
    scaled = (x - x.mean(0)) / x.std(0)
    reference = LogisticRegression(C=1 / (len(x) * decay), max_iter=5000, tol=1e-8).fit(scaled, y)
    again = (new - x.mean(0)) / x.std(0)
    expected = reference.predict_proba(again)
    found = np.exp(head.logits(new))
    np.testing.assert_allclose(found / found.sum(1, keepdims=True), expected, atol=0.02)
    # negative control: another penalty is another head
    other = np.exp(fit(x, y, NUM_CLASSES, grid=Grid((1.0,), (10 * decay,), 400, 512))[0].logits(new))
    assert np.abs(other / other.sum(1, keepdims=True) - expected).max() > 0.05


def test_the_chosen_head_is_within_a_point_of_scikit_learn():
    x, y, groups = features(1500, seed=1)
    new, truth, _ = features(3000, seed=2)
    head, details = chosen(load("linear-v1"), x, y, groups, num_classes=NUM_CLASSES, device="cpu")
    reference = LogisticRegression(C=1 / (len(x) * details["weight_decay"]), max_iter=5000)
    theirs = reference.fit((x - x.mean(0)) / x.std(0), y).score((new - x.mean(0)) / x.std(0), truth)
    ours = (head.predict(new) == truth).mean()
    assert 0.5 < theirs < 0.99
    assert abs(ours - theirs) < 0.01


def test_settings_do_not_touch_each_other():
    x, y, _ = features(200, seed=3)
    grid = product([0.1, 1e30], [0.001, 0.1], steps=50, batch=64)
    assert grid.lr == (0.1, 0.1, 1e30, 1e30)
    together = fit(x, y, NUM_CLASSES, grid=grid)
    assert not np.isfinite(together[2].weight).all()  # diverged beside the others
    (alone,) = fit(x, y, NUM_CLASSES, grid=Grid((0.1,), (0.1,), 50, 64))
    np.testing.assert_allclose(together[1].weight, alone.weight, rtol=1e-3, atol=1e-5)
    assert np.abs(together[0].weight - alone.weight).max() > 1e-3


def test_the_same_input_gives_the_same_head():
    x, y, _ = features(200, seed=3)
    one, two = (fit(x, y, NUM_CLASSES, grid=Grid((0.1,), (0.1,), 20, 64))[0] for _ in range(2))
    np.testing.assert_array_equal(one.weight, two.weight)


def test_a_feature_without_variance_does_no_harm():
    x, y, _ = features(300, seed=4)
    x[:, 0] = 3.0
    (head,) = fit(x, y, NUM_CLASSES, grid=Grid((0.3,), (0.01,), 100, 64))
    assert head.std[0] == 1.0
    assert np.isfinite(head.weight).all()
    assert (head.predict(x) == y).mean() > 0.6


def test_a_diverged_setting_never_wins():
    x, y, groups = features(200, seed=3)
    settings = load("linear-v1").override(optimisation__lr=[1e30, 0.1])
    _, details = chosen(settings, x, y, groups, num_classes=NUM_CLASSES, device="cpu")
    assert details["lr"] == 0.1
    assert [s["top1"] for s in details["validation"]].count(-1.0) == 4


def test_validation_holds_out_whole_groups_of_every_class_and_nothing_else():
    _, y, groups = features(500, seed=5)
    aside = held_out(y, groups, share=0.2)
    assert not set(groups[aside]) & set(groups[~aside])
    assert {len(set(groups[aside & (y == c)])) for c in range(NUM_CLASSES)} == {2}
    order = np.random.default_rng(0).permutation(500)
    np.testing.assert_array_equal(held_out(y[order], groups[order], share=0.2), aside[order])
    assert not held_out(y, y, share=0.2).any()  # one group per class


def test_without_a_second_group_nothing_can_be_chosen():
    x, y, _ = features(100, seed=3)
    with pytest.raises(UserError, match=r"linear-v1: needs a class with two source groups"):
        chosen(load("linear-v1"), x, y, y, num_classes=NUM_CLASSES, device="cpu")


def test_the_winner_does_not_depend_on_the_test_list():
    train, test = features(300, seed=1), features(200, seed=2)
    wrong = (test[0], (test[1] + 1) % NUM_CLASSES, test[2])
    settings = load("linear-v1").override(optimisation__steps=50)
    names = [str(c) for c in range(NUM_CLASSES)]
    one, two = (readout(settings, part(*train), part(*t), classes=names, device="cpu") for t in (test, wrong))
    assert one.details == two.details
    assert one.metrics != two.metrics
    head = Head(**one.arrays)
    recomputed = ((test[0].astype(float) - head.mean) / head.std) @ head.weight.astype(float) + head.bias
    assert one.metrics["top1"] == 100 * float((recomputed.argmax(1) == test[1]).mean())


def test_cross_entropy_is_the_formula():
    x, y, _ = features(50, seed=6)
    (head,) = fit(x, y, NUM_CLASSES, grid=Grid((0.3,), (0.01,), 30, 64))
    p = np.exp(head.logits(x))
    assert cross_entropy(head, x, y) == pytest.approx(-np.log((p / p.sum(1, keepdims=True))[np.arange(50), y]).mean())

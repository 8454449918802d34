import re

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from vssl.evaluate.confusion import counts, heat
from vssl.evaluate.protocol import load
from vssl.evaluate.table import build


def cells(found):
    """The matrix of levels, drawn again from the paths."""
    matrix = np.zeros((found.num_classes, found.num_classes))
    for opacity, path in found.levels:
        for x, y, width in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\3z", path):
            assert matrix[int(y), int(x) : int(x) + int(width)].sum() == 0
            matrix[int(y), int(x) : int(x) + int(width)] = opacity
        assert re.sub(r"M\d+ \d+h(\d+)v1h-\1z", "", path) == ""
    return matrix


@pytest.fixture
def group(make_result):
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(5, size=(2, 300))
    result = make_result(num_classes=5)
    columns = result.predictions | {"true": true.tolist(), "predicted": predicted.tolist()}
    (group,) = build([make_result(num_classes=5, predictions=columns)])
    return group


def test_counts_equal_scikit_learns(group):
    columns = group.rows[0].first.predictions
    assert (counts(group.rows[0]) == confusion_matrix(columns["true"], columns["predicted"])).all()


def test_the_picture_holds_the_shares_rounded_up_to_tenths(group):
    found, columns = heat(group, group.rows[0]), group.rows[0].first.predictions
    share = confusion_matrix(columns["true"], columns["predicted"], normalize="true")
    assert cells(found) == pytest.approx(np.ceil(share * 10) / 10)
    assert found.names == group.rows[0].first.classes
    assert "300 answers on the diagonal" in found.alt
    matrix = confusion_matrix(columns["true"], columns["predicted"])
    np.fill_diagonal(matrix, 0)
    t, p = np.unravel_index(matrix.argmax(), matrix.shape)
    assert found.frequent[0].startswith(f"class {t} taken for class {p}: {matrix[t, p]} of ")


def test_many_classes_have_no_names_and_leaks_no_picture(make_result):
    (group,) = build([make_result(num_classes=101, num_videos=500)])
    assert heat(group, group.rows[0]).names == []
    (group,) = build([make_result(leaked=True, leak="x")])
    assert heat(group, group.rows[0]) is None
    metrics = dict.fromkeys(("speed", "top1", "frozen", "shuffled", "reversed"), 50.0)
    (group,) = build([make_result(protocol=load("temporal-v1"), metrics=metrics)])
    assert heat(group, group.rows[0]) is None

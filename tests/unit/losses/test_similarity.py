"""auxSKD's loss: the numbers of the method's fixture (auxskd.md 9), printed there by NumPy and by the official code."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from vssl.losses import anchor_log_probs, entropy_share, similarity_kl


def fill(n, m, a, b, c):
    i, j = np.arange(n)[:, None], np.arange(m)[None, :]
    return torch.from_numpy(np.sin(a * i + b * j + c * i * j + 0.3))


STUDENT = fill(6, 8, 0.71, 1.13, 0.37)
TEACHER = STUDENT + 0.5 * fill(6, 8, 1.9, 0.43, 0.11)
RAW = fill(24, 8, 2.17, 0.59, 0.83)
ROWS, COLUMNS = F.normalize(RAW, dim=1), F.normalize(RAW, dim=0)
LOSS = 1.0840744025
PER_SAMPLE = [0.3730851599, 1.7905964031, 0.4772827403, 3.2484457521, 0.1233911042, 0.4916452554]
FIRST_GRADIENT = [
    0.14388723,
    0.00513348,
    -0.08188518,
    -0.06171969,
    -0.01451859,
    -0.02348465,
    -0.05590013,
    -0.01806884,
]


def near(value, rel=1e-8):
    """To rtol 1e-8, and to the last printed digit where that is coarser."""
    return pytest.approx(value, rel=rel, abs=5e-11)


def test_loss_of_the_reference():
    assert similarity_kl(STUDENT, TEACHER, ROWS, 0.1, 0.02).item() == near(LOSS)
    each = [similarity_kl(STUDENT[i : i + 1], TEACHER[i : i + 1], ROWS, 0.1, 0.02).item() for i in range(6)]
    assert each == near(PER_SAMPLE)


def test_loss_on_the_official_codes_first_bank():
    assert similarity_kl(STUDENT, TEACHER, COLUMNS, 0.1, 0.02).item() == near(0.9784382249)


@pytest.mark.parametrize(("bank", "norm"), [(ROWS, 1.2409679734), (COLUMNS, 0.6811268705)])
def test_gradient_of_the_student_alone(bank, norm):
    student, teacher, anchors = (x.clone().requires_grad_() for x in (STUDENT, TEACHER, bank))
    similarity_kl(student, teacher, anchors, 0.1, 0.02).backward()
    assert student.grad.norm().item() == near(norm)
    if bank is ROWS:
        assert student.grad[0].tolist() == pytest.approx(FIRST_GRADIENT, abs=5e-9)
    assert teacher.grad is None
    assert anchors.grad is None


def early():
    return torch.cat([F.normalize(TEACHER, dim=1), ROWS[6:]])


WRONG = {
    "direction swapped": (lambda: swapped(), 4.5309975134),
    "both temperatures 0.02": (lambda: similarity_kl(STUDENT, TEACHER, ROWS, 0.02, 0.02), 2.8928178713),
    "both temperatures 0.1": (lambda: similarity_kl(STUDENT, TEACHER, ROWS, 0.1, 0.1), 0.4712431760),
    "temperatures exchanged": (lambda: similarity_kl(STUDENT, TEACHER, ROWS, 0.02, 0.1), 4.1745435440),
    "mean over anchors too": (lambda: similarity_kl(STUDENT, TEACHER, ROWS, 0.1, 0.02) / 24, 0.0451697668),
    "keys enqueued before": (lambda: similarity_kl(STUDENT, TEACHER, early(), 0.1, 0.02), 0.8112149662),
    "without the teacher's entropy": (lambda: cross_entropy(), 1.1667145569),
}


def swapped():
    p, t = anchor_log_probs(STUDENT, ROWS, 0.1), anchor_log_probs(TEACHER, ROWS, 0.02)
    return (p.exp() * (p - t)).sum(1).mean()


def cross_entropy():
    p, t = anchor_log_probs(STUDENT, ROWS, 0.1), anchor_log_probs(TEACHER, ROWS, 0.02)
    return -(t.exp() * p).sum(1).mean()


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_gives_the_files_other_number(name):
    compute, value = WRONG[name]
    assert compute().item() == near(value)
    assert value != near(LOSS)


def test_distributions_of_the_first_sample():
    teacher, student = anchor_log_probs(TEACHER, ROWS, 0.02)[0].exp(), anchor_log_probs(STUDENT, ROWS, 0.1)[0].exp()
    best = teacher.topk(2)
    assert best.indices.tolist() == [13, 21]
    assert best.values.tolist() == pytest.approx([0.99989849, 0.00010151], abs=5e-9)
    best = student.topk(3)
    assert best.indices.tolist() == [13, 21, 6]
    assert best.values.tolist() == pytest.approx([0.68796165, 0.26211696, 0.03976156], abs=5e-9)


def test_entropy_share():
    assert entropy_share(torch.full((3, 7), -math.log(7))).item() == pytest.approx(1.0)
    certain = torch.full((3, 7), -200.0)
    certain[:, 2] = 0.0
    assert entropy_share(certain).item() == pytest.approx(0.0, abs=1e-6)
    half = torch.tensor([[0.5, 0.5, 0.0, 0.0]]).log()
    assert entropy_share(half).item() == pytest.approx(0.5)

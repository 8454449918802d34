"""The teacher: VITO check 5."""

import pytest
import torch
from torch import nn

from vssl.ema import Ema, Momentum
from vssl.errors import UserError


def scalar(value):
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, value)
    return layer


def test_one_update_is_the_formula():
    ema = Ema(scalar(1.0), Momentum(0.99, "constant"))
    ema.update(scalar(3.0), 0, 10)
    assert ema.teacher.weight.item() == pytest.approx(1.02, abs=1e-7)


def test_the_cosine_of_byol():
    momentum = Momentum(0.99)
    assert [momentum(t, 4) for t in range(5)] == pytest.approx([0.99, 0.991464, 0.995, 0.998536, 1.0], abs=1e-6)
    assert Momentum(0.999, "constant")(3, 4) == 0.999


def test_the_teacher_of_a_constant_is_the_constant():
    ema = Ema(scalar(2.0), Momentum(0.5, "constant"))
    for step in range(5):
        ema.update(scalar(2.0), step, 5)
    assert ema.teacher.weight.item() == 2.0


def test_no_gradient_own_statistics_same_mode():
    student = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    ema = Ema(student, Momentum())
    assert not any(p.requires_grad for p in ema.teacher.parameters())
    assert not ema.teacher(torch.randn(4, 2)).requires_grad
    student(torch.randn(8, 2) + 5)
    before = ema.teacher[1].running_mean.clone()
    ema.update(student, 0, 10)
    assert torch.equal(ema.teacher[1].running_mean, before)  # buffers are not averaged
    assert not torch.equal(student[1].running_mean, before)
    assert ema.train().teacher.training
    assert not ema.eval().teacher.training


def test_momentum_outside_its_range_is_refused():
    with pytest.raises(UserError, match="an EMA momentum lies in"):
        Momentum(1.5)

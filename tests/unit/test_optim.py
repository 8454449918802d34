"""Optimizer, schedules and LARS: VITO check 11, auxSKD's milestones, groups that cover everything once."""

import pytest
import torch
from torch import nn

from vssl.errors import UserError
from vssl.methods.vito import OPTIM as VITO_OPTIM
from vssl.methods.vspp import OPTIM as VSPP_OPTIM
from vssl.optim import LARS, Optim
from vssl.schedules import cosine, warmup_cosine, warmup_steps


def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def test_vito_schedule_at_batch_4096():
    steps_per_epoch = 1_281_167 // 4096
    epochs = {"total": 300 * steps_per_epoch, "steps_per_epoch": steps_per_epoch, "batch": 4096}
    peak = VITO_OPTIM.lr_at(10 * steps_per_epoch, **epochs)
    assert peak == pytest.approx(4.8)
    middle = (10 * steps_per_epoch + 300 * steps_per_epoch) // 2
    assert VITO_OPTIM.lr_at(middle, **epochs) == pytest.approx(2.4, abs=1e-3)
    assert VITO_OPTIM.lr_at(300 * steps_per_epoch, **epochs) == 0.0
    assert VITO_OPTIM.lr_at(0, **epochs) == 0.0


def test_byols_own_step_counts():
    optim = Optim(lr=0.3, reference_batch=256, warmup=3127, unit="step")
    assert optim.lr_at(3127, total=93_835, steps_per_epoch=1, batch=4096) == pytest.approx(4.8)
    assert optim.lr_at((3127 + 93_835) // 2, total=93_835, steps_per_epoch=1, batch=4096) == pytest.approx(2.4)


def test_auxskd_milestones_and_no_batch_scaling():
    at = [VSPP_OPTIM.lr_at(epoch * 100, total=1800, steps_per_epoch=100, batch=30) for epoch in (0, 5, 6, 11, 12, 17)]
    assert at == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


def test_lars_one_step_in_detcons_order():
    p = nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
    b = nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
    for x in (p, b):
        x.grad = torch.tensor([0.6, 0.8], dtype=torch.float64)
    groups = [
        {"params": [p], "weight_decay": 1e-6, "adapt": True},
        {"params": [b], "weight_decay": 0.0, "adapt": False},
    ]
    LARS(groups, lr=2.0).step()
    torch.testing.assert_close(
        p.detach(), torch.tensor([3 - 2 * 0.003, 4 - 2 * 0.004], dtype=torch.float64), rtol=0, atol=1e-7
    )
    torch.testing.assert_close(
        b.detach(), torch.tensor([3 - 2 * 0.6, 4 - 2 * 0.8], dtype=torch.float64), rtol=0, atol=1e-12
    )


def test_lars_momentum_accumulates_before_the_learning_rate():
    p = nn.Parameter(torch.ones(1))
    optimizer = LARS([{"params": [p], "adapt": False}], lr=0.0, momentum=0.9)
    for lr in (0.0, 1.0):
        p.grad = torch.ones(1)
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
    assert p.item() == pytest.approx(1 - 1.9)  # 0.9 * 1 + 1, although the first step had lr 0


@pytest.mark.parametrize("name", ["sgd", "adamw", "lars"])
@pytest.mark.parametrize("no_decay", ["none", "norm_and_bias"])
def test_groups_cover_every_parameter_once(name, no_decay):
    module = net()
    optimizer = Optim(name=name, no_decay=no_decay, weight_decay=0.1).build(module)
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(map(id, module.parameters()))
    decayed = {id(p) for g in optimizer.param_groups if g["weight_decay"] > 0 for p in g["params"]}
    exempt = {id(module[1].weight), id(module[1].bias), id(module[0].bias), id(module[3].bias)}
    assert decayed == set(grouped) - (exempt if no_decay == "norm_and_bias" else set())


def test_frozen_parameters_stay_out():
    module = net()
    module[0].requires_grad_(False)
    grouped = {id(p) for group in Optim().build(module).param_groups for p in group["params"]}
    assert id(module[0].weight) not in grouped


def test_schedules_are_functions_of_the_step():
    assert [cosine(t, 4, start=0.0, end=1.0) for t in range(5)] == pytest.approx(
        [0, 0.146447, 0.5, 0.853553, 1], abs=1e-6
    )
    assert cosine(9, 4, start=0.0, end=1.0) == 1.0
    assert warmup_cosine(5, 100, warmup=10, start=0.2) == pytest.approx(0.6)
    assert warmup_steps(12, (6, 12), gamma=0.1) == pytest.approx(0.01)
    values = [warmup_cosine(t, 100, warmup=10) for t in range(10, 101)]
    assert values == sorted(values, reverse=True)


def test_a_warmup_longer_than_the_run_is_cut():
    optim = Optim(warmup=50, unit="step", lr=1.0)
    assert optim.warmup_is_cut(total=20, steps_per_epoch=5)
    assert not optim.warmup_is_cut(total=60, steps_per_epoch=5)
    assert optim.lr_at(19, total=20, steps_per_epoch=5, batch=1) == pytest.approx(0.95)


def test_refusals():
    with pytest.raises(UserError, match="the learning rate is positive"):
        Optim(lr=0.0)
    with pytest.raises(UserError, match="needs milestones"):
        Optim(schedule="steps")

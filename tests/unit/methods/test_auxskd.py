"""auxSKD's numerical acceptance checks of teacher and bank (auxskd.md 10: 6, 7), sizes, switches."""

import copy
from dataclasses import replace

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from torch.nn import functional as F

from support.runs import Given, auxskd, batch_of, trained
from vssl.ema import Momentum
from vssl.errors import UserError
from vssl.methods.auxskd import OPTIM, VIEWS, AuxSKD

# --- check 6: the teacher ---


class Watch(Callback):
    """Largest error of `m old + (1 - m) student` over a training, and what a frozen and a copied teacher would have."""

    def __init__(self):
        self.error = self.frozen = self.copied = 0.0

    def on_train_batch_start(self, _, method, *__):
        assert all(ema.teacher.training for ema, _ in method.teachers())
        self.old = [copy.deepcopy(list(ema.teacher.parameters())) for ema, _ in method.teachers()]

    def on_train_batch_end(self, _, method, *__):
        for (ema, student), before in zip(method.teachers(), self.old, strict=True):
            for now, old, new in zip(ema.teacher.parameters(), before, student.parameters(), strict=True):
                assert now.grad is None
                expected = 0.9 * old + 0.1 * new
                for name, teacher in (("error", now), ("frozen", old), ("copied", new)):
                    setattr(self, name, max(getattr(self, name), (teacher - expected).abs().max().item()))


def test_the_teacher_follows_the_student_after_the_step(toy_manifest):
    watch = Watch()
    trained(lambda: auxskd(momentum=Momentum(0.9, "constant")), toy_manifest, steps=4, callbacks=[watch])
    assert watch.error <= 1e-6
    assert watch.frozen > 1e-4
    assert watch.copied > 1e-4


def test_the_teacher_has_no_gradient_no_predictor_and_batch_statistics_of_its_own(toy_manifest):
    method = auxskd()
    teachers = [p for ema, _ in method.teachers() for p in ema.teacher.parameters()]
    assert len(teachers) == len([*method.backbone.parameters(), *method.project.parameters()])
    optimized = {id(p) for group in method.optim.build(method).param_groups for p in group["params"]}
    assert not optimized & {id(p) for p in teachers}
    assert {id(p) for p in method.predict.parameters()} <= optimized
    batch = batch_of(method, toy_manifest)
    method.step(batch).loss.backward()
    assert all(p.grad is None for p in teachers)
    norms = [
        [m for m in net.modules() if isinstance(m, nn.BatchNorm3d)]
        for net in (method.backbone, method.teacher_backbone)
    ]
    for mine, theirs in zip(*norms, strict=True):
        assert theirs.num_batches_tracked == 1  # train mode
        assert not torch.equal(mine.running_mean, theirs.running_mean)  # of another clip


# --- check 7: the bank ---


class Keys(Callback):
    """The teacher's keys computed anew, and the bank before and after every batch."""

    def __init__(self):
        self.keys, self.pointers = [], []

    @torch.no_grad()
    def on_train_batch_start(self, _, method, batch, *__):
        maps = method.teacher_backbone.teacher(method.view(batch, "clips")[:, 1])
        self.keys.append(F.normalize(method.teacher_project.teacher(maps)))

    def on_train_batch_end(self, _, method, *__):
        self.pointers.append(int(method.bank.pointer))


def test_the_bank_holds_the_last_keys_in_order(toy_manifest):
    keys = Keys()
    state = trained(auxskd, toy_manifest, steps=6, callbacks=[keys])  # 32 rows, 8 a step
    assert keys.pointers == [8, 16, 24, 0, 8, 16]
    rows = torch.from_numpy(state["bank.rows"]).roll(-16, 0)
    torch.testing.assert_close(rows, torch.cat(keys.keys[-4:]), rtol=0, atol=1e-6)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(32), rtol=0, atol=1e-5)


def test_accumulated_micro_batches_enter_the_bank_together(toy_manifest):
    keys = Keys()
    state = trained(auxskd, toy_manifest, steps=4, batch_size=4, accumulate_grad_batches=2, callbacks=[keys])
    assert keys.pointers == [0, 8, 8, 16, 16, 24, 24, 0]
    rows = torch.from_numpy(state["bank.rows"])
    torch.testing.assert_close(rows, torch.cat(keys.keys), rtol=0, atol=1e-6)


def test_a_batch_that_does_not_divide_the_bank_ends_the_run_before_it_starts(toy_manifest):
    keys = Keys()
    with pytest.raises(UserError, match=r"a batch of 5: does not divide the bank of 32 rows\. Try a batch of 4\."):
        trained(auxskd, toy_manifest, batch_size=5, callbacks=[keys])
    assert not keys.keys


# --- sizes, settings, switches ---


def test_sizes_of_the_official_code():
    method = AuxSKD(Given(512))
    count = lambda net: sum(p.numel() for p in net.parameters())
    assert count(method.predict) == 265_344
    assert count(method.project) == 14_430_967 - 14_365_303
    assert method.bank.rows.shape == (15360, 128)
    torch.testing.assert_close(method.bank.rows.norm(dim=1), torch.ones(15360))
    columns = AuxSKD(Given(512), bank_init="columns").bank.rows
    assert columns.norm(dim=1).mean().item() == pytest.approx(0.0911, abs=2e-4)
    assert (method.student_temperature, method.teacher_temperature) == (0.1, 0.02)
    assert [method.teacher_project.momentum(step, 100) for step in (0, 99)] == [0.999, 0.999]


def test_learning_rate_of_the_18_epochs():
    rate = lambda epoch: OPTIM.lr_at((epoch - 1) * 1085, total=18 * 1085, steps_per_epoch=1085, batch=30)
    assert [rate(epoch) for epoch in (1, 6, 7, 12, 13, 18)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


def test_without_a_predictor(toy_manifest):
    method = auxskd(predictor=False)
    assert not list(method.predict.parameters())
    state = method.state_dict()
    other = auxskd()
    other.load_state_dict(state, strict=False)
    batch = batch_of(method, toy_manifest)
    assert not torch.equal(method.step(batch).loss, other.step(batch).loss)


def test_the_joint_pretext_is_the_pace_of_the_students_clip(toy_manifest):
    plain, joint = auxskd(), auxskd(joint_pretext_weight=0.5)
    joint.load_state_dict(plain.state_dict(), strict=False)
    batch = batch_of(plain, toy_manifest)
    assert (batch.targets["pace"][:, 0] != batch.targets["pace"][:, 1]).all()
    without, out = plain.step(batch), joint.step(batch)
    logits = joint.pace(out.features).double()
    expected = [-logits[i].log_softmax(-1)[pace].item() for i, pace in enumerate(batch.targets["pace"][:, 0])]
    assert (out.loss - without.loss).item() == pytest.approx(0.5 * sum(expected) / 8, rel=1e-4)
    assert "pace_accuracy" in out.logs
    assert "pace_accuracy" not in without.logs


def test_the_entropy_and_spread_that_are_logged(toy_manifest):
    method = auxskd()
    logs = method.step(batch_of(method, toy_manifest)).logs
    assert 0.0 < logs["teacher_entropy"] < 1.0
    assert 0.0 < logs["student_std"] < 1.0
    method.teacher_temperature = 1e4  # every anchor counts alike
    assert method.step(batch_of(method, toy_manifest)).logs["teacher_entropy"] > 0.999
    with torch.no_grad():
        method.predict[-1].weight.zero_()  # every student is the bias
        method.teacher_project.teacher.weight.zero_()  # and every key too, so a bank of keys tells nothing apart
        method.bank.rows.copy_(F.normalize(method.teacher_project.teacher.bias, dim=0).expand(32, -1))
    method.teacher_temperature = 0.02
    logs = method.step(batch_of(method, toy_manifest)).logs
    assert logs["student_std"] < 1e-5
    assert logs["teacher_entropy"] > 0.999


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"views": replace(VIEWS, clips=1)}, r"views\.clips=1: .* Set views\.clips=2\."),
        ({"teacher_temperature": 0.0}, r"teacher_temperature=0\.0: must be positive"),
    ],
)
def test_illegal_settings_are_refused_with_a_remedy(settings, says):
    with pytest.raises(UserError, match=says):
        AuxSKD(Given(), **settings)

"""What every method promises, for every installed built-in method."""

import pickle

import pytest
import torch
from torch.utils.data import default_collate

from support.runs import BUILDERS, VARIANTS
from vssl import VideoDataModule, plugins
from vssl.data.dataset import check
from vssl.methods.base import feature_std
from vssl.seeds import seeded
from vssl.types import Key

BUILT_IN = [p.path for p in plugins.listed(plugins.METHODS) if p.path.startswith("vssl.")]


def test_every_built_in_method_is_tested_here():
    assert sorted(BUILT_IN) == sorted(BUILDERS)
    assert len(BUILT_IN) == 8


@pytest.fixture(params=[*BUILDERS, *VARIANTS], ids=lambda path: path.rpartition(".")[2])
def build(request):
    return (BUILDERS | VARIANTS)[request.param]


@pytest.fixture
def method(build):
    return build()


@pytest.fixture
def batch(method, toy_manifest):
    data = VideoDataModule(str(toy_manifest), recipe=method.recipe, batch_size=8, num_workers=0)
    dataset = data.train_dataloader().dataset
    samples = [dataset[Key(0, int(row), 0, i)] for i, row in enumerate(data.rows[:8])]
    for sample, row in zip(samples, data.rows, strict=False):
        plan = method.recipe.sampler(data.manifest.meta(int(row)), seeded(0, 0, int(row), 0, "plan"))
        check(sample, plan, method.recipe)
    return default_collate(samples)


def test_recipe_is_plain_data(method):
    assert pickle.loads(pickle.dumps(method.recipe)) == method.recipe


def test_views_are_finished_floats(method, batch):
    for name, view in method.recipe.views.items():
        x = method.view(batch, name)
        assert x.dtype == torch.float32
        assert x.shape == batch.views[name].shape
        lowest = -max(view.mean) / min(view.std) - 1e-5
        assert x.min() >= lowest
        assert batch.views[name].dtype == torch.uint8  # the batch is left as it was


def test_step_gives_loss_logs_and_features(method, batch):
    out = method.step(batch)
    assert out.loss.shape == ()
    assert torch.isfinite(out.loss)
    assert out.features.shape == (8, method.backbone.dim)
    assert not out.features.requires_grad
    assert all(value.shape == () and not value.requires_grad for value in out.logs.values())
    assert feature_std(out.features) > 0.05


def test_gradients_reach_everything_that_trains_and_nothing_else(method, batch):
    method.step(batch).loss.backward()
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"{name} gets no gradient: DDP would fail"
        else:
            assert parameter.grad is None, name
    frozen = {id(p) for ema, _ in method.teachers() for p in ema.parameters()}
    assert not any(p.requires_grad for p in method.parameters() if id(p) in frozen)
    grouped = {id(p) for group in method.optim.build(method).param_groups for p in group["params"]}
    assert grouped == {id(p) for p in method.parameters() if p.requires_grad}


def test_state_dict_round_trip(build, method, batch):
    other = build()
    torch.manual_seed(1)
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter)
    assert not torch.equal(other.step(batch).loss, method.step(batch).loss)
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.eval().step(batch).loss, method.eval().step(batch).loss)


def test_one_repeated_batch_can_be_learnt(method, batch):
    optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    bank = getattr(method, "bank", None)
    start = None if bank is None else {name: value.clone() for name, value in bank.state_dict().items()}
    for _ in range(20):
        out = method.step(batch)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        losses.append(out.loss.item())
        if bank is not None:  # it would fill with this batch's own keys, as negatives of themselves
            bank.load_state_dict(start)
    assert losses[-1] < 0.9 * losses[0]
    assert feature_std(out.features) > 0.05


def test_teachers_start_as_their_students_and_follow(method):
    for ema, student in method.teachers():
        pairs = list(zip(ema.teacher.parameters(), student.parameters(), strict=True))
        assert all(torch.equal(a, b) for a, b in pairs)
        with torch.no_grad():
            for _, b in pairs:
                b.add_(1.0)
        before = [a.clone() for a, _ in pairs]
        ema.update(student, 0, 10)
        m = ema.momentum(0, 10)
        for (a, b), old in zip(pairs, before, strict=True):
            torch.testing.assert_close(a.detach(), m * old + (1 - m) * b.detach(), rtol=1e-6, atol=1e-6)

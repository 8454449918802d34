"""VITO's numerical acceptance checks that need the whole method (section 9: 5, 7, 8, 11), and its switches."""

import copy
from dataclasses import replace

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from support.runs import batch_of, moclr, trained, vito, vito_predictor
from vssl import VideoDataModule
from vssl.backbones import ImageBackbone
from vssl.heads import mlp
from vssl.losses import info_nce
from vssl.methods.vito import OPTIM, VITO
from vssl.optim import Optim
from vssl.types import Key
from vssl.views import WindowFrames

MOVING = Optim(name="sgd", lr=0.5, weight_decay=0.0, schedule="constant", unit="step")


def randomise_attention(method):
    for scorer in method.head.pool.scorers:
        nn.init.normal_(scorer[-1].weight)


# --- check 5: the teacher ---


class Watch(Callback):
    """Asserts the EMA formula, written out again, after every step of a real training."""

    def __init__(self):
        self.seen, self.moved = [], 0.0

    def on_train_batch_start(self, _, pl_module, *__):
        self.before = [
            (copy.deepcopy(ema.teacher).state_dict(), copy.deepcopy(s).state_dict()) for ema, s in pl_module.teachers()
        ]

    def on_train_batch_end(self, trainer, pl_module, *_):
        step = trainer.global_step - 1
        weight = {0: 0.01, 1: 0.01 * (1 - 0.146447), 2: 0.005, 3: 0.01 * 0.146447}[step]
        for (ema, student), (teacher, old) in zip(pl_module.teachers(), self.before, strict=True):
            new = dict(student.named_parameters())
            for name, xi in ema.teacher.named_parameters():
                assert xi.grad is None
                expected = teacher[name].double() + weight * (new[name].detach() - teacher[name]).double()
                torch.testing.assert_close(xi.detach().double(), expected, rtol=1e-6, atol=2e-7)
                from_old = weight * (new[name].detach() - old[name]).abs().max().item()
                self.moved = max(self.moved, from_old)
        self.seen.append(step)


@pytest.mark.parametrize("build", [vito, vito_predictor, moclr])
def test_the_teacher_moves_by_the_formula_with_the_new_weights(build, toy_manifest):
    watch = Watch()
    trained(lambda: _with(build(), optim=MOVING), toy_manifest, steps=4, callbacks=[watch])
    assert watch.seen == [0, 1, 2, 3]
    assert watch.moved > 1e-4  # with the weights before the step, the formula above would have failed


def _with(method, optim):
    method.optim = optim
    return method


def test_encoder_attention_and_projector_have_teacher_copies_and_the_predictor_has_none():
    method = vito_predictor()
    teachers = {name for name, _ in method.named_parameters() if name.startswith("teacher_")}
    for part in ("backbone", "head.pool", "head.project"):
        own = {name for name, _ in method.named_parameters() if name.startswith(f"{part}.")}
        copies = {f"teacher_{name.replace('.', '.teacher.', 1)}" for name in own}
        assert own
        assert copies <= teachers
    owners = [s for _, s in method.teachers()]
    assert sum(len(list(s.parameters())) for s in owners) == len(teachers)
    assert not any(p is q for s in owners for p in s.parameters() for q in method.predict.parameters())


# --- the predictor ---


def test_no_predictor_is_the_method_of_the_text(toy_manifest):
    torch.manual_seed(0)
    plain = vito()
    torch.manual_seed(0)
    other = vito_predictor()
    assert plain.state_dict().keys() < other.state_dict().keys()
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in plain.state_dict().items())
    batch = batch_of(plain, toy_manifest)
    assert not torch.equal(plain.step(batch).loss, other.step(batch).loss)
    sizes = [tuple(p.shape) for p in other.predict.parameters()]
    assert sizes == [(16, 8), (16,), (16,), (16,), (8, 16)]  # bias, BN affine, no last bias


@pytest.mark.parametrize("build", [vito_predictor, moclr])
def test_gradients_reach_everything_that_trains_and_nothing_else(build, toy_manifest):
    method = build()
    method.step(batch_of(method, toy_manifest)).loss.backward()
    for name, parameter in method.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert parameter.requires_grad == (not name.startswith("teacher_")), name
    grouped = [id(p) for group in method.optim.build(method).param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in method.parameters() if p.requires_grad)


# --- check 7: one view, one mask ---


def test_another_views_pixels_never_change_a_mask(toy_manifest):
    method = vito().eval()
    randomise_attention(method)
    batch = batch_of(method, toy_manifest)
    frames = method.view(batch, "frames")
    other = frames.clone()
    other[:, 1] = torch.randn_like(other[:, 1])

    def masks(x):
        maps = method.backbone.maps(x.flatten(0, 1), last=2)
        return [m.unflatten(0, x.shape[:2]) for m in method.head.pool.masks(maps)]

    for mine, changed in zip(masks(frames), masks(other), strict=True):
        assert torch.equal(mine[:, 0], changed[:, 0])
        assert not torch.equal(mine[:, 1], changed[:, 1])


# --- check 8: sizes, and MoCLR inside VITO ---


def shared(attention, mean):
    """Both with the same weights, those of the attention aside."""
    own = {n: v for n, v in attention.state_dict().items() if ".pool." not in n}
    mean.load_state_dict(own, strict=True)


def moclr_loss(method, batch, temperature=0.1):
    """MoCLR written out: average pooling of the last block, projector, InfoNCE over all views of the others."""
    frames = method.view(batch, "frames")
    rows, (b, v) = frames.flatten(0, 1), frames.shape[:2]
    f, g = method.backbone, method.head.project
    ff, gg = method.teacher_backbone.teacher, method.teacher_head.teacher.project
    z, t = (p(e(rows)).double().unflatten(0, (b, v)) for e, p in ((f, g), (ff, gg)))
    total = 0.0
    for i in range(v):
        for j in range(v):
            if i != j:
                others = torch.stack([t[n] for n in range(b)]).flatten(0, 1)
                for n in range(b):
                    keep = [k for k in range(b * v) if k // v != n or k == n * v + j]
                    place = torch.tensor([keep.index(n * v + j)])
                    total = total + info_nce(z[n : n + 1, i], others[keep], place, temperature) / b
    return total.item()


def test_one_scale_and_constant_attention_is_moclr(toy_manifest):
    attention, mean = vito(scales=1), vito(pooling="mean", scales=1)
    nn.init.constant_(attention.head.pool.scorers[0][-1].bias, 3.0)  # any constant
    shared(attention, mean)
    batch = batch_of(attention, toy_manifest)
    losses = [m.step(batch).loss.item() for m in (attention, mean)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[1] == pytest.approx(moclr_loss(mean, batch), rel=1e-6)
    randomise_attention(attention)
    assert attention.step(batch).loss.item() != pytest.approx(losses[1], rel=1e-4)  # attention is not without effect
    two = vito(pooling="mean", scales=2).step(batch).loss.item()
    assert two != pytest.approx(losses[1], rel=1e-4)  # neither is the second scale


def test_sizes_of_the_paper_at_resnet50():
    method = VITO(ImageBackbone("resnet50"))
    assert method.recipe.views["frames"].size == 224
    with torch.no_grad():
        maps = method.eval().backbone.maps(torch.rand(1, 1, 3, 224, 224), last=2)
        pooled, projected = method.head.pool(maps), method.head(maps)
    assert [tuple(m.shape) for m in maps] == [(1, 1024, 1, 14, 14), (1, 2048, 1, 7, 7)]
    assert (pooled.shape, projected.shape) == ((1, 3072), (1, 256))
    assert sum(p.numel() for p in method.head.project.parameters()) == 13_643_776
    assert [tuple(m.shape) for m in method.head.pool.masks(maps)] == [(1, 196), (1, 49)]
    assert sum(p.numel() for p in VITO(method.backbone, pooling="mean", scales=1).head.parameters()) == sum(
        p.numel() for p in mlp(2048, 4096, 256).parameters()
    )


def test_swin_s_pools_its_last_two_stages():
    method = VITO(ImageBackbone("swin_small_patch4_window7_224")).eval()
    with torch.no_grad():
        maps = method.backbone.maps(torch.rand(1, 1, 3, 224, 224), last=2)
        assert method.head(maps).shape == (1, 256)
    assert [tuple(m.shape) for m in maps] == [(1, 384, 1, 14, 14), (1, 768, 1, 7, 7)]
    assert method.head.pool.dim == 1152


# --- check 11: the method's own optimizer ---


def test_the_schedule_of_300_epochs_in_the_papers_steps():
    """93,835 steps of 4096 are 300 epochs of 1,281,167; a loader that drops the rest has a whole number per epoch."""
    assert int(300 * 1_281_167 / 4096) == 93_835
    assert int(OPTIM.warmup * 1_281_167 / 4096) == 3127
    optim = replace(OPTIM, warmup=3127, unit="step")
    lr = [optim.lr_at(step, total=93_835, steps_per_epoch=312, batch=4096) for step in (3127, 48_481, 93_835)]
    assert lr == pytest.approx([4.8, 2.4, 0.0], abs=1e-9)
    assert max(optim.lr_at(s, total=93_835, steps_per_epoch=312, batch=4096) for s in range(0, 93_835, 7)) <= 4.8


def test_lars_of_the_method_leaves_norms_and_biases_alone():
    net = nn.Sequential(nn.Linear(2, 1, bias=False), nn.BatchNorm1d(2), nn.Linear(1, 2)).double()
    weight, (scale, shift), bias = net[0].weight, net[1].parameters(), net[2].bias
    with torch.no_grad():
        for p in (weight, scale, shift, bias):
            p.copy_(torch.tensor([3.0, 4.0]).view_as(p))
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    for p in (weight, scale, shift, bias):
        p.grad = torch.tensor([0.6, 0.8], dtype=torch.float64).view_as(p)
    optimizer = OPTIM.build(net)
    for group in optimizer.param_groups:
        group["lr"] = 2.0
    optimizer.step()
    start, gradient = (torch.tensor(pair, dtype=torch.float64) for pair in ([3.0, 4.0], [0.6, 0.8]))
    ratio = (start - weight.detach().flatten()) / 2 / (gradient + 1e-6 * start)
    torch.testing.assert_close(ratio, torch.full((2,), 0.00499998).double(), rtol=0, atol=1e-8)
    update = torch.tensor([0.003, 0.004]).double()
    torch.testing.assert_close((start - weight.detach().flatten()) / 2, update, rtol=0, atol=1e-8)
    for p in (scale, shift, bias):
        torch.testing.assert_close(p.detach(), start - 2 * gradient, rtol=0, atol=1e-12)


# --- samplers inside the data path ---


def test_a_single_pair_stays_while_its_crops_change(toy_manifest):
    pair = WindowFrames(views=2, scheme="single_pair", gap_s=0.2)
    for views, frozen in ((pair, True), (WindowFrames(views=2), False)):
        method = vito(views=views)
        data = VideoDataModule(str(toy_manifest), recipe=method.recipe, batch_size=8, num_workers=0)
        plans = []

        def spy(meta, rng, views=views, plans=plans):
            plans.append(views(meta, rng).views["frames"])
            return views(meta, rng)

        dataset = data.train_dataloader().dataset
        dataset.recipe = method.recipe._replace(sampler=Spy(spy))
        samples = [dataset[Key(epoch, int(data.rows[0]), 0, 0)] for epoch in range(4)]
        assert all(torch.equal(p, plans[0]) for p in plans) is frozen
        assert not torch.equal(samples[0].views["frames"], samples[1].views["frames"])


class Spy:
    def __init__(self, call):
        self.call = call

    def accepts(self, _):
        return True

    def __call__(self, meta, rng):
        return self.call(meta, rng)

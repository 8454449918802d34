"""VideoPace, VCOP, RSPNet and VSPP's heads: what the contract does not say."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from support.runs import rspnet, vcop, videopace, vspp
from vssl.backbones import VideoBackbone
from vssl.errors import UserError
from vssl.methods.rspnet import OPTIM as RSPNET
from vssl.methods.vcop import OPTIM as VCOP_OPTIM
from vssl.methods.vcop import OrderHead
from vssl.methods.videopace import VideoPace
from vssl.methods.vspp import VSPP
from vssl.types import Batch


def noise(method, videos=4, seed=0):
    """A batch of noise for any of them."""
    rng = torch.Generator().manual_seed(seed)
    views = {
        name: torch.randint(256, (videos, rows, frames, 3, 24, 24), generator=rng, dtype=torch.uint8)
        for name, (rows, frames) in {
            "clips": (getattr(method.recipe.sampler, "clips", 1), 8),
            "query": (1, 8),
            "key": (1, 12),
        }.items()
        if name in method.recipe.views
    }
    targets = {
        "pace": torch.randint(4, (videos, 1), generator=rng),
        "segment": torch.randint(4, (videos, 1), generator=rng),
        "order": torch.randint(6, (videos,), generator=rng),
        "fast": torch.rand(videos, generator=rng) < 0.5,
    }
    none = torch.zeros(videos).long()
    return Batch(views, {name: {} for name in views}, targets, {}, none, none)


@pytest.mark.parametrize(("build", "classes"), [(videopace, 4), (vcop, 6)])
def test_the_loss_starts_at_chance(build, classes):
    method = build().eval()
    loss = method.step(noise(method, videos=16)).loss.item()
    assert loss == pytest.approx(np.log(classes), abs=0.15)


def test_vspp_has_the_heads_that_are_asked_for():
    both, speed, segment = vspp().eval(), vspp(heads="speed").eval(), vspp(heads="segment").eval()
    for part in (speed, segment):
        assert not part.load_state_dict(both.state_dict(), strict=False).missing_keys
    batch = noise(both)
    losses = [method.step(batch).loss for method in (both, speed, segment)]
    torch.testing.assert_close(losses[0], losses[1] + losses[2])
    assert set(speed.step(batch).logs) == {"pace_accuracy"}
    assert set(segment.step(batch).logs) == {"segment_accuracy"}


def test_official_sizes():
    backbone = VideoBackbone("r2plus1d_vcop")
    count = lambda net: sum(p.numel() for p in net.parameters())
    assert count(VSPP(backbone)) == 14_369_407  # auxskd.md 10.4
    assert count(VideoPace(backbone)) == 14_365_303 + 513 * 4
    head = OrderHead(512, clips=3, orders=6, hidden=512, dropout=0.5)
    assert count(head) == 1025 * 512 + (3 * 512 + 1) * 6


def test_order_head_equals_a_loop_over_pairs():
    head = OrderHead(5, clips=3, orders=6, hidden=4, dropout=0.5).eval()
    x = torch.randn(7, 3, 5)
    shared, last = head.pair[0], head.order[1]
    assert isinstance(shared, nn.Linear)
    assert isinstance(last, nn.Linear)
    rows = []
    for clips in x:
        pairs = [
            (shared.weight @ torch.cat([clips[i], clips[j]]) + shared.bias).relu() for i, j in ((0, 1), (0, 2), (1, 2))
        ]
        rows.append(last.weight @ torch.cat(pairs) + last.bias)
    torch.testing.assert_close(head(x), torch.stack(rows))
    assert not torch.allclose(head(x.flip(1)), head(x))
    assert not torch.equal(head.train()(x), head(x))  # dropout


def test_official_learning_rates():
    at = lambda optim, epoch, total: optim.lr_at(epoch * 100, total=total * 100, steps_per_epoch=100, batch=32)
    assert [at(VCOP_OPTIM, epoch, 300) for epoch in (0, 150, 299)] == [1e-3] * 3
    assert at(RSPNET, 0, 200) == pytest.approx(0.05)
    assert at(RSPNET, 100, 200) == pytest.approx((0.05 + 5e-5) / 2)
    assert at(RSPNET, 200, 200) == pytest.approx(5e-5)


def test_rspnet_equals_its_formula_and_enqueues_the_other_speed():
    method = rspnet().train()
    batch = noise(method)
    before = method.bank.rows.clone()
    fast = batch.targets["fast"]
    assert fast.any()
    assert not fast.all()
    pixels = method.view(batch, "key")[:, 0]
    slow_clip, fast_clip = pixels[:, :8], pixels[:, [0, 2, 4, 6, 8, 9, 10, 11]]
    pick = fast.view(-1, 1, 1, 1, 1)
    same, other = torch.where(pick, fast_clip, slow_clip), torch.where(pick, slow_clip, fast_clip)
    out = method.step(batch)
    a, m = method.heads.appearance, method.heads.motion  # the teacher starts as a copy
    with torch.no_grad():
        q, k, o = (method.backbone(x) for x in (method.view(batch, "query")[:, 0], same, other))
    unit = lambda layer, x: F.normalize(layer(x), dim=1).detach().double().numpy()
    expected = 0.0
    for i in range(4):
        qa, ka, oa, qm, km, om = (unit(layer, x)[i] for layer in (a, m) for x in (q, k, o))
        for key in (ka, oa):
            scores = np.exp(np.array([qa @ key, *(before.double().numpy() @ qa)]) / 0.07)
            expected -= np.log(scores[0] / scores.sum()) / 4
        expected += max(0.0, 2.0 - (qm @ km - qm @ om) / 0.07) / 4
    assert out.loss.item() == pytest.approx(expected, rel=1e-4)
    assert int(method.bank.pointer) == 4
    np.testing.assert_allclose(method.bank.rows[:4].numpy(), unit(a, o), atol=1e-5)
    assert not np.allclose(method.bank.rows[:4].numpy(), unit(a, k), atol=1e-3)
    assert torch.equal(method.bank.rows[4:], before[4:])


def test_rspnet_names_a_batch_that_does_not_divide_the_bank():
    method = rspnet().train()
    with pytest.raises(UserError, match="a batch of 5: does not divide the bank of 32 rows"):
        method.step(noise(method, videos=5))


def test_rspnets_bank_rests_in_eval_mode():
    method = rspnet().eval()
    before = method.bank.rows.clone()
    method.step(noise(method))
    assert torch.equal(method.bank.rows, before)
    assert int(method.bank.pointer) == 0

"""VIVI as a module: acceptance checks 6-8 and 11 (papers' file, section 9), the video level against NumPy."""

import math

import numpy as np
import pytest
import torch

from support.runs import random_shots, vivi
from vssl.backbones.tiny import TinyImage
from vssl.errors import UserError
from vssl.losses import semihard_triplet
from vssl.methods.critics import Critic, OrderCritic, PairCritic, SequenceCritic, video_loss
from vssl.methods.vivi import OPTIM, VIVI, Triplet
from vssl.views import Shots

B, K, L = 4, 4, 3


def gradients(method, batch):
    method.zero_grad()
    method.step(batch).loss.backward()
    return {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("shots", [2, 4])
def test_the_loss_is_the_weighted_sum(shots):
    torch.manual_seed(0)
    method = vivi(shots=shots, video_weight=0.04)
    out = method.step(random_shots(method))
    expected = out.logs["frame_loss"] + 0.04 * out.logs["video_loss"]
    assert out.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert pytest.approx(0.666355, abs=1e-6) == 0.5 + 0.04 * math.log(64)


def test_collapsed_shots_cost_log_n():
    for critic in (PairCritic(6, hidden=5, out=4), SequenceCritic(6, hidden=5, out=4)):
        same = torch.ones(8, 2 if isinstance(critic, PairCritic) else 4, 6)
        assert video_loss(critic, same, Critic())[0].item() == pytest.approx(math.log(8), abs=1e-5)


def test_without_the_video_level_the_encoder_gets_the_frame_gradient_alone():
    torch.manual_seed(0)
    without = vivi(video_weight=0.0)
    torch.manual_seed(0)
    with_critic = vivi(video_weight=1e-30)  # the critic is there, and its weight vanishes in float32
    assert without.critic is None
    batch = random_shots(without)
    plain, weighted = gradients(without, batch), gradients(with_critic, batch)
    assert all(torch.equal(plain[name], weighted[name]) for name in plain)
    rest = {name: grad for name, grad in weighted.items() if name not in plain}
    assert rest
    assert all(name.startswith("critic.") and grad.abs().max() < 1e-25 for name, grad in rest.items())
    torch.manual_seed(0)
    full = gradients(vivi(video_weight=1.0), batch)
    assert any(not torch.allclose(full[name], plain[name], atol=1e-4) for name in plain if "backbone" in name)


def test_lstm_is_causal_and_of_the_papers_size():
    critic = SequenceCritic(2048, hidden=256, out=256)
    assert sum(p.numel() for p in critic.lstm.parameters()) == 2_361_344
    shots = torch.randn(3, 4, 2048)
    later = shots.clone()
    later[:, 2:] += 1
    before, after = critic.contexts(shots), critic.contexts(later)
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.allclose(before[:, 2], after[:, 2], atol=1e-4)
    assert not torch.allclose(before[:, 3], after[:, 3], atol=1e-4)


def shot_features(pixels, method):
    method.eval()
    with torch.no_grad():
        return method.step(pixels).logs["video_loss"].item()


@pytest.mark.parametrize("shots", [2, 4])
def test_what_the_video_level_does_and_does_not_depend_on(shots):
    torch.manual_seed(0)
    method = vivi(shots=shots)
    batch = random_shots(method)
    pixels = batch.views["shots"]
    loss = lambda p: shot_features(batch._replace(views={"shots": p}), method)
    start = loss(pixels)
    assert loss(pixels[:, :, [2, 0, 1]]) == pytest.approx(start, abs=1e-5)  # frames inside a shot
    assert loss(pixels[[3, 1, 0, 2]]) == pytest.approx(start, abs=1e-5)  # videos
    assert loss(pixels.flip(1)) != pytest.approx(start, abs=1e-5)  # shots


def numpy_video_loss(contexts, targets, negatives):
    """contexts, targets (B, M, P): loops over positions, videos and candidates; also the number of predictions."""
    terms = []
    for k in range(contexts.shape[1]):
        for i in range(len(contexts)):
            total = sum(
                math.exp(contexts[i, k] @ targets[j, m])
                for j in range(len(targets))
                for m in range(targets.shape[1])
                if (m == k if negatives == "same_position" or i == j else True)
            )
            terms.append(math.log(total) - contexts[i, k] @ targets[i, k])
    return np.mean(terms), len(terms)


@pytest.mark.parametrize("negatives", ["same_position", "all_positions"])
def test_equals_a_numpy_loop_of_three_predictions_per_video(negatives):
    torch.manual_seed(0)
    critic, shots = SequenceCritic(6, hidden=5, out=4), torch.randn(5, 4, 6) * 3
    contexts, targets = critic.contexts(shots[:, :3]), critic.targets(shots[:, 1:])
    expected, count = numpy_video_loss(contexts.detach().numpy(), targets.detach().numpy(), negatives)
    assert count == 5 * 3
    loss, accuracy = video_loss(critic, shots, Critic(negatives=negatives))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert 0 <= accuracy.item() <= 1
    other = "all_positions" if negatives == "same_position" else "same_position"
    assert abs(video_loss(critic, shots, Critic(negatives=other))[0].item() - expected) > 1e-3


def test_two_shots_are_predicted_forwards_unless_symmetric():
    torch.manual_seed(0)
    critic, shots = PairCritic(6, hidden=5, out=4), torch.randn(5, 2, 6) * 3
    forwards = video_loss(critic, shots, Critic())[0]
    backwards = video_loss(critic, shots.flip(1), Critic())[0]
    both = video_loss(critic, shots, Critic(symmetric=True))[0]
    assert abs(forwards - backwards) > 1e-4
    assert both.item() == pytest.approx(((forwards + backwards) / 2).item(), rel=1e-5)


def test_the_critic_has_neither_normalisation_nor_temperature():
    """Check 3 through the module: with phi = identity, doubling the shots changes the loss."""
    critic = PairCritic(2, hidden=2, out=2)
    eye, ten = torch.eye(2), torch.full((2,), 10.0)
    for mlp in (critic.phi1, critic.phi2):  # x = relu(x + 10) - 10
        mlp[0].weight.data, mlp[0].bias.data = eye.clone(), ten
        mlp[2].weight.data, mlp[2].bias.data = eye.clone(), -ten
    one, two = [[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], [[1.0, 1.0], [0.0, 1.0], [2.0, 0.0]]
    shots = torch.tensor([one, two]).transpose(0, 1).requires_grad_()
    loss = video_loss(critic, shots, Critic())[0]
    assert loss.item() == pytest.approx(1.009408, abs=1e-5)
    assert video_loss(critic, 2 * shots, Critic())[0].item() == pytest.approx(1.804686, abs=1e-5)
    loss.backward()
    assert shots.grad[:, 0].norm().item() == pytest.approx(0.471711, abs=1e-5)
    assert shots.grad[:, 1].norm().item() == pytest.approx(0.582455, abs=1e-5)


@pytest.mark.parametrize("flavour", ["semihard", "batch_hard_soft"])
def test_same_video_negatives_and_flavours(flavour):
    losses = []
    for same_video in (True, False):
        torch.manual_seed(0)
        triplet = Triplet(flavour=flavour, embed_dim=8, same_video_negatives=same_video)
        method = vivi(video_weight=0.0, triplet=triplet)
        losses.append(method.step(random_shots(method)).loss.item())
    assert losses[1] < losses[0] - 1e-4  # fewer negatives: the hardest ones go
    torch.manual_seed(0)
    alone = vivi(video_weight=0.0, triplet=Triplet(flavour=flavour, embed_dim=8, same_video_negatives=False))
    assert alone.step(random_shots(alone, videos=1)).loss.item() == 0.0  # one video: no negative is left


def test_rotation_sees_every_frame_four_times_and_pools_the_upright_ones():
    method = vivi(variant="rot")
    seen = []
    method.backbone.register_forward_hook(lambda _, given, out: seen.append((given[0].shape, out)))
    batch = random_shots(method)
    out = method.step(batch)
    shape, features = seen[0]
    assert shape == (B * K * L * 4, 1, 3, 24, 24)
    torch.testing.assert_close(out.features, features[::4].unflatten(0, (B, K, L)).mean((1, 2)))
    assert method.head.out_features == 4


def test_order_of_shots_is_a_balanced_binary_question():
    torch.manual_seed(0)
    critic, shots = OrderCritic(3, 6, hidden=5), torch.randn(7, 3, 6)
    loss, accuracy = video_loss(critic, shots, Critic())
    forwards, backwards = (critic(each).detach().double().numpy() for each in (shots, shots.flip(1)))
    likelihood = [1 / (1 + np.exp(-forwards)), 1 - 1 / (1 + np.exp(-backwards))]
    assert loss.item() == pytest.approx(-np.log(likelihood).mean(), rel=1e-5)
    assert accuracy.item() == pytest.approx((np.array(likelihood) > 0.5).mean())
    palindrome = torch.cat([shots[:, :2], shots[:, :1]], 1)
    assert video_loss(critic, palindrome, Critic())[0].item() >= math.log(2)  # nothing tells its two directions apart
    # what can be told is learnt, what cannot is not
    steady = torch.arange(3.0)[:, None] + 0.1 * torch.randn(64, 3, 6)
    for given, bound in ((steady, 0.1), (steady + steady.flip(1), None)):
        head = OrderCritic(3, 6, hidden=8)
        optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
        for _ in range(100):
            optimizer.zero_grad()
            value, _ = video_loss(head, given, Critic())
            value.backward()
            optimizer.step()
        assert value.item() < bound if bound else value.item() >= math.log(2) - 1e-6


def test_the_video_loss_is_a_choice():
    losses = {}
    for kind in ("infonce", "order", "none"):
        torch.manual_seed(0)
        method = vivi(video_loss=kind)
        losses[kind] = method.step(random_shots(method)).loss.item()
    torch.manual_seed(0)
    without = vivi(video_weight=0.0)
    assert losses["none"] == without.step(random_shots(without)).loss.item()
    assert vivi(video_loss="none").critic is None
    assert vivi(video_loss="order", video_weight=0.0).critic is None
    assert len(set(losses.values())) == 3
    torch.manual_seed(0)
    default = vivi()
    assert default.step(random_shots(default)).loss.item() == losses["infonce"]


def test_attention_over_the_frames_of_a_shot_starts_at_their_mean():
    torch.manual_seed(0)
    mean, attention = vivi(), vivi(pooling="attention")
    assert mean.pool is None
    assert attention.load_state_dict(mean.state_dict(), strict=False).missing_keys
    batch = random_shots(mean)
    assert attention.step(batch).loss.item() == pytest.approx(mean.step(batch).loss.item(), rel=1e-5)
    features = torch.randn(B, K, L, attention.backbone.dim)
    pooled = lambda f: attention._pooled(f.flatten(0, 2), torch.Size((B, K, L))).detach()
    torch.testing.assert_close(pooled(features), features.mean(2))
    scorer = attention.pool.scorers[0]
    torch.nn.init.normal_(scorer[2].weight)
    scores = scorer(features).detach().double().numpy()
    weights = np.exp(scores) / np.exp(scores).sum(2, keepdims=True)
    np.testing.assert_allclose(pooled(features).numpy(), (weights * features.numpy()).sum(2), atol=1e-5)
    assert (pooled(features) - features.mean(2)).abs().max() > 0.1
    torch.testing.assert_close(pooled(features[:, :, [2, 0, 1]]), pooled(features))  # the order of frames is not seen
    assert vivi(pooling="attention", video_weight=0.0).pool is None  # nothing would train it


def test_the_picture_marks_where_a_shot_begins():
    method = vivi().eval()
    batch = random_shots(method)
    batch.targets["detected"][1] = 0.0
    sheet = method.pictures(batch)["frames_of_shots"]
    assert sheet.shape == (B, K * L, 3, 24, 24)
    red = torch.tensor([1.0, 0.1, 0.1])[:, None, None]
    starts = torch.arange(K) * L
    assert torch.equal(sheet[0, starts, :, :, :2], red.expand(K, 3, 24, 2))
    assert torch.equal(sheet[1, starts, :, :, :2], torch.full((K, 3, 24, 2), 0.5))
    torch.testing.assert_close(sheet[0, 1], batch.views["shots"][0, 0, 1] / 255.0)


def test_no_teacher_no_queue():
    method = vivi()
    assert list(method.teachers()) == []
    assert {name.partition(".")[0] for name, _ in method.named_parameters()} == {"backbone", "head", "critic"}


def test_schedule_and_budget():
    lr = lambda step: OPTIM.lr_at(step, total=120_000, steps_per_epoch=10**6, batch=64)
    expected = {0: 0.0, 2500: 0.4, 5000: 0.8, 89_999: 0.8, 90_000: 0.08, 110_000: 0.008}
    for step, value in expected.items():
        assert lr(step) == pytest.approx(value, abs=1e-9), step
    assert 64 * 4 * 8 * 120_000 / 1.28e6 == 192.0


def test_defaults_are_the_papers():
    method = VIVI(TinyImage(4))
    assert method.recipe.sampler == Shots(shots=4, frames=8)
    assert (method.video_weight, method.triplet.margin, method.head.out_features) == (0.04, 0.5, 1000)
    assert isinstance(method.critic, SequenceCritic)
    assert isinstance(VIVI(TinyImage(4), views=Shots(shots=2)).critic, PairCritic)


def test_mistakes():
    with pytest.raises(UserError, match="a weight is not negative"):
        vivi(video_weight=-1.0)
    with pytest.raises(UserError, match=r"Set views\.shots to 2"):
        vivi(critic=Critic(symmetric=True))


def test_half_precision_keeps_distances_and_scores():
    """Under bf16 autocast the losses themselves are computed in full precision."""
    torch.manual_seed(0)
    z, labels = torch.randn(12, 16), torch.arange(4).repeat_interleave(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = semihard_triplet(z, labels, 0.5)
        coarse = (z @ z.T).float()
    assert half.item() == semihard_triplet(z, labels, 0.5).item()
    assert not torch.equal(coarse, z @ z.T)
    method = vivi()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = method.step(random_shots(method))
    out.loss.backward()
    assert out.loss.dtype == torch.float32

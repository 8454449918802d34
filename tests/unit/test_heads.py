"""Attention pooling and projector: VITO checks 7 and 8."""

import pytest
import torch

from vssl.heads import AttentionPool, mlp, pool

H = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]]).T.reshape(1, 2, 1, 2, 2)
LOGITS = torch.tensor([[0.0, 1.0, 2.0, -1.0]])


def test_closed_form():
    mask = LOGITS.softmax(-1)
    torch.testing.assert_close(mask, torch.tensor([[0.087144, 0.236883, 0.643914, 0.032059]]), rtol=0, atol=1e-6)
    torch.testing.assert_close(pool(H, mask), torch.tensor([[3.241774, 4.241774]]), rtol=0, atol=1e-5)
    torch.testing.assert_close(pool(H, (LOGITS + 3).softmax(-1)), pool(H, mask))
    torch.testing.assert_close(pool(H, torch.zeros(1, 4).softmax(-1)), torch.tensor([[3.0, 4.0]]))
    peak = LOGITS + torch.tensor([[0.0, 0.0, 0.0, 50.0]])
    torch.testing.assert_close(pool(H, peak.softmax(-1)), torch.tensor([[6.0, 7.0]]))
    order = torch.tensor([2, 0, 3, 1])
    shuffled = H.flatten(2)[..., order].view_as(H)
    torch.testing.assert_close(pool(shuffled, mask[:, order]), pool(H, mask))


def test_training_starts_at_average_pooling():
    maps = (torch.randn(2, 6, 1, 4, 4), torch.randn(2, 8, 1, 2, 2))
    layer = AttentionPool((6, 8), hidden=5)
    expected = torch.cat([m.mean((2, 3, 4)) for m in maps], -1)
    torch.testing.assert_close(layer(maps), expected)
    for scorer in layer.scorers:
        torch.nn.init.normal_(scorer[-1].weight)
    assert (layer(maps) - expected).abs().max() > 1e-3


def test_masks_sum_to_one_per_scale_and_see_one_view_only():
    layer = AttentionPool((6, 8), hidden=5)
    for scorer in layer.scorers:
        torch.nn.init.normal_(scorer[-1].weight)
    maps = (torch.randn(2, 6, 1, 4, 4), torch.randn(2, 8, 1, 2, 2))
    masks = layer.masks(maps)
    assert [tuple(m.shape) for m in masks] == [(2, 16), (2, 4)]
    for mask in masks:
        torch.testing.assert_close(mask.sum(-1), torch.ones(2))
    other = tuple(torch.cat([m[:1], torch.randn_like(m[1:])]) for m in maps)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(masks, layer.masks(other), strict=True))


def test_projector_size_of_the_paper():
    assert sum(p.numel() for p in mlp(3072, 4096, 256).parameters()) == 13_643_776


def test_gradient_reaches_the_scorer():
    layer = AttentionPool((6,), hidden=5)
    layer((torch.randn(2, 6, 1, 4, 4),)).square().sum().backward()
    last = layer.scorers[0][-1]
    assert last.weight.grad is not None
    assert last.weight.grad.abs().sum() > 0
    assert last.bias.grad.abs().max() == pytest.approx(0.0, abs=1e-5)  # a constant does not move a softmax

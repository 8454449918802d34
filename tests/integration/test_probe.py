"""The monitor must not move the needle: weights with and without it are bit-identical."""

import numpy as np
import pytest
import torch

from support.runs import trained, vito
from vssl.probe import OnlineKnn


@pytest.mark.parametrize("clip", [None, 0.1])
def test_weights_with_and_without_the_online_knn_are_identical(clip, toy_manifest):
    settings = {"steps": 7, "gradient_clip_val": clip}
    without = trained(vito, toy_manifest, **settings)
    probed = trained(vito, toy_manifest, callbacks=[OnlineKnn(k=4, every=1)], **settings)
    assert all(np.array_equal(without[k], probed[k]) for k in without)


def test_it_reads_classes_and_leaves_out_a_querys_own_group():
    probe = OnlineKnn(k=2)
    features = torch.eye(4)[[0, 0, 1, 1]]
    labels, groups = torch.tensor([0, 0, 1, 1]), torch.tensor([10, 11, 12, 13])
    probe._bank = [(features, labels, groups)]
    query = torch.eye(4)[[0, 1]]
    assert probe._accuracy(query, torch.tensor([0, 1]), torch.tensor([50, 51])) == 1.0
    # the query is in the bank itself, and so is its group's other video: only the wrong class is left
    assert probe._accuracy(query[:1], torch.tensor([0]), torch.tensor([10])) == 1.0
    probe._bank = [(features, labels, torch.tensor([10, 10, 12, 13]))]
    assert probe._accuracy(query[:1], torch.tensor([0]), torch.tensor([10])) == 0.0

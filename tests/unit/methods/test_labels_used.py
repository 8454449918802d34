"""What a checkpoint says of the labels behind it: its own, its teacher's, those of earlier runs."""

from types import SimpleNamespace
from unittest import mock

import pytest
import torch

from support.runs import iboot, image_target, vito
from vssl.backbones.image import ImageBackbone
from vssl.evaluate.controls import frozen_encoders
from vssl.evaluate.encoder import pretraining
from vssl.methods.base import Method, together
from vssl.methods.vito import VITO

SEEN = dict.fromkeys(("dataset", "manifest", "split", "subset", "rows", "num_videos"), "x")


def written(method, images=0, phases=()):
    """What the method's checkpoint would say of itself."""
    method.phases += [{"seen": SEEN, "budget": budget} for budget in phases]
    seen = SEEN | ({"num_images": images} if images else {})
    checkpoint = {}
    with (
        mock.patch.object(Method, "data", SimpleNamespace(seen=seen, clips_per_video=1)),
        mock.patch.object(Method, "effective_batch", 8),
        mock.patch.object(Method, "global_step", 1),
    ):
        method.on_save_checkpoint(checkpoint)
    return checkpoint["vssl"]


def said(*args, **kwargs):
    return written(*args, **kwargs)["budget"]["labels_used"]


def test_none_and_those_of_images():
    assert said(vito()) == "none"
    assert said(vito(), images=48) == "48 labelled images"


@pytest.mark.parametrize(("labels", "expected"), [("ImageNet-1k", "ImageNet-1k"), ("none", "none"), (None, "unknown")])
def test_those_of_a_frozen_network(tmp_path, labels, expected):
    file = tmp_path / "net.pth"
    torch.save(image_target(seed=3).net.state_dict(), file)
    given = {} if labels is None else {"labels_used": labels}
    assert said(iboot(target=image_target(weights=str(file), **given))) == expected
    assert said(iboot(target=image_target(**given))) == "none"  # random


def test_weights_from_a_file_are_not_known(tmp_path):
    file = tmp_path / "net.pth"
    torch.save(ImageBackbone("test_resnet").state_dict(), file)
    found = written(VITO(ImageBackbone("test_resnet", weights=str(file))))
    assert found["budget"]["labels_used"] == "unknown (net.pth)"
    assert found["seen"]["earlier"] == [None]
    record = pretraining("vssl.methods.vito.VITO", found["seen"], found["budget"])
    assert record["data"]["unknown"]
    assert "earlier" not in written(VITO(ImageBackbone("test_resnet")))["seen"]


def test_a_teacher_of_an_earlier_run_is_a_control_still():
    method = vito()
    method.phases = [{"seen": SEEN, "budget": {}, "frozen": iboot(target=image_target()).frozen()}]
    found = written(method)
    (name,) = found["frozen"]
    assert name == found["budget"]["frozen"] == "ImageTarget test_resnet (random 0)"
    assert list(frozen_encoders(found["frozen"])) == [name]


def test_those_of_earlier_runs_stay():
    assert said(vito(), phases=[{"labels_used": "ImageNet-1k"}]) == "ImageNet-1k"
    assert said(vito(), images=48, phases=[{"labels_used": "ImageNet-1k"}]) == "ImageNet-1k + 48 labelled images"
    assert said(vito(), phases=[{}]) == "none"
    assert together(["a + b", "none", "b"]) == "a + b"
    assert together([]) == "none"

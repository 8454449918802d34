"""Checkpoints are data: what they embed, and how the unsafe, truncated or foreign is refused."""

import pickle

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from support.runs import trained, vito
from vssl import load_backbone
from vssl.checkpoint import read
from vssl.errors import UserError


@pytest.fixture(scope="module")
def checkpoint(toy_manifest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    saver = ModelCheckpoint(folder, save_last=True, every_n_train_steps=1)
    trained(vito, toy_manifest, steps=2, callbacks=[saver])
    return folder / "last.ckpt"


def test_the_encoder_comes_back_with_its_weights(checkpoint):
    backbone = load_backbone(checkpoint)
    weights = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert not backbone.training
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, weights[f"backbone.{name}"])
    assert backbone.spec()["init_args"]["width"] == [4, 8, 16, 32]
    assert torch.equal(
        load_backbone(checkpoint.parent.parent)(torch.ones(1, 1, 3, 24, 24)), backbone(torch.ones(1, 1, 3, 24, 24))
    )


def test_what_it_says_of_itself(checkpoint):
    info = read(checkpoint)
    assert info.method == "vssl.methods.vito.VITO"
    assert info.step == 2
    assert info.budget == {"videos_seen": 16, "clips_seen": 48, "labels_used": "none"}
    assert info.seen["num_videos"] == 24
    assert info.seen["groups"].dtype == torch.int64
    assert len(info.sha) == 64


class Evil:
    def __reduce__(self):
        return print, ("this ran",)


def write(path, value):
    torch.save(value, path)
    return path


def test_a_malicious_checkpoint_is_refused_and_not_run(tmp_path, capsys):
    path = write(tmp_path / "evil.ckpt", {"vssl": Evil()})
    with pytest.raises(UserError, match="refused: it holds more than tensors and plain values"):
        load_backbone(path)
    assert "this ran" not in capsys.readouterr().out
    pickle.loads(pickle.dumps(Evil()))
    assert "this ran" in capsys.readouterr().out  # an ordinary load would have run it


def test_an_unregistered_class_is_not_imported(checkpoint, tmp_path):
    content = torch.load(checkpoint, weights_only=True)
    content["vssl"]["backbone"] = {"class_path": "antigravity.Encoder", "init_args": {}}
    with pytest.raises(UserError, match=r"antigravity\.Encoder.*--trust-imports"):
        load_backbone(write(tmp_path / "foreign.ckpt", content))


def test_truncated_foreign_missing_and_changed(checkpoint, tmp_path):
    whole = checkpoint.read_bytes()
    (tmp_path / "short.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"short\.ckpt: not a readable checkpoint"):
        read(tmp_path / "short.ckpt")
    (tmp_path / "page.ckpt").write_bytes(b"hello " * 99)  # torch raises KeyError
    with pytest.raises(UserError, match=r"page\.ckpt: not a readable checkpoint"):
        read(tmp_path / "page.ckpt")
    with pytest.raises(UserError, match="not a vssl checkpoint"):
        read(write(tmp_path / "other.ckpt", {"state_dict": {}}))
    with pytest.raises(UserError, match="no such checkpoint"):
        read(tmp_path / "none.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    content["vssl"]["input"] = {"sides": 8}
    with pytest.raises(UserError, match="its input card is not readable"):
        load_backbone(write(tmp_path / "card.ckpt", content))
    del content["vssl"]["input"]
    content["vssl"]["backbone"]["init_args"]["width"] = 8
    with pytest.raises(UserError, match="weights do not fit"):
        load_backbone(write(tmp_path / "wide.ckpt", content))

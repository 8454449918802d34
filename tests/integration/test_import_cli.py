"""`vssl import`: a foreign file becomes a checkpoint that is evaluated as any other, or is refused in one line."""

import argparse
import json
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from support import official
from support.cli import in_process, refused
from support.official import prefixed
from vssl import checkpoint
from vssl.backbones import ImageBackbone, TinyVideo
from vssl.evaluate.features import encode, normalise
from vssl.evaluate.result import of_run


@pytest.fixture
def tiny(tmp_path):
    """A file of TinyVideo's tensors under other names, and its key map."""
    encoder = TinyVideo(4, light=True, size=24, frames=8)
    with torch.no_grad():  # as after training: statistics that are not the initial ones
        encoder.train()(torch.rand(4, 8, 3, 24, 24))
    tensors = {f"module.net.{name.replace('stages', 'blocks')}": t for name, t in encoder.state_dict().items()}
    torch.save({"state_dict": tensors | {"module.net.fc.weight": torch.ones(2)}}, tmp_path / "theirs.pth")
    (tmp_path / "map.yaml").write_text("net.fc.: null\nnet.blocks.: stages.\n")
    return tmp_path / "theirs.pth", encoder.eval()


INIT = '{"width": 4, "light": true}'
CARD = ("--size", 24, "--frames", 8, "--color", "bgr", "--mean", "0.1,0.2,0.3", "--std", "0.5,0.5,1")


def test_an_imported_encoder_is_evaluated_as_any_other(tiny, tmp_path, toy_manifest, capfd):
    file, encoder = tiny
    out = tmp_path / "new" / "theirs.ckpt"
    base = ("import", file, "--backbone", "TinyVideo", "--init-args", INIT, "--key-map", tmp_path / "map.yaml", *CARD)
    done = in_process(capfd, *base, "--labels-used", "none", "--out", out, "--json", tmp_path / "report.json")
    assert done.returncode == 0, done.stderr
    assert f"kept {len(encoder.state_dict())} tensors, all of TinyVideo; missing none" in done.stdout
    assert "dropped 1 (dropped by the key map): module.net.fc.weight" in done.stdout
    assert "8 frames of 24 pixels, stride 1, bgr, mean 0.1,0.2,0.3" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["kept"]) == len(encoder.state_dict())
    assert report["input"]["color"] == "bgr"

    info = checkpoint.read(out)
    assert (info.method, info.seen, info.step) == ("imported", None, 0)
    assert info.budget["imported_from"] == "theirs.pth"
    loaded = checkpoint.load_backbone(out)
    assert loaded.input._asdict() == {
        "size": 24,
        "frames": 8,
        "stride": 1,
        "mean": (0.1, 0.2, 0.3),
        "std": (0.5, 0.5, 1.0),
        "color": "bgr",
    }
    pixels = torch.randint(256, (1, 1, 8, 3, 24, 24), dtype=torch.uint8)
    by_hand = (pixels[0].numpy()[:, :, ::-1] / 255 - np.array([0.1, 0.2, 0.3]).reshape(3, 1, 1)) / np.array(
        [0.5, 0.5, 1.0]
    ).reshape(3, 1, 1)
    with torch.inference_mode():
        torch.testing.assert_close(normalise(pixels[0], loaded.input), torch.tensor(by_hand).float())
        torch.testing.assert_close(encode(loaded, pixels, loaded.input), encoder(torch.tensor(by_hand).float()))

    done = in_process(
        capfd, "evaluate", out, "--data.manifest", toy_manifest, "--clips", 1, "--label", "speed", "--workers", 0
    )
    assert done.returncode == 0, done.stderr
    assert "imported" in done.stdout
    assert "pretraining data unknown" in done.stdout
    (trained,) = [result for result in of_run(out.parent) if result.kind == "trained"]
    assert trained.card["color"] == "bgr"
    assert trained.pretraining["labels_used"] == "none"
    assert trained.pretraining["imported_layout"] == "plain"


def test_labels_are_unknown_unless_said(tiny, tmp_path, capfd):
    file, _ = tiny
    out = tmp_path / "a.ckpt"
    base = ("import", file, "--backbone", "TinyVideo", "--init-args", INIT, "--key-map", tmp_path / "map.yaml")
    assert in_process(capfd, *base, "--out", out).returncode == 0
    assert checkpoint.read(out).budget["labels_used"] == "unknown"
    refused(in_process(capfd, *base, "--out", out), "exists", "--force")
    assert in_process(capfd, *base, "--out", out, "--force").returncode == 0
    refused(in_process(capfd, *base, "--out", tmp_path), "is a directory")


def test_safetensors(tiny, tmp_path, capfd):
    save_file({name: t.clone() for name, t in tiny[1].state_dict().items()}, tmp_path / "theirs.safetensors")
    base = ("import", tmp_path / "theirs.safetensors", "--backbone", "vssl.backbones.TinyVideo", "--init-args", INIT)
    assert in_process(capfd, *base, "--out", tmp_path / "a.ckpt").returncode == 0
    whole = (tmp_path / "theirs.safetensors").read_bytes()
    (tmp_path / "theirs.safetensors").write_bytes(whole[: len(whole) // 2])
    refused(in_process(capfd, *base, "--out", tmp_path / "b.ckpt"), "not a readable checkpoint")


def test_auxskds_file_holds_a_namespace_and_is_read_once_saved_again(tmp_path, capfd):
    """As its train.py saves it; the remedy in the message is followed to the letter."""
    net = prefixed(official.residual_state(factored=True), "encoder_q.module.")
    file, out = tmp_path / "pckpt_epoch_18.pth", tmp_path / "a.ckpt"
    torch.save({"opt": argparse.Namespace(lr=0.01), "state_dict": net, "optimizer": {}, "epoch": 18}, file)
    base = ("--layout", "auxskd", "--backbone", "r2plus1d_vcop", "--out", out)
    refused(in_process(capfd, "import", file, *base), "argparse.Namespace", "weights_only=False", "state dict")
    assert not out.exists()
    again = tmp_path / "again.pth"
    torch.save(torch.load(file, weights_only=False)["state_dict"], again)
    done = in_process(capfd, "import", again, *base)
    assert done.returncode == 0, done.stderr
    assert "16 frames of 112 pixels, stride 1, bgr, mean 0,0,0, std 0.003922" in done.stdout
    clip = torch.rand(1, 3, 4, 32, 32)
    with torch.inference_mode():
        ours = checkpoint.load_backbone(out)(clip.transpose(1, 2))
    torch.testing.assert_close(ours, official.residual(official.residual_state(factored=True), clip, factored=True))


class Evil:
    def __reduce__(self):
        return print, ("this ran",)


def test_malicious_truncated_and_foreign_files_are_refused_in_one_line(tiny, tmp_path, capfd):
    out = tmp_path / "out.ckpt"
    base = ("--backbone", "TinyVideo", "--init-args", INIT, "--out", out)
    file = tmp_path / "bad.pth"

    def says(*parts, argv=base):
        done = in_process(capfd, "import", file, *argv)
        refused(done, "bad.pth", *parts)
        assert "this ran" not in done.stdout
        assert not out.exists()

    says("no such file")
    for legacy in (False, True):
        torch.save({"state_dict": Evil()}, file, _use_new_zipfile_serialization=not legacy)
        says("refused: it holds more than tensors and plain values", "print")
        torch.save(tiny[1], file, _use_new_zipfile_serialization=not legacy)
        says("refused: it holds more than tensors and plain values", "TinyVideo")
        torch.save(tiny[1].state_dict(), file, _use_new_zipfile_serialization=not legacy)
        whole = file.read_bytes()
        for part in (0.0, 0.001, 0.01, 0.5, 0.99):
            file.write_bytes(whole[: int(len(whole) * part)])
            says("not a readable checkpoint", "truncated")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, but such files are about
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), file)
    says("TorchScript")
    for junk in (b"<html>404</html>", b"hello " * 99, b"PK\x03\x04" + bytes(99), b"\x80\x02}q\x00(X\x01"):
        file.write_bytes(junk)
        says("not a readable checkpoint")


def test_another_architecture_and_wrong_words_are_refused_in_one_line(tiny, tmp_path, capfd):
    file, _ = tiny
    out = ("--out", tmp_path / "out.ckpt")

    def says(*argv, parts):
        refused(in_process(capfd, "import", file, *argv, *out), *parts)

    says("--backbone", "TinyImage", parts=["theirs.pth", "is not a TinyImage", "missing", "--key-map"])
    says("--backbone", "s3d", "--layout", "coclr", parts=["theirs.pth", "is not a s3d of this layout", "missing"])
    says("--backbone", "r2plus1d_18", "--layout", "vcop", parts=["r2plus1d_18", "layout vcop holds r2plus1d_vcop"])
    says("--backbone", "r2plus1_vcop", parts=["no such encoder", "r2plus1d_vcop"])
    says("--backbone", "resnet5000", parts=["resnet5000"])
    says("--backbone", "antigravity.Encoder", parts=["antigravity.Encoder", "no registered encoder"])
    says("--backbone", "TinyVideo", "--init-args", "[1]", parts=["[1]", "JSON mapping"])
    says("--backbone", "TinyVideo", "--init-args", '{"depth": 3}', parts=["depth"])
    says("--backbone", "TinyVideo", "--mean", "1,2", parts=["mean", "3 colour channels"])
    says("--backbone", "TinyVideo", "--std", "1,0,1", parts=["std", "must not be 0"])
    says("--backbone", "TinyVideo", "--frames", "0", parts=["frames=0", "at least 1"])
    says("--backbone", "TinyImage", "--frames", "16", parts=["frames=16", "fixed frames"])
    says("--backbone", "TinyVideo", "--layout", "slowfast", parts=["slowfast", "choose from"])
    (tmp_path / "m.yaml").write_text("- a\n- b\n")
    says("--backbone", "TinyVideo", "--key-map", tmp_path / "m.yaml", parts=["m.yaml", "not a mapping"])
    (tmp_path / "m.yaml").write_text("a: [1")
    says("--backbone", "TinyVideo", "--key-map", tmp_path / "m.yaml", parts=["m.yaml", "no YAML"])
    says("--backbone", "TinyVideo", "--key-map", tmp_path / "none.yaml", parts=["none.yaml", "no such file"])
    for arch, backbone, part in (
        ("c3d", "r2plus1d_vcop", "our c3d_bn"),
        ("resnet18", "r3d_18", "none of our encoders"),
    ):
        torch.save({"arch": arch, "model": {"a": torch.ones(1)}}, tmp_path / "rsp.pth")
        argv = ("import", tmp_path / "rsp.pth", "--layout", "rspnet", "--backbone", backbone, *out)
        refused(in_process(capfd, *argv), "rsp.pth", f"says its network is {arch}", part)


def test_evaluate_names_the_way_for_a_file_that_is_no_checkpoint(tiny, toy_manifest, capfd):
    done = in_process(capfd, "evaluate", tiny[0], "--data.manifest", toy_manifest)
    refused(done, "theirs.pth", "not a vssl checkpoint", "vssl import")


@pytest.mark.real
def test_a_real_file_of_timm(real_data, tmp_path, capfd):
    file, out = real_data / "teachers" / "mobilenetv2_100_imagenet.pth", tmp_path / "a.ckpt"
    same = {"pad_type": "same"}
    base = ("--layout", "timm", "--backbone", "mobilenetv2_100", "--init-args", json.dumps({"model_kwargs": same}))
    half = ("--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5", "--labels-used", "ImageNet")
    done = in_process(capfd, "import", file, *base, *half, "--out", out)
    assert done.returncode == 0, done.stderr
    known = ImageBackbone("mobilenetv2_100", weights=str(file), model_kwargs=same).eval()
    frame = torch.rand(1, 1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(checkpoint.load_backbone(out)(frame), known(frame))

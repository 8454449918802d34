"""Settings shared by all tests."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

settings.register_profile("dev", max_examples=20, deadline=None)
settings.register_profile("ci", max_examples=200, deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real clips; tests that use it carry the marker `real`."""
    path = Path(os.environ.get("VSSL_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not path.is_dir():
        pytest.skip("VSSL_REAL_DATA: the real clips are not on this machine")
    return path


@pytest.fixture(scope="session")
def toy_manifest(tmp_path_factory) -> Path:
    """A small toy world, encoded for real, shared by the whole test run."""
    from vssl.data.toy import generate

    return generate(tmp_path_factory.mktemp("toy"), 40, 0, "constant", 2)


@pytest.fixture(scope="session")
def real_ucf(real_data, tmp_path_factory) -> Path:
    """Manifest of the real UCF101 clips."""
    from vssl.cli import main

    out = tmp_path_factory.mktemp("ucf") / "ucf.csv"
    splits = real_data / "splits" / "ucfTrainTestlist"
    root = real_data / "ucf101" / "UCF-101"
    assert main(["data", "index", str(root), "--dataset", "ucf101", "--splits", str(splits), "--out", str(out)]) == 0
    return out

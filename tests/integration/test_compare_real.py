"""`vssl compare -c` with real fits and real scores on a small toy world: killed, continued, finished."""

import json
import subprocess
import sys
import time

import pytest
import yaml

from vssl.data.manifest import Manifest

pytestmark = pytest.mark.slow

LAYER = {
    "model": {
        "class_path": "vssl.methods.vspp.VSPP",
        "init_args": {
            "backbone": {
                "class_path": "vssl.backbones.TinyVideo",
                "init_args": {"width": 4, "light": True, "size": 24, "frames": 4},
            },
            "views": {"frames": 4},
            "optim": {"name": "adamw", "lr": 1.0e-3, "warmup": 0, "unit": "step"},
        },
    },
    "data": {"batch_size": 8, "num_workers": 0},
    "trainer": {"max_steps": 4, "max_epochs": -1, "accelerator": "cpu", "enable_progress_bar": False},
}


@pytest.fixture
def command(toy_manifest, tmp_path):
    (tmp_path / "vspp.yaml").write_text(yaml.safe_dump(LAYER))
    (tmp_path / "broken.ckpt").write_bytes(b"PK\x03\x04 cut off")
    file = {
        "out": "out",
        "methods": {
            "vspp": {"config": ["vspp.yaml"], "pretrain": {"dataset": "toy"}},
            "broken": {"run": "broken.ckpt"},
        },
        "datasets": {"toy": {"manifest": str(toy_manifest), "labels": ["shape"]}},
        "protocols": ["knn-v1", "retrieval-v1"],
        "seeds": [0, 1],
        "evaluate": {"device": "cpu", "workers": 0},
    }
    (tmp_path / "f.yaml").write_text(yaml.safe_dump(file, sort_keys=False))
    return [sys.executable, "-m", "vssl", "compare", "-c", "f.yaml", "--previews"]


def finish(command, place):
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (1, "")  # the broken one
    return done.stdout


def test_killed_in_the_middle_it_finishes_without_repeating_finished_work(command, tmp_path, toy_manifest):
    first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert first.stdout
    for line in first.stdout:
        if line.startswith("3/5 vspp seed 1: fit"):
            break
    time.sleep(0.002)
    first.kill()
    first.wait()
    first.stdout.close()
    runs = tmp_path / "out" / "runs"
    weights = runs / "vspp-s1-seed0" / "checkpoints" / "last.ckpt"
    finished = [weights, *sorted((weights.parents[1] / "results").glob("*.json"))]
    assert len(finished) == 1 + 2 * 6  # trained, three random, two without a network; two protocols
    before = [path.stat().st_mtime_ns for path in finished]

    shown = finish(command, tmp_path)
    assert [path.stat().st_mtime_ns for path in finished] == before
    assert "1/5 vspp seed 0: fit (there)" in shown
    assert "2/5 vspp seed 0: evaluate on toy (there)" in shown
    assert "5/5 broken: evaluate on toy: FAILED" in shown
    assert "VSPP, mean of 2 seeds" in shown
    assert shown.splitlines()[-1].startswith("missing: broken: evaluate on toy: exit code 2: ")
    page = (tmp_path / "out" / "report.html").read_text()
    names = {Manifest.load(toy_manifest).name(row) for row in range(40)}
    pictures = page.count('src="data:image/webp;base64,')
    assert pictures == page.count("<img ") > 10
    assert any(f'alt="{name}, class ' in page for name in names)
    (table,) = {group["protocol"] for group in json.loads((tmp_path / "out" / "table.json").read_text())} - {"knn-v1"}
    assert table == "retrieval-v1"

    logs = {path: path.stat().st_size for path in (tmp_path / "out" / "logs").iterdir()}
    again = finish(command, tmp_path)
    assert again.count("(there)") == 4
    grown = [path.name for path, size in logs.items() if path.stat().st_size != size]
    assert grown == ["broken-toy.log"]

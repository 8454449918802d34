"""The run directory: where it is, and what a run writes about itself."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from vssl.errors import UserError
from vssl.evaluate.encoder import arithmetic
from vssl.methods.base import Method

_ENV = "VSSL_RUN_DIR"
_PACKAGES = ("vssl", "torch", "torchvision", "lightning", "timm", "pytorchvideo", "av", "torchcodec", "numpy")


def run_directory(given: str | None, method: str, ckpt_path: str | None) -> Path:
    """Choose the run's folder: the one given, the one a resumed checkpoint lies in, or runs/METHOD-TIME.

    All ranks agree: processes that Lightning starts find the first one's choice in their environment; those that
    torchrun or SLURM start are given one.
    """
    rank = int(getattr(rank_zero_only, "rank", None) or 0)  # Lightning reads it off the launcher's variables
    if rank > 0 and given is None and _ENV in os.environ:
        return Path(os.environ[_ENV])
    if given is None and ckpt_path is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("--run_dir", "processes that torchrun or SLURM start need one name", "Give --run_dir.")
    if rank > 0 and given is not None:
        return Path(given)
    if given is not None:
        path = Path(given)
    elif ckpt_path is not None and (Path(ckpt_path).parent.parent / "config.yaml").is_file():
        path = Path(ckpt_path).parent.parent
    else:
        path = unused_directory(method)
    if ckpt_path is None and (path / "config.yaml").exists():
        last = path / "checkpoints" / "last.ckpt"
        way = f"or continue it: --ckpt_path {last}" if last.is_file() else "or remove it: it has no checkpoint"
        raise UserError(path, "already holds a run", f"Choose another --run_dir, {way}.")
    if given is None:
        os.environ[_ENV] = str(path)
    return path


def unused_directory(name: str) -> Path:
    """runs/NAME-TIME, with a number behind it where that exists."""
    stem = Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    path, number = stem, 2
    while path.exists():
        path, number = stem.with_name(f"{stem.name}-{number}"), number + 1
    return path


def keep_metrics(run: Path) -> None:
    """Move metrics.csv of an earlier part of the run aside: Lightning's CSV logger starts the file anew."""
    metrics = run / "metrics.csv"
    if metrics.exists():
        metrics.rename(run / f"metrics.{len(list(run.glob('metrics.*.csv'))) + 1}.csv")


def config_files(argv: list[str]) -> list[Path]:
    """The configuration layers named on a command line, in order."""
    files = []
    for i, word in enumerate(argv):
        if word in ("-c", "--config") and i + 1 < len(argv):
            files.append(Path(argv[i + 1]))
        elif word.startswith("--config="):
            files.append(Path(word.removeprefix("--config=")))
    return files


class RunRecord(Callback):
    """Writes config.yaml, the layers as given, environment.json and data.json before the first step.

    Args:
        run: The run's folder.
        config: Text of the complete configuration.
        argv: Command line after `vssl fit`.
    """

    def __init__(self, run: Path, config: str, argv: list[str]) -> None:
        self.run, self.config, self.argv = run, config, argv
        self._began, self._seconds = time.monotonic(), 0.0

    @override
    @rank_zero_only
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the record; a resumed run adds files and overwrites none."""
        assert isinstance(pl_module, Method)
        self._began = time.monotonic()
        self.run.mkdir(parents=True, exist_ok=True)
        number = len(list(self.run.glob("config*.yaml")))
        suffix = f".resumed{number}" if number else ""
        (self.run / f"config{suffix}.yaml").write_text(self.config, encoding="utf-8")
        layers = self.run / f"layers{suffix}"
        layers.mkdir(exist_ok=True)
        for i, file in enumerate(config_files(self.argv)):
            shutil.copyfile(file, layers / f"{i}-{file.name}")
        (layers / "command.txt").write_text(" ".join(["vssl fit", *self.argv]) + "\n", encoding="utf-8")
        _write_json(self.run / f"environment{suffix}.json", environment())
        data = pl_module.data
        seen: dict[str, Any] = {k: v if isinstance(v, str | int) else len(v) for k, v in data.seen.items()}
        if pl_module.phases:
            names = ("method", "step", "epoch", "sha", "file")
            seen["init_from"] = [{name: phase[name] for name in names} for phase in pl_module.phases]
        groups = [format(g & (2**64 - 1), "016x") for g in data.seen["groups"].tolist()]
        _write_json(self.run / f"data{suffix}.json", {**seen, "group_hashes": groups})

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Hours so far, over all parts of the run."""
        hours = (self._seconds + time.monotonic() - self._began) / 3600
        checkpoint.setdefault("vssl", {})["budget"] = {"hours": hours, "world_size": trainer.world_size}

    def state_dict(self) -> dict[str, float]:
        """Seconds so far."""
        return {"seconds": self._seconds + time.monotonic() - self._began}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Go on counting."""
        self._seconds = state_dict["seconds"]


def environment() -> dict[str, Any]:
    """Versions, machine and git state: what a number may depend on besides the configuration."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **arithmetic(),
        "packages": versions,
        "git": {"working_directory": _git_state(Path.cwd()), "vssl": _git_state(Path(__file__).parent)},
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "executable": Path(sys.executable).name,
    }


def _git_state(folder: Path) -> dict[str, Any] | None:
    def git(*words: str) -> str | None:
        if shutil.which("git") is None:
            return None
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return None
    remote = git("config", "--get", "remote.origin.url")
    return {
        "commit": commit,
        "dirty": bool(git("status", "--porcelain")),
        "remote": re.sub(r"//[^/@]*@", "//", remote) if remote else None,  # never a password
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")

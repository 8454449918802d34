"""The folder of a run in stages: which stages it has, which are finished. Standard library only."""

import json
import os
from pathlib import Path
from typing import Any

from vssl.errors import UserError

RECORD, DONE = "stages.json", "done.json"


def is_finished(stage: Path) -> bool:
    """Whether a stage's folder holds its last checkpoint and the mark that training was over."""
    return (stage / DONE).is_file() and (stage / "checkpoints" / "last.ckpt").is_file()


def names(run: Path) -> list[str]:
    """Names of the stages of a run directory, in order; none where it is a run of one piece."""
    record = run / RECORD
    return json.loads(record.read_text(encoding="utf-8"))["stages"] if record.is_file() else []


def last_stage(run: Path) -> Path:
    """The folder that a run directory stands for: its last finished stage's; itself where it has no stages.

    Raises:
        UserError: It has stages and none is finished.
    """
    stages = names(run)
    if not stages:
        return run
    finished = [run / name for name in stages if is_finished(run / name)]
    if not finished:
        raise UserError(run, "no stage of it is finished", "Continue it with the command that began it.")
    return finished[-1]


def name_of(folder: Path) -> str:
    """What tables call a run: its folder's name, a stage's with the run's in front."""
    return f"{folder.parent.name}/{folder.name}" if folder.name in names(folder.parent) else folder.name


def phases(folder: Path) -> list[Path]:
    """The folder of a run and, of a stage, those of the stages before it, first to last."""
    stages = names(folder.parent)
    own = stages.index(folder.name) + 1 if folder.name in stages else 0
    return [folder.parent / name for name in stages[:own]] or [folder]


def write(path: Path, value: dict[str, Any]) -> None:
    """Write a record at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    os.replace(draft, path)

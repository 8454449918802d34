"""One score as a file: everything needed to compare it, nothing that needs torch to read."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any

import numpy as np

from vssl.errors import UserError
from vssl.evaluate.protocol import HARD, METRICS
from vssl.evaluate.stats import Scores

SCHEMA = 1
TRAINED, RANDOM, BASELINE = "trained", "random", "baseline"
FOLDER = "results"


@dataclass(frozen=True)
class Result:
    """Score of one encoder on one split and label column of one data set under one protocol."""

    key: str
    """Hash of all that decides the score; equal keys are the same measurement."""
    kind: str
    """trained, random or baseline."""
    name: str
    """Method, `random SEED` or the baseline's name."""
    run: str
    """Name of the run directory it was measured for."""
    dataset: str
    manifest: str
    """Content hash of the manifest."""
    split: int
    label: str
    protocol: dict[str, Any]
    """Record with name, fingerprint, hard, soft and info fields."""
    metrics: dict[str, float]
    """Percent; `protocol.METRICS` names them in their order."""
    interval: list[float]
    """95 % interval of the task's first metric, over source groups."""
    num_scored: int
    num_listed: int
    num_official: int | None
    """Test videos of the official list, where the data set has one: a manifest may hold fewer."""
    num_gallery: int
    num_gallery_listed: int
    failures: list[dict[str, Any]]
    """{"path", "part": gallery or test, "reason"}: never replaced, only listed."""
    predictions: dict[str, list[int]]
    """Parallel lists row, predicted, true, group behind the task's first metric, for paired statistics; a row that was
    asked several times (draws, paces) is in them as often."""
    classes: list[str]
    card: dict[str, Any]
    backbone: dict[str, Any]
    """{"spec", "num_parameters", "seed"}."""
    pretraining: dict[str, Any]
    """{} for controls; else method, budget, labels used, what was seen."""
    checkpoint: dict[str, Any]
    """{} for controls; else sha, step, epoch, file name."""
    environment: dict[str, Any]
    leaked: bool = False
    leak: str = ""
    """What was seen in pretraining, in words."""
    details: dict[str, Any] = field(default_factory=dict)
    """What the readout chose and how, each draw, ...: plain values."""
    schema: int = SCHEMA

    @property
    def fingerprint(self) -> str:
        """Hash of the protocol's hard fields."""
        return self.protocol["fingerprint"]

    def scores(self) -> Scores:
        """Right or wrong, per video; a share where a video was asked several times."""
        return hits({name: np.asarray(column, dtype=np.int64) for name, column in self.predictions.items()})

    @property
    def ranking(self) -> str:
        """Name of the task's first metric."""
        return METRICS[self.protocol[HARD]["task"]][0]

    @property
    def file_name(self) -> str:
        """Readable, and unique by the key."""
        head = "-".join([self.dataset, f"s{self.split}", self.label, self.protocol["name"], self.name])
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_.+=") else "_" for c in head)
        return f"{safe[:200]}-{self.key}.json"  # names of files end at 255


def key(**parts: Any) -> str:
    """Hash of plain values that decide a score."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def hits(predictions: Mapping[str, np.ndarray]) -> Scores:
    """Share of right answers per video, from parallel columns row, predicted, true, group."""
    rows, first, place = np.unique(predictions["row"], return_index=True, return_inverse=True)
    right = np.bincount(place, weights=predictions["predicted"] == predictions["true"])
    return Scores(rows, predictions["group"][first], right / np.bincount(place))


def write(result: Result, folder: Path, arrays: Mapping[str, np.ndarray] | None = None) -> Path:
    """Write the result into folder, trained weights (`arrays`) beside it; a reader sees a whole file or none."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / result.file_name
    if arrays:
        with whole(path.with_suffix(".npz")) as file:
            np.savez(file, allow_pickle=False, **arrays)
    with whole(path) as file:
        file.write(json.dumps(asdict(result), sort_keys=True).encode())
    return path


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A binary file to write, which appears under its name when all of it is on disk."""
    handle, draft = tempfile.mkstemp(prefix=".draft-", suffix=".tmp", dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.chmod(draft, 0o644)  # mkstemp makes a private file; a results folder is shared
    os.replace(draft, path)


def read(path: Path) -> Result:
    """Read one result.

    Raises:
        UserError: the file is no result of this version of the format.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(path, f"is not a result file ({error})", "Delete it and evaluate again") from error
    schema = data.get("schema") if isinstance(data, Mapping) else None
    if schema != SCHEMA:
        raise UserError(path, f"has result schema {schema}, this version reads {SCHEMA}", "Evaluate again")
    names = {f.name for f in fields(Result)}
    newer = {"details"}  # absent from results of the first version
    if set(data) | newer != names:
        wrong = sorted((set(data) | newer) ^ names)[0]
        raise UserError(path, f"does not hold the fields of a result ({wrong})", "Evaluate again")
    return Result(**data)


def find(folder: Path, key: str) -> Result | None:
    """The result with this key, if the folder has it."""
    paths = sorted(folder.glob(f"*-{key}.json"))
    return read(paths[0]) if paths else None


def absent(results: Iterable[Result]) -> list[str]:
    """Per run whose frozen teacher is no row beside it, a line: evaluation leaves out a control without its file."""
    places: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        places.setdefault((result.manifest, result.label, result.split, result.fingerprint), []).append(result)
    found: dict[tuple[str, str], list[str]] = {}
    for place in places.values():
        beside = [result.name for result in place if result.kind == BASELINE]
        for result in place if beside else ():  # protocols that train have no baselines
            rest = frozen = result.pretraining.get("frozen", "")
            for name in beside:
                rest = rest.replace(name, "")
            if rest.strip(", "):
                found.setdefault((result.run, frozen), []).append(f"{result.dataset} {result.protocol['name']}")
    return [
        f"{run}: {frozen}, which it learnt from, does not stand beside it ({', '.join(dict.fromkeys(where))}): "
        "its weights file was not found. Put it back and evaluate again."
        for (run, frozen), where in found.items()
    ]


def of_run(run: Path) -> list[Result]:
    """All results of a run directory.

    Raises:
        UserError: the directory is missing or holds no result.
    """
    if not run.is_dir():
        raise UserError(run, "is not a directory", "Give the run directory that `vssl fit` made")
    folder = run if run.name == FOLDER else run / FOLDER
    paths = sorted(folder.glob("*.json")) if folder.is_dir() else []
    if not paths:
        raise UserError(
            run, "has no results", f"Score it first: vssl evaluate {run} --protocol knn-v1 --data.manifest M"
        )
    return [read(path) for path in paths]

"""The file of `vssl compare -c`: its schema, and the runs that it asks for. Neither torch nor a run is needed."""

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from vssl.errors import UserError

_SPLIT, _SEED = "{split}", "{seed}"


@dataclass
class Pretrain:
    """What a method is fitted on."""

    dataset: str = ""
    """Name of one of the data sets of the file."""
    splits: list[int] = field(default_factory=lambda: [1])
    """One run for each."""


@dataclass
class Entry:
    """One method: a run or checkpoint that exists, layers to fit, or both (fitted where the run is missing)."""

    run: str | None = None
    """Run directory or checkpoint file; `{split}` and `{seed}` stand for what it was pretrained with."""
    config: list[str] = field(default_factory=list)
    """Layers for `vssl fit`, in order."""
    set: dict[str, Any] = field(default_factory=dict)
    """Flags of `vssl fit` by their dotted names; they win over the layers."""
    pretrain: Pretrain | None = None
    seeds: list[int] | None = None
    """Instead of the file's."""


@dataclass
class Data:
    """One data set."""

    manifest: str = ""
    root: str | None = None
    splits: list[int] = field(default_factory=lambda: [1])
    """Scored splits; none: only pretrained on."""
    labels: list[str] = field(default_factory=lambda: ["label"])


@dataclass
class Fit:
    """What all fits share, after the method's own layers and flags."""

    config: list[str] = field(default_factory=list)
    set: dict[str, Any] = field(default_factory=dict)


@dataclass
class Evaluate:
    """Options of `vssl evaluate`."""

    config: list[str] = field(default_factory=list)
    """Layers with a `trainer` section: how many processes, on which devices."""
    device: str = "auto"
    workers: int | None = None
    batch_size: int | None = None


@dataclass
class Comparison:
    """The whole file."""

    out: str = ""
    """Folder of the runs, the logs, the kept features and the tables."""
    methods: dict[str, Entry] = field(default_factory=dict)
    datasets: dict[str, Data] = field(default_factory=dict)
    protocols: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0])
    fit: Fit = field(default_factory=Fit)
    evaluate: Evaluate = field(default_factory=Evaluate)


class Member(NamedTuple):
    """One encoder of the comparison."""

    method: str
    title: str
    run: Path
    fit: list[str] | None
    """Words after `vssl fit`; None: it must be there."""
    settings: str
    """Hash of what decides the fit, but for where the files lie."""
    splits: dict[str, list[int]]
    """Data set -> splits to score."""


def read(path: Path) -> Comparison:
    """A file, checked as far as that needs no computation.

    Raises:
        UserError: the file is missing, names something that does not exist, or lacks something.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if not path.is_file():
        raise UserError(path, "no such file", "configs/compare/ holds examples")
    try:
        given = OmegaConf.load(path)
        if not OmegaConf.is_dict(given):
            raise UserError(path, "not a YAML mapping", _FIELDS)
        found = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Comparison), given))
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise UserError(path, _reason(error), _FIELDS) from error
    assert isinstance(found, Comparison)
    _check(path, found)
    return found


def _reason(error: Exception) -> str:
    """The error on one line, with the key that it is about in front."""
    lines = str(error).splitlines()
    text = " ".join(" ".join(lines if isinstance(error, yaml.YAMLError) else lines[:1]).split())
    key = getattr(error, "full_key", None)
    return f"{key}: {text}" if key and key not in text else text


def _check(path: Path, plan: Comparison) -> None:
    from omegaconf import OmegaConf

    from vssl.evaluate import protocol

    for name in ("out", "methods", "datasets", "protocols"):
        if not getattr(plan, name):
            raise UserError(f"{path}: {name}", "is missing or empty", _FIELDS)
    for name in plan.protocols:
        protocol.load(name).must_run()
    for file in plan.evaluate.config:
        if not Path(file).is_file():
            raise UserError(file, "no such file", f"{path}: evaluate.config names it")
        if other := set(OmegaConf.load(file)) - {"trainer"}:
            rule = f"holds {', '.join(sorted(map(str, other)))}, and evaluate.config takes a trainer section alone"
            raise UserError(file, rule, "The rest stands in this file.")
    for name, data in plan.datasets.items():
        if not Path(data.manifest).is_file():
            raise UserError(data.manifest or f"{path}: datasets.{name}.manifest", "no such manifest", _INDEX)
    for name, entry in plan.methods.items():
        _check_entry(f"{path}: methods.{name}", entry, plan)


_FIELDS = "docs/evaluation.md lists what the file holds"
_INDEX = "Make it with vssl data index or vssl data toy, or set VSSL_DATA"


def _check_entry(where: str, entry: Entry, plan: Comparison) -> None:
    if not entry.run and not entry.config:
        raise UserError(where, "names neither a run nor a config", "Write run: DIR or config: [FILE]")
    if entry.config and (entry.pretrain is None or entry.pretrain.dataset not in plan.datasets):
        rule = f"pretrain.dataset must be one of {', '.join(plan.datasets)}"
        raise UserError(where, rule, "Write pretrain: {dataset: NAME, splits: [1]}")
    for file in [*entry.config, *plan.fit.config]:
        if not Path(file).is_file():
            raise UserError(file, "no such file", f"{where} names it")
    if entry.run and entry.config:
        several = {_SPLIT: entry.pretrain.splits if entry.pretrain else [], _SEED: entry.seeds or plan.seeds}
        for mark, values in several.items():
            if len(values) > 1 and mark not in entry.run:
                raise UserError(f"{where}.run", f"several runs would share one folder without {mark}", f"Add {mark}")
    if entry.run and not entry.config and not Path(entry.run).exists():
        raise UserError(entry.run, "no such run or checkpoint", f"Mend {where}.run, or give it a config to fit")


def members(plan: Comparison) -> Iterator[Member]:
    """Every encoder, in the file's order: methods, then the splits and seeds of pretraining."""
    scored = {name: data.splits for name, data in plan.datasets.items() if data.splits}
    for name, entry in plan.methods.items():
        if not entry.config:
            yield Member(name, name, Path(entry.run or ""), None, "", scored)
            continue
        assert entry.pretrain is not None
        seeds, splits = entry.seeds or plan.seeds, entry.pretrain.splits
        for split, seed in itertools.product(splits, seeds):
            run = entry.run or str(Path(plan.out) / "runs" / f"{name}-s{_SPLIT}-seed{_SEED}")
            own = scored
            if len(splits) > 1 and entry.pretrain.dataset in scored:  # each run answers for the split it was kept from
                own = scored | {entry.pretrain.dataset: [split]}
            title = f"{name} split {split} seed {seed}" if len(splits) > 1 else f"{name} seed {seed}"
            words, settings = _fit(plan, entry, split=split, seed=seed)
            folder = Path(run.replace(_SPLIT, str(split)).replace(_SEED, str(seed)))
            yield Member(name, title, folder, words, settings, own)


def _fit(plan: Comparison, entry: Entry, *, split: int, seed: int) -> tuple[list[str], str]:
    """Words after `vssl fit`, but for the folder; and a hash of what they mean."""
    assert entry.pretrain is not None
    data, layers, flags = plan.datasets[entry.pretrain.dataset], [*entry.config, *plan.fit.config], {}
    flags = {"data.split": split, "seed_everything": seed} | plan.fit.set | entry.set
    words = [word for file in layers for word in ("-c", file)]
    words += ["--data.manifest", data.manifest, *(["--data.root", data.root] if data.root else [])]
    words += [w for key, v in flags.items() for w in (f"--{key}", v if isinstance(v, str) else json.dumps(v))]
    contents = [_content(Path(file)) for file in layers]
    seen = content_hash(data.manifest)  # the same name may hold other videos by now
    text = json.dumps([contents, flags, entry.pretrain.dataset, seen], sort_keys=True, default=str)
    return words, hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def content_hash(manifest: str) -> str:
    """Of what a manifest holds, as the file beside it says.

    Raises:
        UserError: that file is missing.
    """
    file = Path(manifest).with_suffix(".json")
    if not file.is_file():
        raise UserError(file, "no such file, which belongs to the manifest", _INDEX)
    return str(json.loads(file.read_text(encoding="utf-8"))["content_hash"])


def _content(layer: Path) -> list[Any]:
    """What a layer says, and the layers of the stages that it lists."""
    said = yaml.safe_load(layer.read_text(encoding="utf-8")) or {}
    stages = [layer.parent / str(stage.get("config")) for stage in said.get("stages") or ()]
    return [said, *(_content(path) for path in stages if path.is_file())]

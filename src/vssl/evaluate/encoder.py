"""An encoder under evaluation, and what is said of it in its results."""

import hashlib
import importlib.metadata
import importlib.util
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from vssl.backbones.base import Backbone, Input
from vssl.evaluate.protocol import NORMAL, Protocol
from vssl.evaluate.result import RANDOM, TRAINED, key

_PACKAGES = ("vssl", "torchvision", "numpy", "av", "torchcodec")
_FORMAT = 2
"""Of kept features; raised when the same weights and views would give other numbers."""


@dataclass
class Encoder:
    """One column of features, and where its scores go."""

    kind: str
    name: str
    run: str
    folder: Path
    """Of the results."""
    backbone: Backbone
    card: Input
    spec: dict[str, Any]
    """Of the trained network; a control of it keeps it, so that the table can tell whose control it is."""
    seed: int | None = None
    checkpoint: dict[str, Any] = field(default_factory=dict)
    """{} for controls; else sha, step, epoch, file."""
    pretraining: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, Any] | None = None
    splits: list[int] = field(default_factory=list)
    features: Path | None = None
    """Where its features are kept; None: only in memory."""
    weights: str = field(init=False)
    """Hash of the weights as given: a random control's norms are set later, by a rule that its column's key holds."""

    def __post_init__(self) -> None:
        self.weights = _hash(self.backbone)

    def column(self, protocol: Protocol, variant: str, *, manifest: str) -> str:
        """Names a table of features: equal for what would compute the same numbers."""
        views = {name: value for name, value in protocol.fields.items() if name.startswith("views.")}
        views["views.variants"] = NORMAL if self.card.frames == 1 else variant  # one frame has no order and no pace
        decides = {"views": views, "card": self.card._asdict(), "manifest": manifest, "spec": self.spec}
        if self.kind == RANDOM:
            decides["calibration"] = protocol["controls.calibration"]
        name = "".join(c if c.isascii() and (c.isalnum() or c in "-_.+=") else "_" for c in self.name)
        return f"{name}-{views['views.variants']}-{key(format=_FORMAT, weights=self.weights, **decides)}"

    def key(self, protocol: Protocol, *, manifest: str, split: int, label: str) -> str:
        """Hash of all that decides a score."""
        record = protocol.record(self.card._asdict())
        decides = {"protocol": [record["hard"], record["soft"]], "manifest": manifest, "split": split, "label": label}
        return key(**self._identity(), **decides)

    def _identity(self) -> dict[str, Any]:
        if self.kind == TRAINED:
            return {"kind": self.kind, "sha": self.checkpoint["sha"]}
        return {"kind": self.kind, "name": self.name, "spec": self.spec, "seed": self.seed}

    def record(self) -> dict[str, Any]:
        """The fields of a result that are the encoder's: who it is, where from, what it sees."""
        num_parameters = sum(p.numel() for p in self.backbone.parameters())
        return {
            "kind": self.kind,
            "name": self.name,
            "run": self.run,
            "card": plain(self.card._asdict()),
            "backbone": {"spec": self.spec, "num_parameters": num_parameters, "seed": self.seed},
            "pretraining": self.pretraining,
            "checkpoint": self.checkpoint,
        }


def pretraining(method: str, seen: Mapping[str, Any] | None, budget: Mapping[str, Any]) -> dict[str, Any]:
    """The pretraining record of a result: plain values, no hashes of single videos."""
    data, earlier = None, (seen or {}).get("earlier", ())
    if seen is not None:
        fields = ("dataset", "manifest", "split", "subset", "rows", "num_videos")
        known = [phase for phase in earlier if phase is not None]
        data, *before = ({name: phase[name] for name in fields} for phase in (seen, *known))
        data |= {"earlier": before} if before else {}
        data |= {"unknown": True} if len(known) < len(earlier) else {}  # weights from elsewhere
    plain = {name: value for name, value in budget.items() if isinstance(value, (str, int, float, bool, type(None)))}
    return {"labels_used": "none"} | plain | {"method": method, "data": data}


def environment(**more: Any) -> dict[str, Any]:
    """Versions of what a score may depend on."""
    found = {name: _version(name) for name in _PACKAGES}
    system = {"python": platform.python_version(), "machine": platform.machine(), "torch": torch.__version__}
    return system | arithmetic() | found | more


def arithmetic() -> dict[str, Any]:
    """What decides how sums are rounded, the libraries' versions aside; a run of many steps may end elsewhere."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    deterministic = torch.are_deterministic_algorithms_enabled()
    return {"threads": torch.get_num_threads(), "gpu": gpu, "cuda": torch.version.cuda, "deterministic": deterministic}


def _hash(backbone: Backbone) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(backbone.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def plain(value: Any) -> Any:
    """As it reads back from a file: tuples become lists."""
    return json.loads(json.dumps(value))


def _version(name: str) -> str | None:
    return importlib.metadata.version(name) if importlib.util.find_spec(name) else None

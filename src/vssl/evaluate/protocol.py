"""What a score was measured under: a record of plain fields, and a fingerprint of those that decide comparability.

Imports no torch: `vssl compare` reads records of finished runs in a fraction of a second.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

import yaml

from vssl.errors import UserError
from vssl.evaluate.fields import FIELDS, HARD, INFO, READ, SOFT, TEST, check, check_together

METRICS: dict[str, tuple[str, ...]] = {
    "knn": ("top1",),
    "retrieval": ("R@1", "R@5", "R@10", "R@20", "R@50", "R@1 centred"),
    "linear": ("top1",),
    "fewshot": ("5-shot", "10-shot", "20-shot"),
    "temporal": ("speed", "top1", "frozen", "shuffled", "reversed"),
    "finetune": ("top1", "clip top1"),
    "attentive": ("top1", "clip top1"),
}
"""What each task measures, in the order of a table; the first ranks, and is what predictions belong to."""

NORMAL = "normal"
"""The variant of clips as they are; the only one where a protocol names none in `views.variants`."""

CARD = ("size", "frames", "stride", "mean", "std", "color")
"""Fields of an encoder's card; soft under `input: native`, hard where a protocol fixes them."""

NATIVE = "native"
"""All of the input, or one field of it, as the encoder's card says."""
_SOFT_IF_NATIVE = ("readout.frames",)


@dataclass(frozen=True)
class Protocol:
    """One named, versioned way to score an encoder.

    Raises:
        UserError: a field is unknown, or a required one is missing.
    """

    name: str
    fields: Mapping[str, Any]
    """Dotted name -> plain value; `input` is the word native or a mapping with the fields of a card."""
    clips_per_norm: int | None = None
    """How it is run, which no file says: clips that a batch norm sees per step, where these are not the whole batch."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.fields) - set(FIELDS))
        if unknown:
            raise UserError(f"{self.name}: {unknown[0]}", "is not a field of a protocol", _known())
        missing = sorted({"task", "input"} - set(self.fields))
        if missing:
            raise UserError(self.name, f"the protocol has no field {missing[0]}", "Add it to the file")
        given = self.fields["input"]
        if given != NATIVE and (not isinstance(given, Mapping) or set(given) != set(CARD)):
            raise UserError(f"{self.name}: input={given}", f"is neither native nor {', '.join(CARD)}", "Name all")

    def __getitem__(self, field: str) -> Any:
        return self.fields[field]

    @property
    def variants(self) -> list[str]:
        """Variants of the clips that features are needed of."""
        return list(self.fields.get("views.variants", [NORMAL]))

    @property
    def selected_on_test(self) -> bool:
        """Whether something was chosen on the videos that the score is about."""
        return self.fields.get("splits.validation") == TEST

    @property
    def stamped(self) -> str:
        """The name as a table shows it: a choice made on the test list is said in it, and batch norms run apart."""
        name = f"{self.name} (selected on test)" if self.selected_on_test else self.name
        return f"{name} ({self.clips_per_norm} clips per norm)" if self.clips_per_norm else name

    def must_run(self) -> None:
        """Refuse what is on record but cannot be run, or says what would not be done.

        Raises:
            UserError: saying what is missing, or which field has a value that nothing reads.
        """
        if self.fields.get("missing"):
            raise UserError(self.name, f"cannot be run here: {self['missing']}", "Try finetune-v1.")
        usual = self._usual()
        for field in usual:
            if FIELDS[field] == HARD and field not in self.fields:
                raise UserError(self.name, f"the protocol has no field {field}", f"Add it, as in {self['task']}-v1")
        check(self["task"], _counted(self.fields), usual)
        check_together(self.fields)

    def _usual(self) -> Mapping[str, Any]:
        if self["task"] not in READ:
            raise UserError(f"task={self['task']}", f"is none of {', '.join(READ)}", "Name one.")
        return load(f"{self['task']}-v1").fields

    @property
    def native(self) -> bool:
        """Whether every encoder gets the input its own card asks for."""
        return self.fields["input"] == NATIVE

    def override(self, **changes: Any) -> "Protocol":
        """The same protocol with fields changed (`views__clips=5`), said in its name, so no score can pass for it.

        Raises:
            UserError: there is no such field, or the task reads no such value (`vssl.evaluate.fields`).
        """
        named = {key.replace("__", "."): value for key, value in changes.items()}
        for field in set(named) - set(FIELDS):
            raise UserError(field, "is not a field of a protocol", _known())
        named = {key: value for key, value in named.items() if self.fields.get(key) != value}
        if not named:
            return self
        check(self["task"], _counted(named), self._usual())
        parts = [f"{key.rpartition('.')[2]}={value}" for key, value in sorted(named.items()) if FIELDS[key] != INFO]
        return replace(self, name="+".join([self.name, *parts]), fields={**self.fields, **named})

    def record(self, card: Mapping[str, Any]) -> dict[str, Any]:
        """What is stored with a score of an encoder with this card: name, fingerprint, hard, soft and info fields."""
        record: dict[str, Any] = {"name": self.stamped, HARD: {}, SOFT: {}, INFO: {}}
        for field, value in sorted(self.fields.items()):
            soft = self.native and field in _SOFT_IF_NATIVE
            record[SOFT if soft else FIELDS[field]][field] = value
        if self.clips_per_norm:
            record[HARD]["frozen.clips_per_norm"] = self.clips_per_norm
        own = CARD if self.native else [name for name in CARD if self["input"][name] == NATIVE]
        record[SOFT].update({f"input.{name}": card[name] for name in own})
        record = json.loads(json.dumps(record))  # tuples become lists: equal before and after a file
        return record | {"fingerprint": fingerprint(record)}


def pace(variant: str) -> int:
    """Frames that one frame of the variant stands for: 2 for `x2`, 1 for an order (normal, frozen, ...)."""
    return int(variant[1:]) if variant.startswith("x") else 1


def load(name: str) -> Protocol:
    """A shipped protocol by name.

    Raises:
        UserError: there is no protocol of that name.
    """
    if name not in (known := names()):
        raise UserError(name, "is not a known protocol", f"Known: {', '.join(known)}")
    text = resources.files("vssl.evaluate").joinpath("protocols", f"{name}.yaml").read_text(encoding="utf-8")
    return parse(text)


def names() -> list[str]:
    """Names of the shipped protocols."""
    files = resources.files("vssl.evaluate").joinpath("protocols").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def parse(text: str) -> Protocol:
    """A protocol from the text of its file."""
    tree = yaml.safe_load(text)
    fields: dict[str, Any] = {}
    for group, value in tree.items():
        if group == "input" or not isinstance(value, dict):
            fields[group] = value
        else:
            fields |= {f"{group}.{name}": inner for name, inner in value.items()}
    return Protocol(fields.pop("name"), fields)


def fingerprint(record: Mapping[str, Any]) -> str:
    """Short hash of a record's hard fields; the word native stands in it where the input is the encoder's own."""
    text = json.dumps(record[HARD], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    digest = hashlib.blake2b(text.encode("ascii"), digest_size=4).hexdigest()
    return f"{NATIVE}-{digest}" if record[HARD]["input"] == NATIVE else digest


def fields_that_differ(a: Mapping[str, Any], b: Mapping[str, Any], part: str = HARD) -> dict[str, tuple[Any, Any]]:
    """Fields of two records that are not equal: name -> (value in a, value in b), None where absent."""
    every = sorted(set(a[part]) | set(b[part]))
    pairs = {field: (a[part].get(field), b[part].get(field)) for field in every}
    return {field: pair for field, pair in pairs.items() if pair[0] != pair[1]}


def _counted(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in fields.items() if FIELDS[field] != INFO}


def _known() -> str:
    return f"Known fields: {', '.join(FIELDS)}"

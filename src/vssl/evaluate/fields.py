"""Fields of protocols: which of them decide comparability, and of every task those that its code reads.

All others are as in `TASK-v1`. So no field of a record can say what was not done: neither a change by `--set` nor a
protocol file passes with one.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from vssl.errors import UserError

HARD, SOFT, INFO = "hard", "soft", "info"

FIELDS: dict[str, str] = {
    "about": INFO,
    "citation": INFO,
    "caveats": INFO,
    "missing": INFO,
    "task": HARD,
    "input": HARD,
    "views.clips": HARD,
    "views.sampling": HARD,
    "views.crops": HARD,
    "views.crop_fraction": HARD,
    "views.flip": HARD,
    "views.average": HARD,
    "views.level": HARD,
    "views.variants": HARD,
    "views.size": HARD,
    "views.fps": HARD,
    "frozen.trainable": HARD,
    "frozen.batch_norm": HARD,
    "frozen.head_norm": HARD,
    "readout.feature": HARD,
    "readout.frames": HARD,
    "neighbours.gallery": HARD,
    "neighbours.k": HARD,
    "neighbours.ks": HARD,
    "neighbours.temperature": HARD,
    "neighbours.distance": HARD,
    "neighbours.normalise": HARD,
    "neighbours.centring": HARD,
    "neighbours.same_group": HARD,
    "neighbours.ties": HARD,
    "head.layers": HARD,
    "head.dropout": HARD,
    "head.objective": HARD,
    "fewshot.shots": HARD,
    "fewshot.draws": HARD,
    "optimisation.optimiser": SOFT,
    "optimisation.steps": SOFT,
    "optimisation.epochs": SOFT,
    "optimisation.clips_per_video": SOFT,
    "optimisation.batch": SOFT,
    "optimisation.lr": SOFT,
    "optimisation.layer_decay": SOFT,
    "optimisation.schedule": SOFT,
    "optimisation.milestones": SOFT,
    "optimisation.gamma": SOFT,
    "optimisation.warmup": SOFT,
    "optimisation.weight_decay": SOFT,
    "optimisation.seed": SOFT,
    "augment.crop": SOFT,
    "augment.scale": SOFT,
    "augment.ratio": SOFT,
    "augment.resize": SOFT,
    "augment.flip": SOFT,
    "augment.jitter": SOFT,
    "augment.brightness": SOFT,
    "augment.contrast": SOFT,
    "augment.saturation": SOFT,
    "augment.hue": SOFT,
    "augment.more": SOFT,
    "splits.aggregate": HARD,
    "splits.selection": HARD,
    "splits.validation": HARD,
    "splits.validation_share": HARD,
    "splits.validation_videos": HARD,
    "splits.refit": HARD,
    "controls.random_seeds": INFO,
    "controls.calibration": HARD,
}
"""Every field a protocol file may hold: hard ones must agree for two scores to be ranked together."""

TEST, TRAIN_VIDEOS, NONE = "test", "train videos", "none"
"""`splits.validation` of protocols that train on clips: what the epoch is chosen on."""
LAST, LOWEST_LOSS, MOST_RIGHT = "last", "lowest loss", "most right answers"
"""`splits.selection` of them."""
CALIBRATED = "6 batches of 32 train videos of the first split, one clip each, cumulative average"
"""`controls.calibration`: what `vssl.evaluate.controls.calibrate` does."""
ORDERS = ("normal", "frozen", "shuffled", "reversed")

Rule = Callable[[Any], str]
"""What is wrong with a value; nothing if it is read as it stands."""


def _any(value: Any) -> str:
    del value
    return ""


def _one_of(*known: Any) -> Rule:
    return lambda value: "" if value in known else f"is none of {', '.join(map(str, known))}"


def _begins(first: int) -> Rule:
    rule = f"does not begin with {first}, whose score ranks"
    return lambda value: "" if isinstance(value, list) and value[:1] == [first] else rule


def _variants(value: Any) -> str:
    names = [str(name) for name in value] if isinstance(value, list) else []
    paces = [name for name in names if re.fullmatch(r"x([2-9]|[1-9]\d+)", name)]
    known = "normal" in names and paces and set(names) <= {*paces, *ORDERS}
    return "" if known else f"is no list of {', '.join(ORDERS)}, x2, x3, ... with normal and a pace in it"


def _input(value: Any) -> str:
    colors = ("native", "rgb", "bgr")
    known = not isinstance(value, Mapping) or value.get("color") in colors
    return "" if known else f"has a color that is none of {', '.join(colors)}"


def _free(group: str, *names: str) -> dict[str, Rule]:
    return dict.fromkeys([f"{group}.{name}" for name in names], _any)


_VIEWS = {"input": _input, "views.crops": _one_of(1, 3), **_free("views", "clips", "crop_fraction", "size", "fps")}
_HEAD = _VIEWS | _free("optimisation", "steps", "batch", "lr", "weight_decay")
_CHOSEN = _HEAD | _free("splits", "validation_share")
_CLIPS = {
    **_VIEWS,
    "views.average": _one_of("softmax", "logits"),
    "frozen.trainable": _one_of("all", "head"),
    "frozen.batch_norm": _one_of("train", "eval"),
    "head.dropout": _any,
    "optimisation.optimiser": _one_of("sgd", "adam", "adamw"),
    "optimisation.schedule": _one_of("constant", "cosine", "steps"),
    **_free("optimisation", "epochs", "clips_per_video", "batch", "lr", "milestones", "gamma", "warmup"),
    **_free("optimisation", "weight_decay", "seed"),
    "augment.crop": _one_of("area", "fixed", "center", "start", "end"),
    **_free("augment", "scale", "ratio", "resize", "flip", "jitter", "brightness", "contrast", "saturation", "hue"),
    "splits.validation": _one_of(NONE, TRAIN_VIDEOS, TEST),
    "splits.selection": _one_of(LAST, LOWEST_LOSS, MOST_RIGHT),
    "splits.validation_videos": _any,
    "controls.calibration": _one_of(NONE, CALIBRATED),
}
READ: dict[str, dict[str, Rule]] = {
    "knn": _VIEWS | _free("neighbours", "k", "temperature"),
    "retrieval": _VIEWS | {"neighbours.ks": _begins(1), "neighbours.centring": _one_of("none", "each list's own mean")},
    "linear": _CHOSEN,
    "fewshot": _HEAD | {"fewshot.shots": _begins(5), "fewshot.draws": _any},
    "temporal": _CHOSEN | {"views.variants": _variants},
    "finetune": _CLIPS,
    "attentive": _CLIPS,
}
"""Task -> field -> which values its code reads."""

_TOGETHER: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("splits.validation", NONE, "splits.selection", (LAST,)),
    ("splits.validation", TRAIN_VIDEOS, "splits.selection", (LOWEST_LOSS, MOST_RIGHT)),
    ("splits.validation", TEST, "splits.selection", (LOWEST_LOSS, MOST_RIGHT)),
    # a frozen encoder stays in eval mode, and as initialised it computes next to nothing
    ("frozen.trainable", "head", "frozen.batch_norm", ("eval",)),
    ("frozen.trainable", "head", "controls.calibration", (CALIBRATED,)),
)
"""Where the first field has this value, the second must have one of those; of clips, whose fields may change."""


def check(task: str, fields: Mapping[str, Any], usual: Mapping[str, Any]) -> None:
    """Refuse a value that would stand in the record and that nothing reads.

    Args:
        task: Of the protocol.
        fields: All of its fields, or those that are changed.
        usual: Fields of the task's own protocol, `TASK-v1`.

    Raises:
        UserError: naming the field, what it may be, and which fields may change.
    """
    read = READ[task]
    for field, value in fields.items():
        if field in read:
            if wrong := read[field](value):
                raise UserError(f"{field}={value}", wrong, "Name one.")
        elif field not in usual or value != usual[field]:
            rule = f"is always {usual[field]}" if field in usual else "means nothing"
            raise UserError(f"{field}={value}", f"{rule} in a {task} protocol", f"May change: {', '.join(read)}.")


def check_together(fields: Mapping[str, Any]) -> None:
    """Refuse fields that contradict each other.

    Raises:
        UserError: naming both.
    """
    for field, value, other, allowed in _TOGETHER:
        if fields.get(field) == value and fields.get(other) not in allowed:
            raise UserError(f"{other}={fields.get(other)}", f"does not go with {field}={value}", "Set both.")

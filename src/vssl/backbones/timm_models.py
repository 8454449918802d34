"""timm models by name, with its refusals in one line. Nothing is ever downloaded."""

import difflib
from collections.abc import Mapping
from typing import Any

import timm
from timm.models import get_pretrained_cfg

from vssl.errors import UserError

# what we decide ourselves, or what would make timm fetch a file
_OURS = {"features_only", "in_chans", "num_classes", "checkpoint_path", "cache_dir", "feature_cls", "output_fmt"}


def check_name(name: str) -> None:
    """Refuse a name that timm does not have (`UserError`)."""
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        remedy = f"Close names: {', '.join(close)}." if close else "timm.list_models() has them all."
        raise UserError(name, "timm has no such model", remedy)


def check_arguments(model_kwargs: Mapping[str, Any]) -> None:
    """Refuse arguments that are not the architecture's (`UserError`)."""
    for key in model_kwargs:
        if key in _OURS or key.startswith("pretrained"):
            rule = "is not an argument of the architecture"
            raise UserError(f"model_kwargs.{key}", rule, "Use `weights` for a file.")


def sized(name: str, size: int, model_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """`model_kwargs`, and `img_size` where timm builds the network for one input size."""
    card = get_pretrained_cfg(name)
    fixed = {"img_size": size} if card is not None and card.fixed_input_size else {}
    return fixed | dict(model_kwargs)


def create_timm(name: str, arguments: Mapping[str, Any], *, features_only: bool = False) -> Any:
    """The model, randomly initialised; `UserError` where timm refuses the arguments."""
    maps = {"features_only": True} if features_only else {}
    try:
        return timm.create_model(name, pretrained=False, **maps, **arguments)
    except (TypeError, AttributeError, RuntimeError, AssertionError) as error:
        # timm's own refusal: no feature maps for this model, or an argument its constructor does not know
        line = str(error).strip().partition("\n")[0].rstrip(".")
        what = "as an encoder " if features_only else ""
        rule = f"timm refuses it {what}with {dict(arguments)}: {line}"
        raise UserError(name, rule, "Change the arguments.") from error

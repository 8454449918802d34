"""Values on the command line of `vssl data`: what argparse's `type` calls."""

import argparse
import json

from vssl.errors import UserError


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1 on")
    return int(text)


def count(text: str) -> int:
    """A whole number from 0 on."""
    return 0 if text == "0" else positive(text)


def seconds(text: str) -> float:
    """A number of seconds above 0."""
    return _above_zero(text, "number of seconds")


def number(text: str) -> float:
    """A number above 0."""
    return _above_zero(text, "number")


def _above_zero(text: str, kind: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no {kind} above 0")
    return number


def not_negative(text: str) -> float:
    """A number of seconds from 0 on."""
    return 0.0 if text in ("0", "0.0") else seconds(text)


def model_kwargs(words: list[str]) -> dict[str, object]:
    """`key=value` words (values as JSON where they are JSON, else text), or JSON objects."""
    found: dict[str, object] = {}
    for word in words:
        key, equals, value = word.partition("=")
        try:
            if word.startswith("{"):
                found |= json.loads(word)
                continue
        except ValueError as error:
            raise UserError(word, f"is not JSON ({error})", "Write key=value") from error
        if not equals or not key.isidentifier():
            raise UserError(word, "is no key=value", "Write e.g. pad_type=same")
        try:
            found[key] = json.loads(value)
        except ValueError:  # plain text needs no quotes
            found[key] = value
    return found


def triple(values: list[float] | None) -> list[float] | None:
    """One value for all channels as three; three stay."""
    return values * 3 if values is not None and len(values) == 1 else values

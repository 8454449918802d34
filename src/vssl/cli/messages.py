"""jsonargparse's messages to one line `VALUE: RULE. REMEDY`."""

import dataclasses
import difflib
import inspect
import re
from collections.abc import Iterable

from vssl.errors import user_error

_UNKNOWN = re.compile(r"(?:[Uu]nrecognized arguments?:|Key|Option|Group key) '?(-{0,2}[\w.]+)[^ ]*'?")
_NOT_EXPECTED = re.compile(r"not (?:expected|accepted)|[Uu]nrecognized argument")
_WRONG_TYPE = re.compile(r'[Pp]arser key "([^"]+)": (.*?)\.? (?:Got value|Given value): (\S+)')
_UNION = re.compile(r"(?i)does not validate against any of the Union subtypes Subtypes: \[(.*?)\] Errors:.*")
_NO_FILE = re.compile(r"File does not exist: '?([^' ]+)'?")
_NO_CLASS = re.compile(r"Problem with given class_path '([^']+)': (.*)")
_NO_PATH = re.compile(r"key \"[^\"]+\": - Expected a path but (\S+) either")
_REQUIRED = re.compile(r"(?i)arguments are required|key \"[^\"]+\" is required|is required but not included")
_CLASS = re.compile(r"<class '(?:[\w.]*\.)?(\w+)'>")


def one_line(
    message: str, error: BaseException | None, *, argv: list[str], known: Iterable[str], classes: Iterable[type]
) -> str:
    """The message for a person: the first cause that is ours, else jsonargparse's own words on one line.

    Args:
        message: jsonargparse's.
        error: What it came from.
        argv: The command line; a name in the message is completed from it.
        known: Names of options, to suggest from.
        classes: Installed methods and encoders, of which two may share a short name.
    """
    ours = user_error(error)
    if ours is not None:
        return str(ours)
    text = _CLASS.sub(r"\1", " ".join(message.split()))
    if _NOT_EXPECTED.search(text) and (found := _UNKNOWN.search(text)):
        return _unknown(found.group(1), argv, known)
    if missing := _NO_FILE.search(text):
        return f"{missing.group(1)}: no such file."
    if missing := _NO_CLASS.search(text):
        return f"{missing.group(1)}: {missing.group(2)}. vssl methods and vssl backbones list what there is."
    if missing := _NO_PATH.search(text):
        return _no_class(missing.group(1), classes)
    if wrong := _WRONG_TYPE.search(text):
        key, rule, value = wrong.groups()
        rule = _UNION.sub(lambda m: f"expected one of {m.group(1)}", rule).replace("typing.", "")
        if "Expected a path but" in rule:  # neither a class nor a file that describes one
            return _no_class(value, classes)
        return f"{key}={value}: {rule[0].lower()}{rule[1:]}."
    if "Problems parsing config" in text or "Unexpected config" in text:
        files = [argv[i + 1] for i, word in enumerate(argv[:-1]) if word in ("-c", "--config")]
        return f"{' or '.join(files)}: not a YAML mapping. {text}"
    if _REQUIRED.search(text):
        name = text.rpartition(": ")[2]
        return f"{name}: required. Give --{name}, or a layer that sets it: -c FILE."
    return text


def _no_class(name: str, classes: Iterable[type]) -> str:
    paths = sorted(f"{c.__module__}.{c.__qualname__}" for c in classes if c.__name__ == name)
    if len(paths) > 1:
        return f"{name}: {len(paths)} installed classes have this name. Write one out: {', '.join(paths)}"
    return f"{name}: no such class. vssl methods and vssl backbones list what there is."


def _unknown(name: str, argv: list[str], known: Iterable[str]) -> str:
    leaf = name.lstrip("-").rpartition(".")[2]
    words = [word.partition("=")[0] for word in argv if word.startswith("--")]
    full = next((word for word in words if word.endswith(leaf)), name)
    close = difflib.get_close_matches(leaf, sorted(set(known) - {leaf}), n=1, cutoff=0.7)
    remedy = f"Did you mean {close[0]}?" if close else "vssl fit --model.help CLASS lists the settings of a method."
    return f"{full}: unknown option. {remedy}"


def settings(classes: Iterable[type]) -> set[str]:
    """Names of the constructor arguments of classes and of the dataclasses among their types."""
    names: set[str] = set()
    for cls in classes:
        for name, parameter in inspect.signature(cls).parameters.items():
            names.add(name)
            if dataclasses.is_dataclass(parameter.annotation):
                names |= {field.name for field in dataclasses.fields(parameter.annotation)}
    return names

"""jsonargparse's messages to one line `VALUE: RULE. REMEDY`."""

import difflib
import re

from vssl.errors import UserError

_UNKNOWN = re.compile(r"(?:Key|Option|Group key) '([^']+)' (?:is )?not (?:expected|accepted)")
_UNRECOGNISED = re.compile(r"[Uu]nrecognized arguments?: (\S+)")
_VALIDATION = re.compile(r"key \"([^\"]+)\"")


def one_line(message: str, error: BaseException | None = None) -> str:
    """The message for a person: the first cause that is ours, else jsonargparse's own words on one line."""
    cause = error
    while cause is not None:
        if isinstance(cause, UserError):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    text = " ".join(message.split())
    for pattern in (_UNKNOWN, _UNRECOGNISED):
        found = pattern.search(text)
        if found:
            return f"{found.group(1)}: unknown option.{_suggest(found.group(1), text)}"
    return text


def _suggest(name: str, text: str) -> str:
    known = re.findall(r"[A-Za-z_][\w.]*", text)
    leaf = name.rpartition(".")[2].lstrip("-")
    close = difflib.get_close_matches(leaf, [k for k in known if k != leaf], n=1, cutoff=0.8)
    return f" Did you mean {close[0]}?" if close else " vssl fit --model.help CLASS lists the settings of a method."

"""An argument parser whose errors are one line."""

import argparse
import re
import sys
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Prints `vssl: error: VALUE: RULE. REMEDY` and exits with code 2: no usage block."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)  # a misspelt option is a mistake, not an abbreviation

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments, and leave."""
        value, rule = _value_and_rule(message)
        sys.stderr.write(f"vssl: error: {value}: {rule.rstrip('.')}. See {self.prog} --help\n")
        raise SystemExit(2)


def _value_and_rule(message: str) -> tuple[str, str]:
    """Take argparse's sentences apart."""
    patterns = (
        (r"argument (?P<name>\S+(?: \S+)?): invalid choice: (?P<value>.+) \((?P<rule>choose from .+)\)", "{rule}"),
        (r"argument (?P<name>.+?): invalid (?P<kind>\S+) value: (?P<value>.+)", "is no {kind} for {name}"),
        (r"argument (?P<value>.+?): (?P<rule>.+)", "{rule}"),
        (r"the following arguments are required: (?P<value>.+)", "required"),
        (r"unrecognized arguments: (?P<value>.+)", "unknown argument"),
    )
    for pattern, rule in patterns:
        found = re.fullmatch(pattern, message, re.DOTALL)
        if found:
            # older Pythons put the choices in quotes, newer ones do not
            return found["value"].strip("'"), rule.format(**found.groupdict()).replace("'", "")
    return "arguments", message

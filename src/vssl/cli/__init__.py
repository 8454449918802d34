"""The command line: looks at the first word and imports what that command needs, nothing before."""

import importlib
import sys

from vssl._version import __version__
from vssl.errors import UserError

COMMANDS = {
    "fit": ("vssl.cli.fit", "pretrain a method from configuration files"),
    "data": ("vssl.cli.data", "index videos into a manifest, check one, generate the toy world"),
    "evaluate": ("vssl.cli.evaluate", "score a frozen encoder under a named protocol"),
    "compare": ("vssl.cli.compare", "print the table that compares runs, write the report"),
    "methods": ("vssl.cli.listing", "list the installed methods"),
    "backbones": ("vssl.cli.listing", "list the encoders"),
}


def usage() -> str:
    """The text of `vssl --help`."""
    lines = ["usage: vssl COMMAND ...", "", "Self-supervised learning from video.", ""]
    lines += [f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items()]
    lines += ["", "vssl COMMAND --help says more; vssl --version prints the version."]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0, or 2 after a mistake of the user's, told in one line on standard error.
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())  # noqa: T201  # the command line's output
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"vssl {__version__}")  # noqa: T201  # the command line's output
        return 0
    try:
        if argv[0] not in COMMANDS:
            raise UserError(argv[0], f"no such command; there are {', '.join(COMMANDS)}", "Try vssl --help.")
        module, rest = COMMANDS[argv[0]][0], argv[1:]
        if module == "vssl.cli.listing":
            rest = argv
        return importlib.import_module(module).main(rest)
    except UserError as error:
        print(f"vssl: error: {error}", file=sys.stderr)  # noqa: T201  # the command line's output
        return 2
    except BrokenPipeError:  # the reader of our output went away, e.g. `vssl methods | head`
        sys.stderr.close()
        return 0

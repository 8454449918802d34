"""The command line: looks at the first word and imports what that command needs, nothing before."""

import importlib
import os
import sys

from vssl._version import __version__
from vssl.errors import UserError, user_error

COMMANDS = {
    "fit": ("vssl.cli.fit", "pretrain a method from configuration files"),
    "data": ("vssl.cli.data", "index videos into a manifest, check one, generate the toy world"),
    "evaluate": ("vssl.cli.evaluate", "score a frozen encoder under named protocols"),
    "features": ("vssl.cli.features", "write a frozen encoder's features to a file"),
    "import": ("vssl.cli.importing", "turn weights from elsewhere into a checkpoint to evaluate"),
    "compare": ("vssl.cli.compare", "print the table that compares runs, write the report"),
    "diff": ("vssl.cli.diff", "what differs between two runs, by likely effect"),
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
    # loader processes share the cores with the training threads, and OpenMP's threads spin while they wait: on two busy
    # cores that quartered the speed of training
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"vssl {__version__}")
        return 0
    try:
        if argv[0] not in COMMANDS:
            raise UserError(argv[0], f"no such command; there are {', '.join(COMMANDS)}", "Try vssl --help.")
        module, rest = COMMANDS[argv[0]][0], argv[1:]
        if module == "vssl.cli.listing":
            rest = argv
        return importlib.import_module(module).main(rest)
    except UserError as error:
        print(f"vssl: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("vssl: interrupted; what was finished is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output went away, e.g. `vssl methods | head`
        sys.stderr.close()
        return 0
    except Exception as error:
        text = foreseen(error)
        if text is None:
            raise
        print(f"vssl: error: {text}", file=sys.stderr)
        return 2


def foreseen(error: BaseException) -> str | None:
    """One line for what libraries raise when a user errs, told by name so that none is imported; None: our mistake."""
    ours = user_error(error)
    if ours is not None:
        return str(ours)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {(error.strerror or 'cannot be used').lower()}."
    kind = type(error)
    home = kind.__module__.partition(".")[0]
    if home in ("omegaconf", "yaml") or kind.__name__ == "MisconfigurationException":
        return " ".join(str(error).split())
    return None

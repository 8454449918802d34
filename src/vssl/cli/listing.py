"""`vssl methods` and `vssl backbones`: from metadata alone, nothing heavy is imported."""

from vssl import plugins
from vssl.cli.parser import Parser

_METHODS_NOTE = "Paste a path as model.class_path; vssl fit --model.help PATH lists its settings."
_BACKBONES_NOTE = "Paste a path as model.init_args.backbone.class_path."


def main(argv: list[str]) -> int:
    """Print what is installed; `argv[0]` is "methods" or "backbones"."""
    command = argv[0]
    Parser(prog=f"vssl {command}", description=f"List the installed {command}.").parse_args(argv[1:])
    rows = _methods() if command == "methods" else _backbones()
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    for name, path, note in rows:
        print(f"{name:<{widths[0]}}  {path:<{widths[1]}}  {note}".rstrip())
    print(f"\n{_METHODS_NOTE if command == 'methods' else _BACKBONES_NOTE}")
    return 0


def _methods() -> list[tuple[str, str, str]]:
    return [(p.name, p.path, f"{p.package} {p.version}") for p in plugins.listed(plugins.METHODS)]


def _backbones() -> list[tuple[str, str, str]]:
    from vssl.backbones.catalog import available

    foreign = [(p.name, p.path, f"{p.package} {p.version}") for p in plugins.listed(plugins.BACKBONES)]
    return [*available(), *foreign]

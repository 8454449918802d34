"""Layers: an import may only point down. Start-up: nothing heavy where nothing heavy is needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "vssl"
LEVELS = {
    **dict.fromkeys(["_version", "types", "errors", "seeds", "schedules", "distributed", "plugins", "staged"], 0),
    **dict.fromkeys(["views", "backbones", "losses", "heads", "ema", "bank", "optim", "scheduled"], 1),
    **dict.fromkeys(["methods", "data"], 2),
    **dict.fromkeys(["probe", "pictures", "checkpoint", "foreign", "initialise", "evaluate"], 3),
    **dict.fromkeys(["cli", "__main__"], 4),
}
FILES = sorted(SOURCE.rglob("*.py"))


def part(path):
    """The piece of the package a file belongs to: `views`, `types`..."""
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imports(path):
    """The vssl pieces and foreign packages a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            # `from vssl import plugins` imports the piece `plugins`
            names = [f"vssl.{a.name}" for a in node.names] if node.module == "vssl" else [node.module]
        found |= {tuple(name.split(".")) for name in names}
    return found


def test_every_file_has_a_level():
    assert len(FILES) > 40
    assert {part(f) for f in FILES} - {"__init__"} <= set(LEVELS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_down(path):
    here = part(path)
    if here == "__init__":  # the public names, imported on first use
        return
    for name in imports(path):
        if name[0] != "vssl" or len(name) == 1 or name[1] == here:
            continue
        assert LEVELS[name[1]] <= LEVELS[here], f"{path.name} imports {'.'.join(name)}"
        assert (here, name[1]) not in {("methods", "data"), ("data", "methods"), ("views", "data")}
        assert (here, name[1]) != ("evaluate", "methods"), "a method gets no private evaluation path"
    if here == "losses":
        assert all(n[0] != "vssl" or n[1] == "losses" for n in imports(path)), "losses import nothing of vssl"


def test_plugins_and_init_import_only_the_standard_library():
    for name in ("plugins.py", "_version.py", "errors.py"):
        foreign = {n[0] for n in imports(SOURCE / name)} - sys.stdlib_module_names - {"vssl"}
        assert not foreign


def test_no_drawer_for_everything():
    assert not [f for f in FILES if f.stem in {"utils", "helpers", "misc", "common"}]


LIGHT = [["--help"], ["--version"], ["methods"], ["backbones"]]
WORDS = ("fit", "data", "evaluate", "features", "import", "compare", "diff", "methods", "backbones")
LIGHT += [[command, "--help"] for command in WORDS]
LIGHT += [["data", sub, "--help"] for sub in ("index", "check", "shots", "toy", "curate", "subset")]
HEAVY = {"torch", "torchvision", "lightning", "jsonargparse", "timm", "pytorchvideo", "av", "pyarrow"}


@pytest.mark.parametrize("argv", LIGHT, ids=" ".join)
def test_light_commands_import_nothing_heavy(argv):
    """What costs seconds is known by name; a time would measure the machine."""
    code = f"""
import sys
from vssl.cli import main
try:
    code = main({argv!r})
except SystemExit as stop:
    code = stop.code
assert not code, code
heavy = {HEAVY!r} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_check_on_imports_can_fail():
    code = f"import sys, torch; assert not {HEAVY!r} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode != 0


def test_import_vssl_is_free_and_lazy():
    code = "import sys, vssl; assert 'torch' not in sys.modules; vssl.Recipe; assert 'torch' in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0

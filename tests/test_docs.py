"""What the documentation says exists and runs."""

import importlib
import re
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAME = re.compile(r"`(vssl(?:\.\w+)+)`")
LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


def resolves(name):
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        try:
            for part in parts[cut:]:
                value = getattr(value, part)
        except AttributeError:
            return False
        return True
    return False


def test_pages_are_found():
    assert len(PAGES) >= 12


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_names_and_links_exist(page):
    text = page.read_text()
    assert not [name for name in NAME.findall(text) if not resolves(name)]
    local = [link for link in LINK.findall(text) if "://" not in link and not link.startswith("mailto:")]
    assert not [link for link in local if not (page.parent / link).exists()]


def test_the_check_on_names_can_fail():
    assert resolves("vssl.losses.info_nce")
    assert not resolves("vssl.losses.nothing_like_this")


def test_methods_pages_name_an_existing_function_per_equation():
    for page in (ROOT / "docs" / "methods").glob("*.md"):
        assert len(NAME.findall(page.read_text())) >= 5, page.name


def test_commands_in_the_readme_name_existing_files():
    text = (ROOT / "README.md").read_text()
    files = re.findall(r"configs/[\w/.-]+\.yaml", text)
    assert files
    assert not [f for f in files if not (ROOT / f).is_file()]


def test_the_python_quick_start_runs(tmp_path, capsys):
    blocks = [
        body for language, body in FENCE.findall((ROOT / "docs" / "python.md").read_text()) if language == "python"
    ]
    assert len(blocks) == 2
    names = {"__name__": "quick_start"}
    exec(compile(blocks[0], "quick_start", "exec"), names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names["main"](tmp_path)
    assert capsys.readouterr().out.split()[-2:] == ["32", "44"]
    exec(compile(blocks[1], "own_method", "exec"), {"__name__": "own_method"})

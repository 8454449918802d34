"""The summary as LaTeX (booktabs) and as Markdown, for a paper and for a readme."""

from collections.abc import Callable, Iterable

from vssl.evaluate import words
from vssl.evaluate.render import apart
from vssl.evaluate.rows import Group
from vssl.evaluate.summary import Line, Summary, build

_HEADS = ("Encoder", "Network", "Input", "Pretraining", "Labels")
_BOLD = "Bold: the best of its column, and what the paired bootstrap does not tell from it"
_LATEX = {c: rf"\{c}" for c in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def to_latex(groups: list[Group]) -> str:
    """One table per data set and label; needs the packages booktabs and graphicx."""
    tables = [_latex(summary) for summary in build(groups)]
    return "\n".join(["% needs \\usepackage{booktabs,graphicx}", *tables, *(f"% {line}" for line in apart(groups)), ""])


def to_markdown(groups: list[Group]) -> str:
    """One section per data set and label, with the notes of every group."""
    parts = []
    for summary in build(groups):
        head = [*_HEADS, *summary.columns]
        rule = ["---"] * len(_HEADS) + ["---:"] * len(summary.columns)
        parts += [f"## {_plain(summary.dataset)}: {_plain(summary.label)}", ""]
        parts += [_line(map(_plain, head)), _line(rule)]
        parts += [_line(_cells(line, _plain, "**{}**")) for line in summary.lines]
        parts += ["", f"Percent. {_plain(_about(summary))}. {_BOLD}.", ""]
        own = (summary.dataset, summary.label, summary.manifest)
        for group in groups:
            if (group.key.dataset, group.key.label, group.key.manifest) == own:
                parts += [f"- {_plain(group.record['name'])}: {_plain(note)}" for note in group.notes]
        parts.append("")
    return "\n".join([*parts, *map(_plain, apart(groups)), ""])


def _latex(summary: Summary) -> str:
    head = " & ".join(map(_escape, [*_HEADS, *summary.columns]))
    caption = f"{summary.dataset}, {summary.label}, percent. {_about(summary)}. {_BOLD}."
    kinds = [line.row.kind for line in summary.lines]
    lines = []
    for i, line in enumerate(summary.lines):
        lines += [r"\midrule"] if i and kinds[i - 1] == "trained" and kinds[i] != "trained" else []
        lines.append(" & ".join(_cells(line, _escape, r"\textbf{{{}}}")) + r" \\")
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escape(caption)}}}",
            r"\resizebox{\linewidth}{!}{%",
            rf"\begin{{tabular}}{{{'l' * len(_HEADS)}{'r' * len(summary.columns)}}}",
            r"\toprule",
            head + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
        ]
    )


def _cells(line: Line, escape: Callable[[str], str], bold: str) -> list[str]:
    row = line.row
    what = [words.who(row), words.backbone(row), words.shape(row), words.seen(row), line.labels]
    scores = [bold.format(escape(cell.text)) if cell.best else escape(cell.text or "-") for cell in line.cells]
    return [*map(escape, what), *scores]


def _about(summary: Summary) -> str:
    """Which protocol each column is, and over what."""
    columns = zip(summary.columns, summary.fingerprints, summary.splits, strict=True)
    return "; ".join(f"{name}: fingerprint {fingerprint}, split {splits}" for name, fingerprint, splits in columns)


def _escape(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in text)


def _plain(text: str) -> str:
    return "".join(f"\\{c}" if c in "|\\`*_<>[]" else c for c in text)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"

"""Was a test video, or another cut of its source, seen in pretraining?"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vssl.errors import UserError


class Leak(NamedTuple):
    """Overlap of a test list with what was seen."""

    num_groups: int
    """Source groups of the test list that were seen."""
    num_files: int
    """Test files whose content was seen."""
    num_test: int

    def __bool__(self) -> bool:
        return bool(self.num_groups or self.num_files)

    def __str__(self) -> str:
        return f"{self.num_groups} source groups and {self.num_files} of {self.num_test} test files"


def overlap(seen: Mapping[str, Any] | None, *, dataset: str, groups: np.ndarray, content: np.ndarray) -> Leak:
    """Overlap of the test videos with pretraining; groups only count on the data set that they belong to.

    Args:
        seen: The checkpoint's record, with `dataset` and integer hashes `groups` and `content`, and the records of the
            runs that it started from as `earlier`; None: not known.
        dataset: Data set of the test videos.
        groups: (n,) hash of each test video's source group; 0 where it has none.
        content: (n,) hash of each test file's bytes; 0 where it is not known.
    """
    if seen is None:
        return Leak(0, 0, len(content))
    seen_groups, files = np.zeros(len(groups), dtype=bool), np.zeros(len(content), dtype=bool)
    for record in (seen, *filter(None, seen.get("earlier", ()))):
        if record["dataset"] == dataset:
            seen_groups |= np.isin(groups, np.asarray(record["groups"])) & (groups != 0)
        files |= np.isin(content, np.asarray(record["content"])) & (content != 0)
    return Leak(len(np.unique(groups[seen_groups])), int(files.sum()), len(content))


def refuse(leak: Leak, *, name: str, split: int, clean: list[int]) -> None:
    """Refuse a leaked split.

    Raises:
        UserError: with what was seen and which splits are clean.
    """
    if not leak:
        return
    choose = f"Choose --splits {','.join(map(str, clean))}, or" if clean else "Pretrain on another split, or"
    rule = f"pretraining saw {leak} of this split"
    raise UserError(f"{name}: split {split}", rule, f"{choose} score it stamped LEAKED with --allow-leak")

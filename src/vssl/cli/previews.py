"""`vssl compare --previews`: finds the kept features behind the scores and the videos that they are of."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vssl.errors import UserError
from vssl.evaluate.result import TRAINED
from vssl.evaluate.rows import Group, Row

if TYPE_CHECKING:
    from vssl.data.manifest import Manifest
    from vssl.evaluate.features import Features
    from vssl.evaluate.gallery import Gallery


class Source(NamedTuple):
    """Videos to show."""

    manifest: str
    root: str | None


def galleries(
    groups: list[Group], homes: dict[str, Path], sources: list[Source], cache: Path | None
) -> tuple[list["Gallery"], list[str]]:
    """A gallery per trained encoder, data set and label; and what could not be shown, in words.

    Args:
        groups: Of the report.
        homes: Run name -> its directory.
        sources: Manifests with their videos; groups of others are left out.
        cache: Folder of kept features besides the runs' own.

    Raises:
        UserError: a manifest or its videos are missing.
    """
    from vssl.data.manifest import Manifest
    from vssl.evaluate import gallery, words

    found: dict[tuple[str, str, str], Gallery] = {}
    lost: dict[str, None] = {}
    for source in sources:
        manifest = Manifest.load(Path(source.manifest), root=Path(source.root) if source.root else None)
        for group in groups:
            if group.key.manifest != manifest.content_hash:
                continue
            for row in [row for row in group.rows if row.kind == TRAINED and row.clean]:
                run = row.runs[0] if row.runs else row
                place = (row.family, manifest.content_hash, group.key.label)
                features = None if place in found else _features(group, run, homes[run.run], manifest, cache)
                if features is None:
                    if place not in found:
                        lost[f"no kept features of {words.who(run)} on {manifest.dataset}: no gallery"] = None
                    continue
                found[place] = gallery.build(
                    words.who(run), features, manifest, split=run.clean[0], label=group.key.label
                )
    return list(found.values()), list(lost)


def _features(group: Group, row: Row, home: Path, manifest: "Manifest", cache: Path | None) -> "Features | None":
    """The kept features of an encoder under the group's views; None where there are none."""
    from vssl.cli.encoders import trained_encoder
    from vssl.evaluate import protocol
    from vssl.evaluate.cache import Cache

    name = group.record["name"].partition("+")[0]
    if name not in protocol.names():
        return None
    clips = group.record["hard"].get("views.clips")
    settings = protocol.load(name).override(**({} if clips is None else {"views__clips": clips}))
    args = argparse.Namespace(out=None, cache=None, no_cache=True, splits=None, trust_imports=False)
    try:
        encoder = trained_encoder(args, home, settings, manifest)
    except UserError:  # the weights are gone or need trust: the report does without pictures
        return None
    if encoder.checkpoint["sha"] != row.first.checkpoint["sha"]:
        return None
    column = encoder.column(settings, protocol.NORMAL, manifest=manifest.content_hash)
    for folder in filter(None, (cache, home / "features")):
        if (folder / column).is_dir():
            kept = Cache()
            kept.open(column, folder)
            return kept.load(column)
    return None

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

    found: dict[tuple[str, str, str], Gallery | None] = {}
    names: dict[tuple[str, str, str], str] = {}
    for source in sources:
        manifest = Manifest.load(Path(source.manifest), root=Path(source.root) if source.root else None)
        for group in groups:
            if group.key.manifest != manifest.content_hash:
                continue
            for row in [row for row in group.rows if row.kind == TRAINED and row.clean]:
                run, place = row.runs[0] if row.runs else row, (row.family, manifest.content_hash, group.key.label)
                if found.get(place):
                    continue
                names[place] = f"{words.who(run)} on {manifest.dataset}, {group.key.label}"
                features = _features(group, run, homes[run.run], manifest, cache)
                found[place] = features and gallery.build(
                    words.who(run), features, manifest, split=run.clean[0], label=group.key.label
                )
    without = [f"gallery of {names[place]}: no kept features" for place, shown in found.items() if shown is None]
    return [shown for shown in found.values() if shown], without


def _features(group: Group, row: Row, home: Path, manifest: "Manifest", cache: Path | None) -> "Features | None":
    """The kept features of an encoder under the group's views; None where there are none."""
    from vssl.cli.encoders import trained_encoder
    from vssl.evaluate import protocol
    from vssl.evaluate.cache import Cache

    name = group.record["name"].partition(" (")[0].partition("+")[0]
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

"""`vssl features CKPT --out F.npz --data.manifest M`: write a frozen encoder's features, labels, ids and splits."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from vssl.cli.encoders import add_common, data_section, launched, settings_of, trained_encoder
from vssl.cli.parser import Parser


def main(argv: list[str]) -> int:
    """Run the command.

    Raises:
        UserError: anything asked for is not there or not safe, or no video can be read.
    """
    parser = Parser(prog="vssl features", description=__doc__)
    parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint file, or run directory (its last checkpoint)")
    parser.add_argument("--out", required=True, metavar="FILE", help="FILE.npz or FILE.parquet")
    parser.add_argument("--protocol", default="knn-v1", help="whose clips and crop to take (default: %(default)s)")
    add_common(parser)
    args = parser.parse_args(argv)
    from rich.console import Console

    from vssl.data.manifest import Manifest
    from vssl.distributed import rank
    from vssl.errors import UserError
    from vssl.evaluate import export, protocol
    from vssl.evaluate.cache import Cache
    from vssl.evaluate.passes import Need, fill

    console, file = Console(stderr=True), Path(args.out)
    export.check(file)
    args.out, args.splits = None, None  # of `vssl evaluate` these are a folder and a choice
    chosen = protocol.load(args.protocol)
    chosen.must_run()
    if args.clips is not None:
        chosen = chosen.override(views__clips=args.clips)
    chosen = replace(chosen, fields={**chosen.fields, "views.variants": [protocol.NORMAL]})  # nothing is scored
    data = data_section(args)
    if len(data["manifest"]) > 1:
        raise UserError("--data.manifest", "is given twice, and one file holds one data set", "Run once for each")
    manifest = Manifest.load(Path(data["manifest"][0]), root=Path(data["root"]) if data.get("root") else None)
    encoder = trained_encoder(args, Path(args.checkpoint), chosen, manifest)
    cache = Cache(console)
    need = Need(encoder, chosen, np.arange(len(manifest)))
    fill([need], cache, manifest=manifest, settings=launched(settings_of(args, data, console)))
    if rank() > 0:
        return 0
    found = cache.load(encoder.column(chosen, protocol.NORMAL, manifest=manifest.content_hash))
    export.write(found, manifest, file)
    for video in found.lost:
        console.print(f"not read: {video.path}: {video.reason}", soft_wrap=True, highlight=False)
    print(f"wrote {file}: {len(found.rows)} of {len(manifest)} videos, {found.values.shape[1]} features each")
    return 0

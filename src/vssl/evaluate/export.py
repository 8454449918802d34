"""Features of a manifest's videos as one file for other tools. n videos whose features exist, D feature width."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vssl.data.manifest import Manifest
from vssl.errors import UserError
from vssl.evaluate.features import Features
from vssl.evaluate.result import whole

FORMATS = (".npz", ".parquet")


def check(path: Path) -> None:
    """Refuse a file whose format is not known.

    Raises:
        UserError: naming the formats.
    """
    if path.suffix not in FORMATS:
        raise UserError(path, f"is neither {' nor '.join(FORMATS)}", f"Try {path.with_suffix('.npz').name}")


def write(features: Features, manifest: Manifest, path: Path) -> None:
    """Write `features` (n, D), `id` (path in the manifest), `row`, `group`, every label column and every split column.

    In .npz they are arrays by these names; in .parquet columns, `features` a list per video.
    """
    columns = [name for name in manifest.table.column_names if name.startswith("split")]
    columns += ["group", *manifest.label_columns]
    strings = {name: np.array(manifest.table[name].to_pylist(), np.str_)[features.rows] for name in columns}
    ids = np.array([manifest.name(row) for row in features.rows], np.str_)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as file:
        if path.suffix == ".npz":
            np.savez(file, allow_pickle=False, features=features.values, id=ids, row=features.rows, **strings)
        else:
            width = features.values.shape[1]
            lists = pa.FixedSizeListArray.from_arrays(pa.array(features.values.ravel()), width)
            plain = {name: pa.array(column.tolist()) for name, column in strings.items()}
            pq.write_table(
                pa.table({"id": pa.array(ids.tolist()), "row": features.rows, "features": lists, **plain}), file
            )

"""Does the encoder use motion? The same head on clips without it, and a head that reads the speed."""

import numpy as np

from vssl.evaluate.protocol import NORMAL, Protocol, pace
from vssl.evaluate.readouts.base import Answer, Part, percent
from vssl.evaluate.readouts.linear import chosen


def temporal(settings: Protocol, train: Part, test: Part, *, classes: list[str], device: str) -> Answer:
    """`speed`: a head trained to tell the paces of train videos, asked about test videos; chance is 1 / paces.

    `top1`: a linear head trained on normal clips, on normal clips; `frozen`, `shuffled`, `reversed`: the same head on
    test clips changed so. What does not fall was not read from motion or order.
    """
    variants = settings["views.variants"]
    paces = [name for name in variants if name == NORMAL or pace(name) > 1]
    head, details = chosen(
        settings, train.features, train.labels, train.groups, num_classes=len(classes), device=device
    )
    orders = [name for name in variants if pace(name) == 1]
    metrics = {
        "top1" if name == NORMAL else name: percent(head.predict(test.variants[name]), test.labels) for name in orders
    }
    reader, speed_details = chosen(
        settings,
        np.concatenate([train.variants[name] for name in paces]),
        np.repeat(np.arange(len(paces)), len(train.rows)),
        np.tile(train.groups, len(paces)),
        num_classes=len(paces),
        device=device,
    )
    predicted = np.concatenate([reader.predict(test.variants[name]) for name in paces])
    true = np.repeat(np.arange(len(paces)), len(test.rows))
    return Answer(
        {"speed": percent(predicted, true), **metrics},
        np.tile(test.rows, len(paces)),
        predicted,
        true,
        [f"x{pace(name)}" for name in paces],
        {"speed": speed_details, "class": details},
    )

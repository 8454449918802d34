"""Time of linear-v1's grid of 24 settings on features of UCF101's size, beside one scikit-learn fit.

    python benchmarks/linear_grid.py [--threads 2] [--no-reference]

13,320 synthetic videos x 512 features, 101 classes, correlated features. Choosing and fitting again is included.
"""

import argparse
import time

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from vssl.evaluate.protocol import load
from vssl.evaluate.readouts.linear import chosen

NUM, WIDTH, CLASSES, GROUPS = 13_320, 512, 101, 25


def features(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, D) float32 of correlated directions with falling variance, class ids, source groups within classes."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, WIDTH + 1) ** -0.5
    labels = np.arange(NUM) % CLASSES
    groups = labels * GROUPS + rng.integers(GROUPS, size=NUM)
    centre, source = rng.normal(size=(CLASSES, WIDTH)), rng.normal(size=(CLASSES * GROUPS, WIDTH))
    own = 0.35 * centre[labels] + 0.4 * source[groups] + rng.normal(size=(NUM, WIDTH))
    turn = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
    return ((own * scale) @ turn).astype(np.float32), labels, groups


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-reference", action="store_true", help="leave scikit-learn out")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    x, y, groups = features()
    start, busy = time.perf_counter(), time.process_time()
    head, details = chosen(load("linear-v1"), x, y, groups, num_classes=CLASSES, device="cpu")
    ours, busy = time.perf_counter() - start, time.process_time() - busy
    best = f"lr {details['lr']}, weight decay {details['weight_decay']}"
    print(f"24 settings and the refit: {ours:.1f} s ({busy:.1f} s of processor time); chosen: {best}")
    print(f"train accuracy of the chosen head: {100 * (head.predict(x) == y).mean():.1f} %")
    if args.no_reference:
        return
    start = time.perf_counter()
    reference = LogisticRegression(C=1 / (NUM * details["weight_decay"]), max_iter=1000)
    reference.fit((x - head.mean) / head.std, y)
    theirs = time.perf_counter() - start
    same = (reference.predict((x - head.mean) / head.std) == head.predict(x)).mean()
    print(f"one LogisticRegression of the same penalty: {theirs:.1f} s, {reference.n_iter_[0]} iterations")
    print(f"ratio: {ours / theirs:.2f}; same answer on {100 * same:.1f} % of the videos")


if __name__ == "__main__":
    main()

"""The table of key frames a manifest keeps of each file, as compact text."""

import functools


@functools.lru_cache(maxsize=4096)
def parse_keys(text: str) -> tuple[list[int], list[int]]:
    """Read the manifest's key table: items "frame:pts" or, for evenly spaced ones, "frame:pts:dframe:dpts:count".

    Returns:
        Frame numbers, rising, and their time stamps in units of the stream's time base.
    """
    keys: list[int] = []
    stamps: list[int] = []
    for item in text.split():
        numbers = [int(number) for number in item.split(":")]
        frame, stamp, frame_step, stamp_step, count = numbers if len(numbers) == 5 else [*numbers, 1, 1, 1]
        keys += range(frame, frame + frame_step * count, frame_step)
        stamps += [stamp + stamp_step * i for i in range(count)]
    return keys, stamps


def format_keys(keys: list[tuple[int, int]]) -> str:
    """Write a key table, (frame, time stamp) pairs with both rising, as parse_keys reads it."""
    items: list[str] = []
    start = 0
    while start < len(keys):
        stop = start + 1
        step = _step(keys, stop) if stop < len(keys) else (0, 0)
        while stop < len(keys) and _step(keys, stop) == step:
            stop += 1
        if stop - start == 2:  # two alone are no run: the second may begin a longer one
            stop = start + 1
        frame, stamp = keys[start]
        run = f":{step[0]}:{step[1]}:{stop - start}" if stop - start > 1 else ""
        items.append(f"{frame}:{stamp}{run}")
        start = stop
    return " ".join(items)


def _step(keys: list[tuple[int, int]], at: int) -> tuple[int, int]:
    return keys[at][0] - keys[at - 1][0], keys[at][1] - keys[at - 1][1]

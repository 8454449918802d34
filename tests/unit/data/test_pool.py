"""Child processes: a call that hangs or crashes loses itself, not the others."""

import functools
import multiprocessing

import pytest

from vssl.data.pool import Lost, run_isolated


def test_a_call_that_hangs_or_dies_loses_itself_only():
    calls = ["1 + 1", "__import__('os')._exit(7)", "__import__('signal').pause()", "'x' * 3", "2 ** 10"]
    results = dict(run_isolated(eval, calls, num_workers=2, timeout_s=0.5))
    assert results == {
        0: 2,
        1: Lost("its process died (exit code 7)"),
        2: Lost("took longer than 0.5 s"),
        3: "xxx",
        4: 1024,
    }


def test_starting_and_preparing_a_process_is_outside_the_clock():
    prepare = functools.partial(sum, range(40_000_000))  # about a second
    assert dict(run_isolated(len, ["abc"], num_workers=4, timeout_s=0.4, prepare=prepare)) == {0: 3}


def test_a_process_that_cannot_start_is_no_lost_file():
    with pytest.raises(RuntimeError, match=r"could not be started \(exit code 1\)"):
        list(run_isolated(len, ["abc"], num_workers=1, timeout_s=9.0, prepare=functools.partial(int, "x")))


def test_leaving_early_stops_the_processes():
    before = set(multiprocessing.active_children())
    results = run_isolated(eval, ["1", "__import__('signal').pause()"], num_workers=2, timeout_s=60.0)
    assert next(results) == (0, 1)
    results.close()
    assert set(multiprocessing.active_children()) == before

"""Child processes for work that may hang or crash: a file that does loses itself, not the others."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

Call = Callable[[str], Any]
Prepare = Callable[[], Any] | None

_CONTEXT = multiprocessing.get_context("spawn")
_READY = "ready"
_DYING_S = 5.0


class Lost(NamedTuple):
    """In place of a result: the process of that call was stopped or died."""

    reason: str


class _Worker:
    """One child process and the call it works on."""

    def __init__(self, function: Call, prepare: Prepare) -> None:
        self._connection, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(theirs, function, prepare), daemon=True)
        self._process.start()
        theirs.close()
        self.item = -1
        # importing takes longer than a call may: the clock runs from the moment the process is ready
        self.deadline = float("inf")
        self._started = False

    @property
    def connection(self) -> Connection:
        return self._connection

    def give(self, item: int, argument: str, timeout_s: float) -> None:
        self.item = item
        if self._started:
            self.deadline = time.monotonic() + timeout_s
        self._connection.send(argument)

    def receive(self, timeout_s: float) -> Any:
        """Give the child's message, or Lost where it died."""
        try:
            message = self._connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join(_DYING_S)  # it closes its pipe a moment before it has an exit code
            code = self.stop()
            if not self._started:
                raise RuntimeError(f"a child process could not be started (exit code {code})") from None
            return Lost(f"its process died (exit code {code})")
        if not self._started:
            self._started = True
            self.deadline = time.monotonic() + timeout_s
        return message

    def stop(self) -> int | None:
        """Kill the process and give its exit code (the one it already had, if it was dead)."""
        self._process.kill()
        self._process.join()
        self._connection.close()
        return self._process.exitcode


def run_isolated(
    function: Call, arguments: Sequence[str], *, num_workers: int, timeout_s: float, prepare: Prepare = None
) -> Iterator[tuple[int, Any]]:
    """Call a function on every argument in child processes.

    Args:
        function: Importable by name; its result is pickled.
        arguments: One per call.
        num_workers: How many processes at a time.
        timeout_s: A call that takes longer is lost: its process is killed and replaced.
        prepare: Called once in each process before its clock runs: what the first call would import.

    Yields:
        The place of the argument and its result or Lost, as they become ready.
    """
    todo = iter(enumerate(arguments))
    workers: list[_Worker] = []
    try:
        for item, argument in _first(todo, num_workers):
            workers.append(_Worker(function, prepare))
            workers[-1].give(item, argument, timeout_s)
        while workers:
            for worker, message in _messages(workers, timeout_s):
                if message == _READY:
                    continue
                yield worker.item, message
                following = next(todo, None)
                if isinstance(message, Lost) or following is None:
                    worker.stop()
                    workers.remove(worker)
                if following is not None:
                    if worker not in workers:
                        worker = _Worker(function, prepare)
                        workers.append(worker)
                    worker.give(*following, timeout_s)
    finally:
        for worker in workers:
            worker.stop()


def _first(todo: Iterator[tuple[int, str]], count: int) -> list[tuple[int, str]]:
    return [item for _, item in zip(range(count), todo, strict=False)]


def _messages(workers: list[_Worker], timeout_s: float) -> list[tuple[_Worker, Any]]:
    """Wait until some workers have something to say, or are out of time."""
    nearest = min(worker.deadline for worker in workers)
    pause = None if nearest == float("inf") else max(0.0, nearest - time.monotonic())
    heard = wait([worker.connection for worker in workers], pause)
    messages: list[tuple[_Worker, Any]] = []
    for worker in workers:
        if worker.connection in heard:
            messages.append((worker, worker.receive(timeout_s)))
        elif time.monotonic() >= worker.deadline:
            messages.append((worker, Lost(f"took longer than {timeout_s:g} s")))
    return messages


def _serve(connection: Connection, function: Call, prepare: Prepare) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it and kills the children
    if prepare is not None:
        prepare()
    connection.send(_READY)
    while True:
        try:
            argument = connection.recv()
        except EOFError:  # the parent is gone
            return
        connection.send(function(argument))

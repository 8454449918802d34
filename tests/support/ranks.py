"""Run a function on several gloo processes and bring their results or their tracebacks back."""

import multiprocessing as mp
import os
import socket
import traceback


def _free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _main(rank, world, port, fn, args, queue):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(world))
    os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0", OMP_NUM_THREADS="1")
    try:
        queue.put((rank, fn(rank, world, *args), None))
    except BaseException:
        queue.put((rank, None, traceback.format_exc()))


def run_ranks(fn, *args, world=2, timeout_s=300):
    """fn(rank, world, *args) on every rank; returns the list of results, or raises with a rank's traceback.

    Results are NumPy arrays, not tensors: a tensor's memory would end with its process.
    """
    context = mp.get_context("spawn")
    queue, port = context.Queue(), _free_port()
    workers = [context.Process(target=_main, args=(r, world, port, fn, args, queue)) for r in range(world)]
    for worker in workers:
        worker.start()
    results = {}
    try:
        for _ in workers:  # before join: a result may be larger than the pipe
            rank, value, error = queue.get(timeout=timeout_s)
            assert error is None, f"rank {rank}:\n{error}"
            results[rank] = value
        for worker in workers:
            worker.join(timeout_s)
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
    return [results[r] for r in range(world)]

"""Run a function on several ranks, in seconds rather than tens of them.

The ranks are forked from the test process, so torch and Lightning are imported already, and the function may be a
closure. Forking a process that has run torch is safe here under three conditions, which :func:`_run_rank` and the
tests keep: no process group in the parent, no GPU in use, and one intra-op thread in the child, set before anything
else (the threads of OpenMP do not survive a fork, and waiting for them would hang).
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


class RankError(AssertionError):
    """A rank failed; the message holds its traceback."""


def run_on_ranks(
    fn: Callable[[int], T], world_size: int = 2, timeout: float = 60, init: bool = True, dies: int | None = None
) -> list[T]:
    """Call ``fn(rank)`` in ``world_size`` processes at once and collect what they return, by rank.

    A Lightning ``Trainer(accelerator="cpu", strategy="ddp", devices=world_size)`` inside ``fn`` joins these
    processes: the environment variables say that they were started from outside.

    Args:
        fn: may be a closure; what it returns must pickle.
        world_size: how many ranks.
        timeout: seconds until all are killed.
        init: whether to set up gloo beforehand. Lightning would do it as well.
        dies: a rank that is killed on purpose; its answer is ``None``.

    Raises:
        RankError: a rank raised or died (the others are killed), or the time is over.
    """
    fork = get_context("fork")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on: fork beside threads
        address = f"file://{folder}/store"
        environment = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
        pipes, processes = [], []
        for rank in range(world_size):
            reader, writer = fork.Pipe(duplex=False)
            arguments = (fn, rank, world_size, address if init else None, environment, writer, dies is None)
            process = fork.Process(target=_run_rank, args=arguments, daemon=True)
            process.start()
            writer.close()
            pipes.append(reader)
            processes.append(process)
        try:
            return _collect(pipes, time.monotonic() + timeout, timeout, dies)
        finally:
            for process in processes:
                process.kill()
                process.join()


def _run_rank(
    fn: Callable[[int], Any],
    rank: int,
    size: int,
    address: str | None,
    env: dict[str, str],
    writer: Connection,
    together: bool,
) -> None:
    torch.set_num_threads(1)
    os.environ.update(env, RANK=str(rank), LOCAL_RANK=str(rank), NODE_RANK="0", LOCAL_WORLD_SIZE=str(size))
    try:
        if address is not None:
            dist.init_process_group("gloo", init_method=address, rank=rank, world_size=size)
        answer = (True, fn(rank))
        if together and dist.is_initialized():
            dist.barrier()  # nobody leaves while another still receives
        message = pickle.dumps(answer)
    except BaseException:  # pytest's outcomes are no Exceptions
        message = pickle.dumps((False, traceback.format_exc()))
    sys.stdout.flush()
    writer.send_bytes(message)


def _collect(pipes: list[Connection], deadline: float, timeout: float, dies: int | None) -> list[Any]:
    answers: dict[int, Any] = {}
    while len(answers) < len(pipes):
        open_pipes = [pipe for rank, pipe in enumerate(pipes) if rank not in answers]
        ready = wait(open_pipes, max(0.0, deadline - time.monotonic()))
        if not ready:
            raise RankError(f"ranks {sorted({*range(len(pipes))} - {*answers})} gave no answer in {timeout} s")
        for pipe in ready:
            rank = pipes.index(pipe)  # type: ignore[arg-type]
            answers[rank] = _answer(rank, pipes[rank], rank == dies)
    return [answers[rank] for rank in range(len(pipes))]


def _answer(rank: int, pipe: Connection, dies: bool) -> Any:
    try:
        fine, value = pickle.loads(pipe.recv_bytes())
    except EOFError:
        if dies:
            return None
        raise RankError(f"rank {rank} died without an answer") from None
    if not fine:
        raise RankError(f"rank {rank} raised:\n{value}")
    return value


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])

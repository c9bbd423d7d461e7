"""Workers forked from this process when it is warm: packages imported, data read. A run costs no start-up of its own.

Each run has a process to itself, so none inherits another's random state, hooks or memory, and one that is killed takes
nothing along.
"""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any


def run_all(
    work: Callable[..., Any], arguments: Iterable[tuple[Any, ...]], jobs: int
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield each tuple of arguments with what ``work`` made of it, as they end; ``None`` where the process died."""
    context = multiprocessing.get_context("fork")
    waiting = iter(arguments)
    running: dict[Any, tuple[tuple[Any, ...], Any]] = {}
    try:
        while True:
            while len(running) < jobs and (task := next(waiting, None)) is not None:
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(theirs, work, task), daemon=True)
                with warnings.catch_warnings():  # the progress bar's thread holds no lock a run needs
                    warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
                    process.start()
                theirs.close()
                running[ours] = task, process
            if not running:
                return
            ended: list[Any] = wait(list(running))
            for connection in ended:
                task, process = running.pop(connection)
                try:
                    outcome = connection.recv()
                except EOFError:
                    outcome = None
                process.join()
                yield task, outcome
    finally:
        for _, process in running.values():
            process.terminate()


def _work(connection: Connection, work: Callable[..., Any], task: tuple[Any, ...]) -> None:
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 1)  # Lightning's advice would tear the progress bar
        os.dup2(nowhere.fileno(), 2)
        connection.send(work(*task))

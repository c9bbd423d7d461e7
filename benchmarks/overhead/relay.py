"""Several training runs in one process, one block of steps at a time.

Whole runs scatter by 20 % on a shared machine, so two of them tell nothing about 1 %. Here each run is a thread of its
own, and only one of them goes at any time: it trains for a block of steps, then hands over. Blocks of one round lie a
fraction of a second apart, and what slows the machine down slows all of them.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import thread_time
from typing import Any


@dataclass
class Runner:
    """One run, which goes when it is told to.

    Attributes:
        rounds: seconds of the timed blocks of each round together.
        checks: seconds of the step after each round, with the validation that follows it.
    """

    name: str
    body: Callable[[Runner], None]
    rounds: list[float] = field(default_factory=list)
    checks: list[float] = field(default_factory=list)
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def advance(self) -> None:
        """Let it go on until it pauses or ends; its error is raised here. With the last turn the fit ends."""
        if not self._thread.is_alive():
            raise RuntimeError(f"{self.name} ended after {len(self.rounds)} rounds")
        self._go.release()
        self._stopped.acquire()
        if self.error is not None:
            raise self.error

    def pause(self) -> None:
        """To be called by the run itself: wait for the next turn."""
        self._stopped.release()
        self._go.acquire()

    def _run(self) -> None:
        self._go.acquire()
        try:
            self.body(self)
        except BaseException as error:
            self.error = error
        self._stopped.release()


@dataclass
class TimedBatches:
    """The same batch again and again: warm-up, then in each turn a timed block; one step more where a round ends.

    That last step ends in a validation and a check.

    Lightning fetches the next batch when everything that belongs to the last one is done, so the time between two
    fetches is that of a whole step.
    """

    runner: Runner
    batch: Any
    warmup: int
    block: int
    blocks: int
    rounds: int
    length: int

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        for _ in range(self.warmup):
            yield self.batch
        for _ in range(self.rounds):
            spent = 0.0
            for _ in range(self.blocks):
                self.runner.pause()
                began = thread_time()
                for _ in range(self.block):
                    yield self.batch
                ended = thread_time()
                spent += ended - began
            self.runner.rounds.append(spent)
            yield self.batch
            self.runner.checks.append(thread_time() - ended)


def relay(runners: Sequence[Runner], turns: int, seed: int = 0) -> None:
    """Warm all up, then let every run have its turns, each time in another order."""
    chance = random.Random(seed)
    for runner in runners:
        runner.advance()
    for _ in range(turns):
        for runner in chance.sample(runners, len(runners)):
            runner.advance()

"""Several training runs in one process, one block of steps at a time.

Whole runs scatter by 20 % on a shared machine, so two of them tell nothing about 1 %. Here each run is a thread of its
own, and only one of them goes at any time: it trains for a block of steps, then hands over. Blocks of one round lie a
fraction of a second apart, and what slows the machine down slows all of them. Still, identical runs
differ by up to 2.5 %, since each has memory of its own: what is to tell 1 % alternates within one run, see ``sides``.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Runner:
    """One run, which goes when it is told to.

    Attributes:
        rounds: seconds of the timed block of each round.
    """

    name: str
    body: Callable[[Runner], None]
    rounds: list[float] = field(default_factory=list)
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


def relay(runners: Sequence[Runner], turns: int, seed: int = 0) -> None:
    """Warm all up, then let every run have its turns, each time in another order."""
    chance = random.Random(seed)
    for runner in runners:
        runner.advance()
    for _ in range(turns):
        for runner in chance.sample(runners, len(runners)):
            runner.advance()

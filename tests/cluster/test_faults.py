"""A rank is killed at the worst moments: the others end with an error, and the run that goes on is the unkilled one.

And a rank that is late: nothing happens but waiting.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.journal import read_line
from lightning_lr.run.lr_search.search import LRSearch
from lightning_lr.snapshot import snapshot
from lightning_lr.snapshot.restore import Plan
from tests.helpers.ranks import run_on_ranks
from tests.helpers.resume import journal_lines
from tests.helpers.strategy_runs import STEPS, TIMEOUT, Outcome, Task, checkpoints, train

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:It is recommended to use .*sync_dist"),
]

NAN = math.nan
#                 0    1    2    3     4    5     6    7
#                 a new best each      no number: restored at 5
SCRIPTED = Task([1.0, 0.8, 0.6, 0.5, NAN, NAN, 0.4, 0.3], epochs=8)
ARGUMENTS: dict[str, Any] = {"find_lr": False, "anneal": False}
SEARCHED = Task(epochs=6, lr=1e-4)
"""72 steps, from a rate that is far too low."""


def die(folder: Path) -> None:
    (folder / "killed").write_text(str(time.monotonic()))
    os.kill(os.getpid(), signal.SIGKILL)


class DiesInTraining(Callback):
    def __init__(self, end: Callable[[], None]) -> None:
        self.end = end

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 4 * STEPS + 5:
            self.end()


class DiesInValidation(DiesInTraining):
    def on_train_batch_start(self, *_: Any) -> None: ...

    def on_validation_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.current_epoch == 4:
            self.end()


def in_training(end: Callable[[], None]) -> Sequence[Callback]:
    return [DiesInTraining(end)]


def in_validation(end: Callable[[], None]) -> Sequence[Callback]:
    return [DiesInValidation(end)]


def in_a_decision(end: Callable[[], None]) -> Sequence[Callback]:
    """Rank 0 between the all-reduce and the broadcast, another one after both."""
    plain = DecisionEngine.handle

    def handle(self: DecisionEngine, event: Any, reading: Any, *trial: Any) -> Any:
        return end() if reading.check == 4 else plain(self, event, reading, *trial)

    DecisionEngine.handle = handle  # type: ignore[method-assign]
    return []


def in_a_snapshot(end: Callable[[], None]) -> Sequence[Callback]:
    """While the state of check 3 is copied over the former snapshot; the first one was taken at the start."""
    plain, taken = snapshot.to_host, []

    def to_host(sources: Any, former: Any = ()) -> Any:
        taken.append(1)
        if len(taken) == 5:
            plain(sources[: len(sources) // 2], former)
            end()
        return plain(sources, former)

    snapshot.to_host = to_host
    return []


def in_a_restore(end: Callable[[], None]) -> Sequence[Callback]:
    """Half of the weights are written."""
    plain = Plan.write

    def write(self: Plan) -> None:
        del self._copies[len(self._copies) // 2 :]
        plain(self)
        end()

    Plan.write = write  # type: ignore[method-assign]
    return []


def in_a_reading(end: Callable[[], None]) -> Sequence[Callback]:
    """The weights are those of a multiple of the first update."""
    plain = LRSearch._losses_at

    def losses_at(self: LRSearch, multiple: float, units: Any) -> Any:
        if len(self.finder.readings) == 3:
            self.update.move_to(multiple)
            end()
        return plain(self, multiple, units)

    LRSearch._losses_at = losses_at  # type: ignore[method-assign]
    return []


def before_the_first_update_is_rescaled(end: Callable[[], None]) -> Sequence[Callback]:
    """The rate is decided, and in the journal."""
    LRSearch.rescale = lambda *_: end()  # type: ignore[method-assign]
    return []


MOMENTS = [
    (SCRIPTED, trainer_state)
    for trainer_state in (in_training, in_validation, in_a_decision, in_a_snapshot, in_a_restore)
] + [(SEARCHED, trainer_state) for trainer_state in (in_a_reading, before_the_first_update_is_rescaled)]
FAST = [(in_a_decision, 0), (in_a_restore, 1)]
CASES = [
    pytest.param(
        task, trainer_state, rank, id=f"{trainer_state.__name__}-rank-{rank}", marks=() if fast else pytest.mark.cluster
    )
    for task, trainer_state in MOMENTS
    for rank in (0, 1)
    for fast in [(trainer_state, rank) in FAST]
]


def one_rank(task: Task, folder: Path, callbacks: Sequence[Callback] = (), **options: Any) -> Outcome:
    arguments = ARGUMENTS if task is SCRIPTED else {}
    return train(task, "ddp", 2, folder, [checkpoints(folder), *callbacks], **arguments, **options)


def on_ranks(folder: Path, callbacks: Sequence[Callback] = (), task: Task = SCRIPTED, **options: Any) -> list[Outcome]:
    return run_on_ranks(lambda _: one_rank(task, folder, callbacks, **options), timeout=280, init=False)


@dataclass
class Unkilled:
    """The run that nobody kills, on every rank, and its journal."""

    outcomes: list[Outcome]
    journal: list[str]

    @classmethod
    def of(cls, task: Task, folder: Path) -> Unkilled:
        return cls(on_ranks(folder, task=task), journal_lines(folder / "lr_journal.jsonl"))


@pytest.fixture(scope="module")
def fine(tmp_path_factory: pytest.TempPathFactory) -> Unkilled:
    fine = Unkilled.of(SCRIPTED, tmp_path_factory.mktemp("fine"))
    acts = {(d["action"], d["condition"], d["epoch"]) for d in fine.outcomes[0].decisions}
    assert acts == {("restore", "non_finite", 5)}
    return fine


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Unkilled:
    searched = Unkilled.of(SEARCHED, tmp_path_factory.mktemp("searched"))
    assert len(read_line(searched.journal[1]).search.readings) > 3
    return searched


@pytest.mark.parametrize(("task", "trainer_state", "dying"), CASES)
def test_a_rank_is_killed(task: Task, trainer_state: Any, dying: int, tmp_path: Path, request: Any) -> None:
    unkilled: Unkilled = request.getfixturevalue("fine" if task is SCRIPTED else "searched")

    def run(rank: int) -> tuple[float, str]:
        callbacks = trainer_state(lambda: die(tmp_path)) if rank == dying else []
        try:
            one_rank(task, tmp_path, callbacks)
        except RuntimeError as error:
            return time.monotonic(), str(error)
        return time.monotonic(), ""

    ended, error = run_on_ranks(run, timeout=280, init=False, dies=dying)[1 - dying]
    assert error
    assert ended - float((tmp_path / "killed").read_text()) < TIMEOUT.total_seconds() + 5

    written = (tmp_path / "checkpoints").glob("epoch=*")  # none yet where it was searching: it begins anew
    newest = max(written, key=lambda path: int(path.stem.removeprefix("epoch=")), default=None)
    resumed = on_ranks(tmp_path, task=task, resume_from=newest)

    for one, whole in zip(resumed, unkilled.outcomes, strict=True):
        assert one.differences == []
        assert one.decisions == whole.decisions
        assert one.rates == {step: rates for step, rates in whole.rates.items() if step in one.rates}
        assert one.states == {epoch: state for epoch, state in whole.states.items() if epoch in one.states}
        assert max(one.states) == task.epochs - 1
    assert journal_lines(tmp_path / "lr_journal.jsonl") == unkilled.journal


class Late(Callback):
    """Five seconds, on one rank, before a check."""

    def on_validation_start(self, trainer: Any, *_: Any) -> None:
        if trainer.global_rank == 1 and trainer.current_epoch == 4:
            time.sleep(5)


def test_a_late_rank(fine: Unkilled, tmp_path: Path) -> None:
    """The others wait for it, and nothing else happens."""
    late = on_ranks(tmp_path, [Late()])
    assert [one.differences for one in late] == [[], []]
    assert [(one.decisions, one.rates, one.states) for one in late] == [
        (one.decisions, one.rates, one.states) for one in fine.outcomes
    ]


class Interrupted(Exception):
    """What ends the run on all ranks at once."""


class EndsEverywhere(Callback):
    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 4 * STEPS + 5:
            raise Interrupted


def test_a_checkpoint_on_an_exception_holds_rank_zeros_readings_alone(tmp_path: Path) -> None:
    """Nobody may wait for a rank that may be gone: what the others read since the last check is not in the file.

    Documented in docs/strategies.md. The next check then rests on rank 0's values for the part of the epoch that was
    before the exception; all ranks decide alike all the same.
    """

    def run(_: int) -> None:
        on_error = ModelCheckpoint(tmp_path, "on_error", save_on_exception=True, save_top_k=0)
        try:
            train(SCRIPTED, "ddp", 2, tmp_path, [on_error, EndsEverywhere()], **ARGUMENTS)
        except Interrupted:
            return

    run_on_ranks(run, timeout=280, init=False)
    (file,) = tmp_path.glob("*.ckpt")
    resumed = on_ranks(tmp_path, resume_from=file)
    assert [one.differences for one in resumed] == [[], []]
    assert resumed[0].decisions == resumed[1].decisions
    assert resumed[0].acts == [(5, "restore", "non_finite", 0.3)]

"""A folder that cannot be written: training goes on with one warning, and what a checkpoint holds is whole."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback

from lightning_lr.loggers.journal_file import JournalFile
from tests.helpers.ranks import run_on_ranks
from tests.helpers.strategy_runs import STEPS, Outcome, Task, checkpoints, train

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.timeout(600),
    pytest.mark.damages_journal,
    pytest.mark.filterwarnings("ignore:It is recommended to use .*sync_dist"),
]

SCRIPTED = Task([1.0, 0.8, 0.6, 0.5, 0.5, 0.5, 0.5, 0.4], epochs=8)
ARGUMENTS: dict[str, Any] = {"patience": 2, "find_lr": False, "anneal": False}
RESUMED_AT = 4


class At(Callback):
    """Does something at the start of an epoch, on rank 0."""

    def __init__(self, epoch: int, action: Callable[[], None]) -> None:
        self.epoch, self.action = epoch, action

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.global_rank == 0 and trainer.current_epoch == self.epoch:
            self.action()


def full_disk(journal: Path) -> None:
    """No file may grow beyond what the journal takes now and half a line more; checkpoints go to another disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = journal.stat().st_size + 50

    def write(self: JournalFile, line: str) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            plain(self, line)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    plain = JournalFile.write
    JournalFile.write = write  # type: ignore[method-assign]


def read_only(journal: Path) -> None:
    """As if the administrator had taken the right to write, from root as well."""
    journal.unlink()
    journal.parent.rmdir()
    journal.parent.write_text("no folder any more")


def on_ranks(size: int, folder: Path, **options: Any) -> list[Outcome]:
    strategy = "one process" if size == 1 else "ddp"

    def run(_: int) -> Outcome:
        return train(SCRIPTED, strategy, size, folder, journal=str(folder / "log" / "j.jsonl"), **ARGUMENTS, **options)

    return run_on_ranks(run, size, timeout=280, init=False)


@pytest.mark.parametrize("size", [1, pytest.param(2, marks=pytest.mark.cluster)])
@pytest.mark.parametrize(("fault", "error"), [(full_disk, "File too large"), (read_only, "Not a directory")])
def test_training_goes_on(size: int, fault: Any, error: str, tmp_path: Path) -> None:
    """From epoch 3 on no line can be written; the run, and the one that goes on from its checkpoint, do not mind."""
    fine = on_ranks(size, tmp_path / "fine")
    folder = tmp_path / "faulty"
    journal = folder / "log" / "j.jsonl"

    faulty = on_ranks(size, folder, callbacks=[At(3, lambda: fault(journal)), checkpoints(folder)])

    assert [outcome.decisions for outcome in faulty] == [outcome.decisions for outcome in fine]
    assert [outcome.states for outcome in faulty] == [outcome.states for outcome in fine]
    assert [outcome.differences for outcome in faulty] == [[]] * size
    warned = [sentence for sentence in faulty[0].sentences if "cannot be written" in sentence]
    assert len(warned) == 1
    assert f"The journal {journal} cannot be written (" in warned[0]
    assert error in warned[0]
    assert warned[0].endswith("training goes on without it.")
    if fault is full_disk:  # what was written stays whole: the half line is taken back
        lines = (tmp_path / "fine" / "log" / "j.jsonl").read_text().splitlines()
        assert journal.read_text().splitlines()[1:] == lines[1 : 1 + 3]

    resumed = on_ranks(size, folder, resume_from=folder / "checkpoints" / f"epoch={RESUMED_AT}.ckpt")

    assert [outcome.decisions for outcome in resumed] == [outcome.decisions for outcome in fine]
    for one, whole in zip(resumed, fine, strict=True):
        assert one.rates == {step: rates for step, rates in whole.rates.items() if step >= (RESUMED_AT + 1) * STEPS}
        assert one.states == {epoch: state for epoch, state in whole.states.items() if epoch > RESUMED_AT}


def test_a_read_only_folder_from_the_start(tmp_path: Path) -> None:
    """As an ordinary user, in a folder of somebody else: no journal, one warning."""
    fine = on_ranks(1, tmp_path / "fine")
    folder = tmp_path / "theirs"
    folder.mkdir()
    folder.chmod(0o555)

    def run(_: int) -> Outcome:
        if os.getuid() == 0:
            os.setuid(65534)  # root may write anywhere
        return train(SCRIPTED, "one process", 1, folder, journal=str(folder / "j.jsonl"), **ARGUMENTS)

    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == os.getuid() and parent.name.startswith(("pytest", tmp_path.name)):
            parent.chmod(0o755)
    (outcome,) = run_on_ranks(run, 1, init=False)
    assert outcome.decisions == fine[0].decisions
    assert len([sentence for sentence in outcome.sentences if "Permission denied" in sentence]) == 1

"""Checkpoints that are written before our check of the epoch, or in the midst of it: the resumed run owes no check."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback

from lightning_lr import LearningRateController
from tests.helpers.resume import FIRM, Model, Recorder, Run, Trace, in_fork, listening, trace_of, trainer_of, unkilled

AT = 8
"""The check at whose time the checkpoint is written: a restore, of the state of check 6."""


class Saver(Callback):
    """Writes a checkpoint at the end of an epoch, as RayTrainReportCallback does."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == AT and trainer.ckpt_path is None:
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "saved.ckpt")


def trained(run: Run, first: Callback | None, controller: LearningRateController, resumes: bool = False) -> Trace:
    recorder, model = Recorder(None), Model(run)
    with listening() as sentences:
        trainer = trainer_of(run, [recorder, *([first] if first else []), controller])
        trainer.fit(model, ckpt_path=run.folder / "saved.ckpt" if resumes else None)
    return trace_of(run, trainer, model, controller, recorder, sentences)


def ours() -> LearningRateController:
    return LearningRateController("val_loss", patience=2, policy=FIRM)


def assert_alike(got: Trace, expected: Trace) -> None:
    assert (got.acts, got.decisions, got.scale) == (expected.acts, expected.decisions, expected.scale)
    assert got.journal == expected.journal
    assert (got.weights, got.optimizer) == (expected.weights, expected.optimizer)


@pytest.mark.parametrize("stateful", [True, False], ids=["loader", "step"])
def test_a_callback_before_ours_writes_the_checkpoint(stateful: bool, tmp_path: Path) -> None:
    expected = unkilled(Run(tmp_path / "whole", stateful=stateful))
    run = Run(tmp_path / "cut", stateful=stateful)
    in_fork(lambda: trained(run, Saver(), ours()))
    assert_alike(in_fork(lambda: trained(run, Saver(), ours(), resumes=True)), expected)


@pytest.mark.parametrize("place", ["step", "apply", "write"])
def test_a_handler_that_saves_in_the_midst_of_a_check_waits_for_its_end(place: str, tmp_path: Path) -> None:
    """Lightning's handler for SLURM saves wherever the signal finds the program."""
    expected = unkilled(Run(tmp_path / "whole"))
    run = Run(tmp_path / "cut")

    def interrupted() -> None:
        controller = ours()
        begin = controller.on_train_start

        def started(trainer: Any, module: Any) -> None:
            begin(trainer, module)
            signal.signal(signal.SIGUSR1, lambda *_: trainer.save_checkpoint(run.folder / "saved.ckpt"))
            fit_run = controller._fit_run
            owner, name = {
                "step": (fit_run.engine, "handle"),
                "apply": (fit_run, "_apply"),
                "write": (fit_run, "_write"),
            }[place]
            original = getattr(owner, name)

            def raising(*arguments: Any) -> Any:
                if fit_run.checks == AT + (place == "write"):
                    os.kill(os.getpid(), signal.SIGUSR1)
                return original(*arguments)

            setattr(owner, name, raising)

        controller.on_train_start = started  # type: ignore[method-assign]
        trained(run, None, controller)

    in_fork(interrupted)
    assert_alike(in_fork(lambda: trained(run, None, ours(), resumes=True)), expected)

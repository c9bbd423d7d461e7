"""Lets Lightning save and requeue a SLURM job where all ranks stand still: between two batches.

Lightning does both inside its handler of the signal, wherever that finds the program: in the middle of a step, and on
each rank in another place. The checkpoint may then hold half a step, and with several ranks each waits for the others
in another collective (Lightning-AI/pytorch-lightning#21406). Here the handler only takes note of the signal; every few
batches the ranks ask each other whether anyone was told, and then all of them do what Lightning would have done.
"""

from __future__ import annotations

import signal
from typing import Any

import lightning.pytorch as pl


class RequeueBetweenBatches(pl.Callback):
    """Does nothing where Lightning does not listen for the signal, that is, outside of SLURM.

    Put it last in ``callbacks``, so that the others have finished the batch.

    Args:
        number: the signal, as in ``#SBATCH --signal`` and in ``SLURMEnvironment(requeue_signal=...)``.
        every_n_batches: how often the ranks ask each other; one small message each time.
    """

    def __init__(self, number: signal.Signals = signal.SIGUSR1, every_n_batches: int = 10) -> None:
        self.number, self.every_n_batches = number, every_n_batches
        self.lightnings_handler: Any = None
        self.told = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        handler = signal.getsignal(self.number)
        if callable(handler):  # SIG_DFL and SIG_IGN, which say that nobody listens, are not
            self.lightnings_handler, self.told = handler, False
            signal.signal(self.number, self.take_note)

    def take_note(self, number: int, frame: Any) -> None:
        self.told = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.lightnings_handler is None or (batch_idx + 1) % self.every_n_batches:
            return
        if trainer.strategy.reduce_boolean_decision(self.told, all=False):
            self.told = False
            self.lightnings_handler(self.number, None)  # saves, and calls `scontrol requeue` on rank 0

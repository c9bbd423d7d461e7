"""What a restore returns to, of one Trainer: taken, compared, and restored; whatever goes wrong, training goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from lightning_lr.errors import UnsupportedError
from lightning_lr.run.distributed import Ranks
from lightning_lr.run.trainer.averaged_models import averaged_models_of
from lightning_lr.run.trainer.callback_kinds import reset_patience
from lightning_lr.snapshot.constant import bytes_of, fingerprints, may_be_constant, unchanged
from lightning_lr.snapshot.files import SnapshotFile
from lightning_lr.snapshot.host_memory import free_memory
from lightning_lr.snapshot.numbers import Number, numbers_of
from lightning_lr.snapshot.shards import params
from lightning_lr.snapshot.snapshot import Snapshot

GIB = 2**30
OTHERWISE = "Snapshots(folder=...) keeps it on a disk, Snapshots(limit=...) allows more"


class StateKeeper:
    """Takes and restores the snapshots of one fit.

    Args:
        module: the LightningModule.
        trainer: with its optimizers set up.
        ranks: the other processes.
        file: in place of host memory.
        limit: most that a snapshot may take: a share of the free memory of the host, or above 1 the bytes of a process.
        asked: whether the user asked for a restore by name: what is in the way at the start is then an error.
        warn: warns with a sentence.
    """

    def __init__(
        self,
        module: nn.Module,
        trainer: Any,
        ranks: Ranks,
        file: SnapshotFile | None,
        limit: float,
        asked: bool,
        warn: Callable[[str], None],
    ) -> None:
        self.module, self.trainer, self.ranks, self.file = module, trainer, ranks, file
        self.limit, self.asked, self._warn = limit, asked, warn
        self._warned = self._too_large = False
        self._begun = False
        self._constant: dict[str, int] = {}
        self._numbers: dict[str, Number] = {}
        self._of_validation: set[str] = set()

    # --- taken --------------------------------------------------------------------------------------------------------

    def take(self, former: Snapshot | None) -> Snapshot | None:
        """The present state; ``None`` if there can be no copy, with one warning.

        Args:
            former: the snapshot whose memory is taken over.

        Raises:
            UnsupportedError: before the first step, if the user asked for a restore by name.
        """
        if self._too_large:
            return None
        begins, self._begun = not self._begun, True
        now, why = None, ""
        try:
            now = Snapshot.now(*self._state(), left_out=self._left_out(begins))
            why = self._exceeds(now, former, begins) if self.file is None else ""
            self._too_large = bool(why)
        except Exception as error:
            if begins and self.asked and isinstance(error, UnsupportedError):
                raise
            why = _first_sentence(error)
        # Before the first step all know whether there is one; later on, where one is restored.
        if begins and not self.ranks.alone and self.ranks.sum([float(bool(why))])[0] and not why:
            self._too_large, why = True, "on another process it cannot be kept"
        if now is not None and not why:
            try:
                return self.file.keep(now) if self.file is not None else now.copied(former)
            except Exception as error:
                why = _first_sentence(error)
        self._cannot(why)
        return None

    def resumed(self, payload: Mapping[str, Any]) -> Snapshot | None:
        """The snapshot of a checkpoint; ``None`` if another release wrote it, with a warning."""
        self._begun, self._constant = True, fingerprints(may_be_constant(self.module, begins=False))
        try:
            snapshot = Snapshot.from_payload(dict(payload))
        except UnsupportedError as error:
            self._cannot(_first_sentence(error))
            return None
        return snapshot if self.file is None else self.file.keep(snapshot)

    def unfrozen(self, snapshot: Snapshot | None) -> None:
        """Look whether weights are trained from now on that were frozen, and have no copy."""
        if snapshot is not None and snapshot.left_out:
            snapshot.add_unfrozen(self.module)

    def _left_out(self, begins: bool) -> dict[str, int]:
        if begins:
            self._constant = fingerprints(may_be_constant(self.module, begins=False))
            begin = may_be_constant(self.module, begins=True)
            return {name: number for name, number in self._constant.items() if name in begin}
        return unchanged(self.module, self._constant)

    def _exceeds(self, now: Snapshot, former: Snapshot | None, begins: bool) -> str:
        """Why a snapshot does not fit; empty if it does."""
        held = former.nbytes if former is not None else 0
        need = now.nbytes + (sum(map(_state_to_come, self.trainer.optimizers)) if begins else 0)
        if need <= held:
            return ""
        processes = 1 if self.ranks.alone else int(getattr(self.trainer, "num_devices", 1))
        most, text = self.limit, f"the limit of {self.limit / GIB:.3g} GiB"
        if self.limit <= 1:
            free = free_memory() + processes * held
            most, text = self.limit * free / processes, f"{self.limit:.0%} of the {free / GIB:.3g} GiB that are free"
        each = f" for each of {processes} processes" if processes > 1 else ""
        return f"it takes {need / GIB:.3g} GiB of host memory{each}, beyond {text}. {OTHERWISE}" if need > most else ""

    # --- put back -----------------------------------------------------------------------------------------------------

    def fits(self, snapshot: Snapshot | None) -> tuple[str, ...] | None:
        """Whether a snapshot can be restored on all ranks: what will be left alone, or ``None`` if it cannot be.

        Every rank has to call it: weights that are put back on one of them alone would be other ones from then on.
        """
        notes, why = None, "there is no snapshot"
        try:
            if snapshot is not None:
                notes = snapshot.plan(*self._state())[1]
        except Exception as error:
            why = _first_sentence(error)
        if self.ranks.sum([float(notes is not None)])[0] == (1 if self.ranks.alone else self.ranks.world_size):
            reset_patience(self.trainer.callbacks)
            return notes
        self._cannot(why if notes is None else "on another process it cannot be put back")
        return None

    def restore(self, snapshot: Snapshot) -> None:
        """Put a snapshot back of which :meth:`fits` has said that it can be."""
        try:
            snapshot.restore(*self._state(), without=self._of_validation)
        except UnsupportedError as error:  # nothing was changed; something was exchanged since
            self._cannot(_first_sentence(error))
        for gradient in (param.grad for optimizer in self.trainer.optimizers for param in params(optimizer)):
            if gradient is not None:
                # In the middle of an accumulation it is a gradient of the weights that went, and may be no number.
                gradient.zero_()

    # --- plain numbers ------------------------------------------------------------------------------------------------

    def validation_begins(self) -> None:
        """From here on, what changes is a counter of validations: no restore sets it back."""
        self._numbers = numbers_of(self.module)

    def validation_ends(self) -> None:
        """Until here."""
        now = numbers_of(self.module)
        self._of_validation.update(name for name, value in self._numbers.items() if now.get(name) != value)

    # ------------------------------------------------------------------------------------------------------------------

    def _state(self) -> tuple[Any, Any, Any, Any]:
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        optimizers = self.trainer.optimizers
        averaged = averaged_models_of(self.trainer.callbacks, self.module, optimizers)
        return self.module, optimizers, scaler, averaged

    def _cannot(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            self._warn(f"The state cannot be kept and restored ({why}): the learning rate is cut without restoring.")


def _state_to_come(optimizer: Any) -> int:
    """What an optimizer that has not stepped will hold beside its parameters, in bytes; two copies if not known."""
    trained = [param for param in params(optimizer) if param.requires_grad and param not in optimizer.state]
    group = optimizer.param_groups[0] if optimizer.param_groups else {}
    copies = float(bool(group.get("momentum"))) if type(optimizer).__name__ == "SGD" else 2.0
    return int(copies * bytes_of(trained))


def _first_sentence(error: Exception) -> str:
    return str(error).split(". ")[0].strip() or type(error).__name__

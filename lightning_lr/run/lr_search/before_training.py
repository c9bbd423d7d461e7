"""What the sanity check shows before training: batches of validation, and the monitors of an untrained model.

Without a sanity check the batches are drawn from the validation loader, if it works in this process alone and its data
have indices: worker processes and streams would go on from another place afterwards.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from lightning_lr.run.distributed import Ranks
from lightning_lr.run.lr_search.contained import RandomState
from lightning_lr.run.lr_search.fixed_batches import HELD_OUT, Unit
from lightning_lr.run.lr_search.kept_state import KeptState
from lightning_lr.run.readings.fresh_metrics import matching
from lightning_lr.run.trainer.trainer_adapter import moved_batch


class BeforeTraining:
    """Caught in the hooks of the sanity check.

    Args:
        keeps_batches: whether a search may read them.

    Attributes:
        units: the first batches of the first validation loader.
        metrics: what it logged, where that is finite.
        names: of everything that it logged.
    """

    def __init__(self, keeps_batches: bool = True) -> None:
        self.keeps_batches = keeps_batches
        self.units: list[Unit] = []
        self.metrics: dict[str, float] = {}
        self.names: tuple[str, ...] = ()

    def see_batch(self, batch: Any, index: int) -> None:
        """Copy one of the first batches; one that cannot be copied is left out."""
        if self.keeps_batches and len(self.units) < HELD_OUT:
            unit = Unit()
            try:
                unit.add(batch, index)
            except Exception:
                return
            self.units.append(unit)

    def see_metrics(self, logged: Mapping[str, Any]) -> None:
        """Take what was logged."""
        self.names = tuple(logged)
        values = {name: float(value) for name, value in logged.items()}
        self.metrics = {name: value for name, value in values.items() if math.isfinite(value)}


def drawn(trainer: Any) -> list[Unit]:
    """Two batches of validation, without a trace; none if they cannot be had so."""
    loader = trainer.val_dataloaders
    loader = loader[0] if isinstance(loader, (list, tuple)) and loader else loader
    if type(loader) is not DataLoader or loader.num_workers or isinstance(loader.dataset, IterableDataset):
        return []
    random_state, dataset = RandomState(), loader.dataset
    parts = [loader.generator, *(getattr(part, "__dict__", {}) for part in (loader.sampler, loader.batch_sampler))]
    own_class = not type(dataset).__module__.startswith("torch.")
    kept = KeptState([*parts, *([getattr(dataset, "__dict__", {})] if own_class else [])])
    try:
        units = []
        for index, batch in zip(range(HELD_OUT), loader, strict=False):
            units.append(Unit())
            units[-1].add(moved_batch(trainer, batch), index)
        return units
    finally:
        kept.put_back()
        random_state.put_back()


def known(monitors: Sequence[str], measured: Mapping[str, float]) -> list[str]:
    """Those of the monitors, names and patterns, that were measured.

    >>> measured = {"val_loss": 1.0, "acc/a": 0.5, "other": 2.0}
    >>> known(["val_loss", "acc*"], measured), known(["val_mae"], measured)
    (['val_loss', 'acc/a'], [])
    """
    return [name for name in matching(monitors, measured) if name in measured]


def mean_over_ranks(measured: Mapping[str, float], monitors: Sequence[str], ranks: Ranks) -> dict[str, float]:
    """The monitors before training, mean over the ranks; those that each rank has.

    Args:
        measured: on this rank.
        monitors: names and patterns.
        ranks: the other processes.
    """
    own = {name: measured[name] for name in known(monitors, measured)}
    parts = [json.loads(part) for part in ranks.gather_bytes(json.dumps(own).encode())]
    shared = [name for name in own if all(name in part for part in parts)]
    return {name: sum(part[name] for part in parts) / len(parts) for name in shared}

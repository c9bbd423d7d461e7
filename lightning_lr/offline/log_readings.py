"""Columns → readings: one check for each step at which a monitor has a value.

What a live check knows is put together from what was logged: the epoch from Lightning's ``epoch``, the training loss
since the check before, the learning rate from ``LearningRateMonitor``. What was not logged stays unknown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightning_lr.core.journal import JournalLine
from lightning_lr.core.records import Adjustment, Decision, Rate, Reading, TrainWindow
from lightning_lr.core.vocabulary import Action, Condition
from lightning_lr.offline.columns import Column, Log
from lightning_lr.offline.monitors import OURS, Choice

BLOCKS = 16
"""Blocks that the step losses of one check are averaged into: as many as a live window keeps."""

NOT_OURS = "lightning_lr did not decide here"
"""The reason of every decision of a run that was recorded without the callback."""


def log_lines(log: Log, choice: Choice, train_monitor: str | None = None) -> Iterator[JournalLine]:
    """The checks of a run, in the form of a journal's lines; each holds, since nothing of ours decided."""
    columns, rates = log.columns, _rate_columns(log)
    epochs, train = columns.get("epoch"), columns.get(train_monitor or "")
    before, known = -1, {name: columns[name] for name in choice.monitors}
    for check, step in enumerate(sorted({s for column in known.values() for s in column.steps})):
        values = {name: value for name, column in known.items() if (value := column.at(step)) is not None}
        epoch = epochs.latest(step) if epochs else math.nan
        applied = {name: rate for name, column in rates.items() if math.isfinite(rate := column.latest(step))}
        reading = Reading(
            check=check,
            epoch=int(epoch) if math.isfinite(epoch) else check,
            step=step,
            metrics=values,
            train=_window(columns, choice, before, step),
            train_metric=None if train is None else train.at(step),
            rates={name: Rate(rate, 1.0, rate) for name, rate in applied.items()},
        )
        yield JournalLine(reading, held(reading, applied), Adjustment(reading.rates))
        before = step


def held(reading: Reading, applied: Mapping[str, float]) -> Decision:
    """A decision that says that nobody decided."""
    return Decision.deferred(
        nobody_decided,
        check=reading.check,
        epoch=reading.epoch,
        step=reading.step,
        action=Action.HOLD,
        condition=Condition.HEALTHY,
        factor=1.0,
        old_lr=applied,
        new_lr=applied,
        snapshot_check=None,
    )


def nobody_decided() -> Mapping[str, Any]:
    """The sentence of such a decision; there are no numbers behind it."""
    return {"reason": NOT_OURS, "evidence": {}}


def _window(columns: Mapping[str, Column], choice: Choice, before: int, step: int) -> TrainWindow | None:
    """The training loss between two checks: its mean over the epoch, its course from single steps, where logged."""
    whole = columns[choice.train].between(before, step) if choice.train else []
    steps = columns[choice.train_steps].between(before, step) if choice.train_steps else whole
    if not whole and not steps:
        return None
    known = steps or whole
    finite = [value for value in known if math.isfinite(value)]
    # An epoch's own mean is of all its steps; single steps are a sample of them.
    mean = whole[-1] if whole and whole is not steps else math.fsum(finite) / len(finite) if finite else math.nan
    lost = len(known) - len(finite)
    return TrainWindow(
        mean=mean,
        blocks=_blocks(finite),
        steps=step - before,
        non_finite=round(lost / len(known) * (step - before)),
        ends_non_finite=not math.isfinite(known[-1]),
    )


def _blocks(values: Sequence[float]) -> tuple[float, ...]:
    """Means of equal runs of values, at most :data:`BLOCKS`.

    >>> _blocks([1.0, 2.0]), len(_blocks([0.0] * 100))
    ((1.0, 2.0), 15)
    """
    size = -(-len(values) // BLOCKS) or 1
    return tuple(sum(run) / len(run) for i in range(0, len(values), size) if (run := values[i : i + size]))


def _rate_columns(log: Log) -> dict[str, Column]:
    """The learning rates that ``LearningRateMonitor`` logged, else those that this package's callback logged itself."""
    ours = f"{OURS}/lr/"
    watched = {
        n: c for n, c in log.columns.items() if n.startswith("lr-") and not n.endswith(("-momentum", "-weight_decay"))
    }
    return watched or {n.removeprefix(ours): c for n, c in log.columns.items() if n.startswith(ours)}

"""Columns → readings: one check for each step at which a monitor has a value.

What a live check knows is put together from what was logged: the epoch from Lightning's ``epoch``, the training loss
since the check before, the learning rate from ``LearningRateMonitor``. What was not logged stays unknown: of our own
callback a log keeps the scale and the condition, but neither its settings nor its sentences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from lightning_lr.engine.journal import JournalLine
from lightning_lr.engine.log_tags import PROBES, quantity_of
from lightning_lr.engine.records import Adjustment, Decision, Rate, Reading, TrainWindow
from lightning_lr.engine.vocabulary import Action, Condition
from lightning_lr.offline.logs.columns import Column, Log
from lightning_lr.offline.logs.monitors import Choice

BLOCKS = 16
"""Blocks that the step losses of one check are averaged into: as many as a live window keeps."""

NOT_OURS = "lightning_lr did not decide here"
"""The reason of every decision that a log tells nothing of."""


def log_lines(log: Log, choice: Choice, train_monitor: str | None = None) -> Iterator[JournalLine]:
    """The checks of a run, in the form of a journal's lines; each holds, as what was decided is not in a log."""
    columns, rates = log.columns, _rates(log)
    scale, conditions = _own_column(log, "scale"), next(iter(log.conditions.values()), {})
    epochs, train = columns.get("epoch"), columns.get(train_monitor or "")
    probes = {name: c for tag, c in columns.items() if (name := quantity_of(tag)) in PROBES}
    before, known = -1, {name: columns[name] for name in choice.monitors}
    for check, step in enumerate(sorted({s for column in known.values() for s in column.steps})):
        values = {name: value for name, column in known.items() if (value := column.at(step)) is not None}
        epoch = epochs.latest(step) if epochs else math.nan
        applied = rates(step)
        reading = Reading(
            check=check,
            epoch=int(epoch) if math.isfinite(epoch) else check,
            step=step,
            metrics=values,
            train=_window(columns, choice, before, step),
            train_metric=None if train is None else train.at(step),
            rates={name: Rate(rate, 1.0, rate) for name, rate in applied.items()},
            probes={name: value for name, column in probes.items() if (value := column.at(step)) is not None},
        )
        decision = held(reading, applied, _condition(conditions, step))
        if changed := _changed(scale, step):
            decision = replace(decision, reason=changed)
        yield JournalLine(reading, decision, Adjustment(reading.rates), has_decision=bool(changed))
        before = step


def held(reading: Reading, applied: Mapping[str, float], condition: Condition = Condition.HEALTHY) -> Decision:
    """A decision that says that nobody decided."""
    return Decision(
        check=reading.check,
        epoch=reading.epoch,
        step=reading.step,
        action=Action.HOLD,
        condition=condition,
        factor=1.0,
        old_lr=applied,
        new_lr=applied,
        reason=NOT_OURS,
    )


def _window(columns: Mapping[str, Column], choice: Choice, before: int, step: int) -> TrainWindow | None:
    """The training loss between two checks: its mean over the epoch, its course from single steps, where logged."""
    whole = columns[choice.train].train_only(before, step) if choice.train else []
    steps = columns[choice.train_steps].train_only(before, step) if choice.train_steps else whole
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


def _rates(log: Log) -> Callable[[int], dict[str, float]]:
    """The rates under which the values of a step came about, where known, by name.

    Those that ``LearningRateMonitor`` logged, else those of our own callback, which logs at a check what it made of it:
    there the one before counts.
    """
    watched = {
        n: c for n, c in log.columns.items() if n.startswith("lr-") and not n.endswith(("-momentum", "-weight_decay"))
    }
    ours = {told[3:]: c for tag, c in log.columns.items() if (told := quantity_of(tag) or "").startswith("lr/")}

    def at(step: int) -> dict[str, float]:
        if watched:
            return {n: rate for n, c in watched.items() if math.isfinite(rate := c.latest(step))}
        before = {n: c.latest(step - 1) for n, c in ours.items()}
        return {
            n: r for n, c in ours.items() if math.isfinite(r := c.latest(step) if math.isnan(before[n]) else before[n])
        }

    return at


def _own_column(log: Log, quantity: str) -> Column | None:
    """What this package's callback logged, of the first group; ``None`` where it was not in the run."""
    told = (column for tag, column in log.columns.items() if (quantity_of(tag) or "").split("/")[0] == quantity)
    return next(told, None)


def _changed(scale: Column | None, step: int) -> str:
    """What our own callback did at a check, as far as its numbers tell; empty where they tell nothing."""
    old, new = (math.nan, None) if scale is None else (scale.latest(step - 1), scale.at(step))
    if new is None or not math.isfinite(old) or new == old:
        return ""
    return f"lightning_lr changed the scale from {old:.3g} to {new:.3g}; why, its journal says"


def _condition(columns: Mapping[str, Column], step: int) -> Condition:
    """What our own callback saw at a check; healthy if it was not there."""
    seen = (Condition(name) for name, column in columns.items() if column.at(step) is not None)
    return next(seen, Condition.HEALTHY)

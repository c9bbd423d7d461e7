"""Columns → run: the monitors are chosen, and there is one check for each step at which one of them has a value.

A check is put together from what was logged: the epoch from Lightning's ``epoch``, the training loss since the check
before, the learning rate from ``LearningRateMonitor``. What was not logged stays unknown: of our own callback a log
keeps the scale and the condition, but neither its settings nor its reasons.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
from itertools import filterfalse
from pathlib import Path

from lightning_lr.engine.history.metric_names import FALLS, is_meant_to_rise, loss_beside, words
from lightning_lr.engine.journal import JournalLine
from lightning_lr.engine.log_tags import CONDITION, PROBES, UNTRAINED, is_ours, quantity_of
from lightning_lr.engine.records import Adjustment, Decision, Rate, Reading, TrainWindow
from lightning_lr.engine.settings import Settings, settings_from
from lightning_lr.engine.text import plural
from lightning_lr.engine.vocabulary import Action, Condition
from lightning_lr.offline.logs.column_roles import add_totals, epoch_name, is_lr
from lightning_lr.offline.logs.columns import Column, Log
from lightning_lr.offline.logs.monitors import TEST, Choice, choose
from lightning_lr.offline.logs.run import Run, Watch

BLOCKS = 16
"""Blocks that the step losses of one check are averaged into: as many as a live window keeps."""

LOG_EVERY = 50
"""Steps from one logged step to the next, by the Trainer's default."""

JUMP = 1.5
"""Ratio of two neighbouring rates, or scales, from which on it counts as a change: halving does, a cosine's single
step does not."""

NOT_OURS = "not decided by lightning_lr"
"""The reason of a check at which the log holds no decision of ours."""


def logged_run(path: Path, kind: str, log: Log, watch: Watch, read: Sequence[str] = ()) -> Run:
    """The run that a logger recorded.

    Args:
        path: where it lies.
        kind: its format, in words.
        log: all that was logged.
        watch: what to watch; the rule of `monitors` chooses what it leaves open.
        read: how the format was read, one sentence each.

    Raises:
        MissingMetricError: if it does not hold what is to be watched.
    """
    totals = add_totals(log)
    # A test set that is looked at once, at the end, is not watched.
    once = {name for name, column in log.columns.items() if len(column) == 1 and TEST & set(words(name))}
    names = [name for name in log.columns if name not in once.difference(watch.monitors)]
    choice = choose(names, watch.monitors, watch.train, str(path))
    if watch.train_monitor:
        choose(log.columns, [watch.train_monitor], where=str(path))
    mode, why = _mode(choice.monitors[0], watch.mode)
    settings = settings_from(monitor=choice.monitors, mode=mode, train_monitor=watch.train_monitor)
    settings = replace(settings, loss_beside=loss_beside(settings.monitors, filterfalse(is_ours, log.columns)))
    chosen = [choice.sentence, f"mode {mode}, {why}", *totals, *read]
    if settings.loss_beside is not None:
        chosen.append(f"{settings.loss_beside} is read beside a discrete monitor")
    if epoch_name(log.columns) is None:
        chosen.append("no epoch was logged: each check counts as one epoch")
    if log.restarts:
        chosen.append(f"the run was resumed {log.restarts} time{plural(log.restarts)}; the steps logged last count")
    present = any(map(is_ours, log.columns))
    return Run(path, kind, settings, partial(log_lines, log, choice, settings), tuple(chosen), present=present)


def log_lines(log: Log, choice: Choice, settings: Settings) -> Iterator[JournalLine]:
    """The checks of a run, in the form of a journal's lines."""
    columns, rates = log.columns, _rates(log)
    epochs = columns.get(epoch_name(columns) or "")
    scale, conditions = _own_column(log, "scale"), _own_column(log, CONDITION)
    train = columns.get(settings.train_monitor or "")
    probes = {name: c for tag, c in columns.items() if (name := quantity_of(tag)) in PROBES}
    before, monitors = -1, {name: columns[name] for name in choice.monitors}
    read = monitors | {name: columns[name] for name in filter(None, [settings.loss_beside])}
    steps = sorted({s for column in monitors.values() for s in column.steps})
    means, samples = _training(columns, choice, set(steps))
    for check, step in enumerate(steps):
        epoch = epochs.latest(step) if epochs else math.nan
        reading = Reading(
            check=check,
            epoch=int(epoch) if math.isfinite(epoch) else check,
            step=step,
            metrics=_values(read, step),
            train=_window(means, samples, before, step),
            train_metric=None if train is None else train.at(step),
            rates={name: Rate(rate, 1.0, rate) for name, rate in rates(step).items()},
            probes=_values(probes, step),
            untrained={} if check else _untrained(columns),
        )
        code = conditions.at(step)
        condition = Condition.HEALTHY if code is None else Condition(log.conditions[int(code)])
        decision = _decision(reading, condition, scale.latest(step - 1), scale.at(step))
        yield JournalLine(reading, decision, Adjustment(reading.rates))
        before = step


def _mode(monitor: str, asked: str | None) -> tuple[str, str]:
    """In which direction the monitor is better, and how that is known."""
    if asked:
        return asked, "as asked for"
    if is_meant_to_rise(monitor):
        return "max", "as its name says; --mode min otherwise"
    if set(words(monitor)) & {"loss", *FALLS}:
        return "min", "as its name says"
    return "min", "though its name does not tell whether less of it is better; --mode max otherwise"


def _values(columns: Mapping[str, Column], step: int) -> dict[str, float]:
    return {name: value for name, column in columns.items() if (value := column.at(step)) is not None}


def _decision(reading: Reading, condition: Condition, old: float, new: float | None) -> Decision:
    """What our own callback did at a check, as far as its old and new scale say.

    It changes its scale also to follow its curve over the budget, a little at each check: that is no decision.
    """
    factor = new / old if new is not None and old > 0 else 1.0
    calm = condition in (Condition.HEALTHY, Condition.IMPROVING)
    ours = factor != 1.0 and not (calm and 1 / JUMP < factor < JUMP)
    rates = {name: rate.applied for name, rate in reading.rates.items()}
    return Decision(
        reading.check,
        reading.epoch,
        reading.step,
        (Action.REDUCE if factor < 1 else Action.RAISE) if ours else Action.HOLD,
        condition,
        factor if ours else 1.0,
        old_lr=rates,
        new_lr={name: rate * factor for name, rate in rates.items()} if ours else rates,
        sentence="its reason is in the journal, not in this log" if ours else NOT_OURS,
    )


def _training(columns: Mapping[str, Column], choice: Choice, checks: Set[int]) -> tuple[Column, Column]:
    """The training loss as means over all steps between two checks, and as losses of single steps; each may be empty.

    What Lightning logs from ``training_step`` under the plain name is by default the loss of every fiftieth step. A
    plain name holds means if it has values at the steps of checks alone; and if these are not all a fiftieth step.
    """
    named = columns.get(choice.train or "", Column())
    single = columns.get(choice.train_steps or "", Column())
    sampled = choice.train is not None and not is_ours(choice.train) and "epoch" not in words(choice.train)
    if sampled and (set(named.steps) - checks or all((step + 1) % LOG_EVERY == 0 for step in named.steps)):
        return Column(), single if len(single) > len(named) else named
    return named, single


def _window(means: Column, samples: Column, before: int, step: int) -> TrainWindow | None:
    """The training loss between two checks: its mean, and its single steps, as far as they were logged."""
    whole, single = means.between(before, step), samples.between(before, step)
    known = single or whole
    if not known:
        return None
    finite = [value for value in known if math.isfinite(value)]
    mean = whole[-1] if whole else math.fsum(finite) / len(finite) if finite else math.nan
    lost = len(known) - len(finite)
    return TrainWindow(
        mean=mean,
        blocks=_blocks(finite),
        steps=step - before,
        non_finite=round(lost / len(known) * (step - before)),
        ends_non_finite=not math.isfinite(known[-1]),
        sampled=None if whole or len(known) >= step - before else len(known),
    )


def _untrained(columns: Mapping[str, Column]) -> dict[str, float]:
    """What our callback logged of the metrics before training."""
    named = ((quantity_of(tag) or "", column) for tag, column in columns.items())
    return {name.partition("/")[2]: c.values[0] for name, c in named if name.startswith(f"{UNTRAINED}/")}


def _blocks(values: Sequence[float]) -> tuple[float, ...]:
    """Means of equal runs of values, at most :data:`BLOCKS`.

    >>> _blocks([1.0, 2.0]), len(_blocks([0.0] * 100))
    ((1.0, 2.0), 15)
    """
    size = -(-len(values) // BLOCKS) or 1
    return tuple(sum(run) / len(run) for i in range(0, len(values), size) if (run := values[i : i + size]))


def _rates(log: Log) -> Callable[[int], dict[str, float]]:
    """Step → the known rates, by name, with which the values of that step were computed.

    Those that ``LearningRateMonitor`` logged; else those of our own callback, which logs at a check the rate after it:
    there the one before counts; else any column with the name of a learning rate.
    """
    named = {name: column for name, column in log.columns.items() if is_lr(name)}
    watched = {name: column for name, column in named.items() if name.startswith("lr-")}
    ours = {name[3:]: c for tag, c in log.columns.items() if (name := quantity_of(tag) or "").startswith("lr/")}
    watched = watched or (named if not ours else {})

    def at(step: int) -> dict[str, float]:
        if watched:
            known = {name: column.latest(step) for name, column in watched.items()}
        else:
            known = {n: c.latest(step if math.isnan(c.latest(step - 1)) else step - 1) for n, c in ours.items()}
        return {name: rate for name, rate in known.items() if math.isfinite(rate)}

    return at


def _own_column(log: Log, quantity: str) -> Column:
    """What our callback logged, of the first group; empty if it was not in the run."""
    found = (column for tag, column in log.columns.items() if (quantity_of(tag) or "").split("/")[0] == quantity)
    return next(found, Column())

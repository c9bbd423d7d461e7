"""Journal entries → what the loggers show. Nothing is decided here.

Every logger gets the numbers; TensorBoard also gets texts: a set-up card once, and the list of all decisions, written
again at each decision and each review, since it shows but a sample of a tag's texts, of which only the newest is sure;
and the data of its tab "Learning rate". What others get in place of the texts: :mod:`~lightning_lr.loggers.tables`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.history.run_history import TRAIN_LOSS
from lightning_lr.engine.log_tags import CONDITION, PROBABILITY, UNTRAINED
from lightning_lr.engine.records import JournalEntry, MetricView
from lightning_lr.engine.text import markdown
from lightning_lr.engine.vocabulary import Action, Condition, Event
from lightning_lr.loggers.decision_history import DecisionHistory
from lightning_lr.loggers.guarded import GuardedLoggers
from lightning_lr.loggers.tables import DecisionTables, decision_list, is_a, tables_due

if TYPE_CHECKING:
    from lightning_lr.loggers.tensorboard import TabData


class DecisionLog:
    """Writes one run's decisions to its loggers; only rank 0 has one.

    Args:
        loggers: ``trainer.loggers``.
        prefix: what all tags begin with; instances with a name have their own.
        warn: called with a sentence where a logger refuses a table, or fails.
        detectors: the user's own, which color their decisions.
    """

    def __init__(
        self, loggers: Sequence[Any], prefix: str, warn: Callable[[str], None], detectors: Sequence[Detector] = ()
    ) -> None:
        self.loggers = tuple(loggers)
        self.prefix = prefix
        self.tables = DecisionTables(loggers, prefix, warn)
        self._guarded = GuardedLoggers(warn)
        self.tab: TabData | None = None
        if any(map(is_tensorboard, loggers)):
            from lightning_lr.loggers.tensorboard import TabData  # only runs that have a board load it

            self.tab = TabData(prefix, detectors)

    def card(self, text: str, step: int) -> None:
        """The set-up card, once at the start."""
        self._text("setup", text, step)

    def write(self, entry: JournalEntry, history: DecisionHistory, step: int) -> None:
        """The numbers of one check, and the table if something was decided or reviewed.

        Args:
            entry: the check.
            history: the decisions so far, with this one and this review.
            step: position on the loggers' x-axis.
        """
        numbers = {f"{self.prefix}/{name}": value for name, value in entry_numbers(entry).items()}
        points = [(step, numbers)]
        if entry.event is Event.SEARCH and entry.adjustment.rates != entry.reading.rates:
            # The step before ran at another rate; without a point of its own the chart would begin at the new one.
            before = {f"{self.prefix}/lr/{name}": rate.applied for name, rate in entry.reading.rates.items()}
            points.insert(0, (max(step - 1, 0), before))
        for at, values in points:
            for logger in self.loggers:
                self._guarded.call(logger, partial(_log, values, at))
        if self.tab is not None:
            boards, tab = [logger for logger in self.loggers if is_tensorboard(logger)], self.tab
            self._guarded.call(
                boards[0], lambda _: tab.write(entry, len(history), [board.experiment for board in boards])
            )
        reviewed = [] if entry.review is None else [entry.review.check]
        decided = [] if entry.decision.action is Action.HOLD else [entry.decision.check]
        if not (reviewed or decided):
            return
        if self.tab is not None:
            for name, rows in tables_due(history).items():
                # At one and the same step: of those TensorBoard shows the newest alone, else each list would be below
                # the one that holds it too. Each item names its own step.
                self._text(name, decision_list(rows), 0)
        self.tables.write(history, [*reviewed, *decided], step)
        for logger in self.loggers:
            # Else an event would stay in memory for up to two minutes, and be lost in a crash, which it may explain.
            self._guarded.call(logger, lambda logger: logger.save())

    def _text(self, tag: str, text: str, step: int) -> None:
        name = f"{self.prefix}/{tag}"
        for logger in filter(is_tensorboard, self.loggers):
            self._guarded.call(logger, lambda logger: logger.experiment.add_text(name, text, global_step=step))


def _log(metrics: Mapping[str, float], step: int, logger: Any) -> None:
    logger.log_metrics(metrics=metrics, step=step)


def is_tensorboard(logger: Any) -> bool:
    """Whether it is the TensorBoardLogger of either namespace."""
    return is_a(logger, "TensorBoardLogger")


def entry_numbers(entry: JournalEntry) -> dict[str, float]:
    """The numbers of one check, few and stable: tag → value.

    Numbers that are not there yet (a slope of two values) are left out: a chart would break at a NaN. Each condition
    has a tag of its own, with a point at those checks at which it is the condition; ``healthy`` has none while nothing
    can be told.
    """
    numbers = {f"lr/{name}": rate.applied for name, rate in entry.adjustment.rates.items()}
    scales = {name: rate.scale for name, rate in entry.adjustment.rates.items()}
    if len(set(scales.values())) == 1:
        numbers["scale"] = next(iter(scales.values()))
    else:
        numbers.update({f"scale/{name}": scale for name, scale in scales.items()})
    for view in entry.views.monitors:
        numbers.update({f"{view.name}/{name}": value for name, value in _monitor_numbers(view).items()})
    for monitor, gap in entry.views.gaps.items():
        numbers["gap" if len(entry.views.gaps) == 1 else f"gap/{monitor}"] = gap.value
    train = entry.views.train
    if train is not None:
        numbers["train" if train.name == TRAIN_LOSS else f"train/{train.name}"] = train.shown(train.value)
    numbers.update(entry.reading.probes)
    numbers.update({f"{UNTRAINED}/{name}": value for name, value in entry.reading.untrained.items()})
    known = {name: value for name, value in entry.decision.probabilities.items() if value is not None}
    numbers.update({f"{PROBABILITY}/{name}": value for name, value in known.items()})
    if entry.decision.condition is not Condition.HEALTHY or not known or (entry.decision.probability or 0.0) > 0.5:
        numbers[f"{CONDITION}/{entry.decision.condition}"] = 1.0
    return {name: value for name, value in numbers.items() if abs(value) < float("inf")}


def _monitor_numbers(view: MetricView) -> dict[str, float]:
    return {
        "best": view.shown(view.best),
        "slope": view.shown(view.trend.slope) if view.trend.points > 1 else float("nan"),
        "slope_error": view.trend.error,
        "checks_since_best": float(view.since_best),
    }


def set_up_card(summary: Mapping[str, str]) -> str:
    """What is monitored, what a check is, how the schedulers are composed: a Markdown list of facts.

    Args:
        summary: what → how, in the order in which they are shown.
    """
    return "\n".join(f"- **{markdown(what)}:** {markdown(how)}" for what, how in summary.items())

"""The table of decisions where TensorBoard is not: W&B, MLflow and Comet, each in the form that it shows.

- W&B: a table ``lr_controller/decisions``, logged again at each decision with the last hundred.
- MLflow: an artifact ``lr_controller/decisions.csv``, which its page shows as a table; written over in the same way.
- Comet: one text a decision, and the row as its metadata; nothing is written twice.

In the first two, each full hundred is written once more under a number, so that what is stored grows linearly. Any
other logger has no table: it gets the numbers, as all do.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lightning_lr.engine.records import Decision
from lightning_lr.engine.text import lr_changes, markdown_cell
from lightning_lr.loggers.decision_history import DecisionHistory

PAGE = 100
"""Decisions in one table."""

HEADS = ("check", "epoch", "step", "condition", "action", "learning rate", "why")

Row = list[Any]
Writer = Callable[[Any, list[str], list[Row], int], None]
"""Logger, names of the tables, their common rows, step."""


def decision_row(decision: Decision) -> Row:
    """One decision as plain cells, in the order of :data:`HEADS`."""
    rates = lr_changes(decision.old_lr, decision.new_lr) or "none"
    place = [decision.check, decision.epoch, decision.step]
    return [*place, str(decision.condition), str(decision.action), rates, decision.reason]


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[Any]], right: int = 0) -> str:
    """A Markdown table; the first ``right`` columns are aligned to the right."""
    lines = [heads, ["---:"] * right + ["---"] * (len(heads) - right)]
    lines += [[markdown_cell(str(cell)) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def newest(history: DecisionHistory) -> list[Decision]:
    """What one table holds."""
    return history.kept[-PAGE:]


def tables_due(history: DecisionHistory) -> list[str]:
    """Names of the tables that the newest decision makes, of one content: the one to look at, and a page that is full.

    >>> from lightning_lr.loggers.decision_history import DecisionHistory
    >>> tables_due(DecisionHistory(forgotten=99)), tables_due(DecisionHistory(forgotten=200))
    (['decisions'], ['decisions', 'decisions/page_002'])
    """
    count = len(history)
    return ["decisions", *([f"decisions/page_{count // PAGE:03d}"] if count % PAGE == 0 else [])]


class DecisionTables:
    """Writes the table to every logger that has a way to show one.

    A service that takes numbers may still refuse a table (an artifact store without credentials): that is said once,
    and training goes on.

    Args:
        loggers: ``trainer.loggers``.
        prefix: what all names begin with.
        warn: called with a sentence where a table cannot be written.
    """

    def __init__(self, loggers: Sequence[Any], prefix: str, warn: Callable[[str], None]) -> None:
        self.prefix = prefix
        self.warn = warn
        self.writers = [(logger, write) for logger in loggers if (write := _writer(logger)) is not None]

    def write(self, history: DecisionHistory, step: int) -> None:
        """Show the newest decision, after it was added to the history.

        Args:
            history: the decisions so far.
            step: position on the loggers' x-axis.
        """
        rows = [decision_row(decision) for decision in newest(history)] if self.writers else []
        names = [f"{self.prefix}/{name}" for name in tables_due(history)]
        self.writers = [pair for pair in self.writers if self._written(*pair, names, rows, step)]

    def _written(self, logger: Any, write: Writer, names: list[str], rows: list[Row], step: int) -> bool:
        try:
            write(logger, names, rows, step)
        except Exception as error:  # whatever a service's client may raise
            kind = type(logger).__name__
            self.warn(f"{kind} took no table of decisions ({error}); it goes on with the numbers alone.")
            return False
        return True


def is_a(logger: Any, name: str) -> bool:
    """Whether it is that logger of either namespace; by name, since neither class is the other's parent."""
    return any(base.__name__ == name for base in type(logger).__mro__)


def _writer(logger: Any) -> Writer | None:
    return next((write for name, write in WRITERS.items() if is_a(logger, name)), None)


def _wandb(logger: Any, names: list[str], rows: list[Row], step: int) -> None:
    for name in names:
        logger.log_table(name, columns=list(HEADS), data=rows, step=step)


def _mlflow(logger: Any, names: list[str], rows: list[Row], step: int) -> None:
    for name in names:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([HEADS, *rows])
        logger.experiment.log_text(logger.run_id, text.getvalue(), f"{name}.csv")


def _comet(logger: Any, names: list[str], rows: list[Row], step: int) -> None:
    *cells, why = rows[-1]
    logger.experiment.log_text(why, step=step, metadata=dict(zip(HEADS, cells, strict=False)))


WRITERS: dict[str, Writer] = {"WandbLogger": _wandb, "MLFlowLogger": _mlflow, "CometLogger": _comet}

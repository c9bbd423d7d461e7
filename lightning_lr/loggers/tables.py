"""The table of decisions where TensorBoard is not: W&B, MLflow and Comet, each in the form that it shows.

- W&B: a table ``lr_controller/decisions``, logged again with the last hundred at each decision and at each review.
- MLflow: an artifact ``lr_controller/decisions.csv``, which its page shows as a table; written over in the same way.
- Comet: one text a decision and one a review, each with the decision's row as its metadata; nothing is written twice.

In the first two, each full hundred is written once more under a number, so that what is stored grows linearly: when the
next decision comes, since what the last one brought is known by then. Any other logger has no table: it gets the
numbers, as all do.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from lightning_lr.engine.records import Decision
from lightning_lr.engine.text import kind, lr_changes, markdown
from lightning_lr.loggers.decision_history import DecisionHistory

PAGE = 100
"""Decisions in one table."""

HEADS = ("check", "epoch", "step", "condition", "action", "learning rate", "why", "brought")

Row = list[Any]
Writer = Callable[[Any, Mapping[str, list[Row]], list[Row], int], None]
"""Logger, the rows of each table, the rows of what was decided or reviewed now, step."""


def decision_row(decision: Decision, brought: str = "") -> Row:
    """One decision as plain cells, in the order of :data:`HEADS`.

    Args:
        decision: the decision.
        brought: what it brought, once that is known.
    """
    rates = lr_changes(decision.old_lr, decision.new_lr) or "none"
    place = [decision.check, decision.epoch, decision.step]
    return [*place, str(decision.condition), str(decision.action), rates, decision.reason, brought]


def decision_list(rows: Sequence[Row]) -> str:
    r"""Rows of decisions as a Markdown list, newest first, each a few short lines.

    TensorBoard's text page sets a table's columns by its own style, which breaks words letter by letter.

    >>> print(decision_list([[3, 3, 39, "plateau", "reduce", "lr 0.1 → 0.05", "no new best", "helped"]]))
    - **epoch 3 (check 3, step 39): plateau → reduce**, lr 0.1 → 0.05
        - no new best
        - What it brought: helped
    """
    return "\n".join(line for row in reversed(rows) for line in _item(row))


def _item(row: Row) -> Iterator[str]:
    check, epoch, step, condition, action, rates, why, brought = map(str, row)
    what = condition if condition != "healthy" else ""
    done = " → ".join(filter(None, [what, kind("healthy", action)]))
    # what an annealing changes comes step by step, and is said in its sentence
    rates = "" if rates == "none" or action == "anneal" else f", {markdown(rates)}"
    yield f"- **epoch {epoch} (check {check}, step {step}): {markdown(done)}**{rates}"
    yield f"    - {markdown(why)}"
    if brought:
        yield f"    - What it brought: {markdown(brought)}"


def newest_rows(history: DecisionHistory) -> list[Row]:
    """One row for each of the newest decisions: a page, and the decision after it."""
    newest = history.kept[-PAGE - 1 :]
    return [decision_row(decision, history.brought.get(decision.check, "")) for decision in newest]


def tables_due(history: DecisionHistory) -> dict[str, list[Row]]:
    """The rows of each table that a decision or a review makes: of the one to look at, and of a page that is full.

    >>> from lightning_lr.loggers.decision_history import DecisionHistory
    >>> list(tables_due(DecisionHistory(forgotten=200))), list(tables_due(DecisionHistory(forgotten=201)))
    (['decisions'], ['decisions', 'decisions/page_002'])
    """
    rows, (full, more) = newest_rows(history), divmod(len(history), PAGE)
    page = {f"decisions/page_{full:03d}": rows[:-1]} if full and more == 1 else {}
    return {"decisions": rows[-PAGE:], **page}


class DecisionTables:
    """Writes the table to every logger that has a way to show one.

    A service that takes numbers may still refuse a table (an artifact store without credentials): one warning is
    logged, and training goes on.

    Args:
        loggers: ``trainer.loggers``.
        prefix: what all names begin with.
        warn: called with a sentence where a table cannot be written.
    """

    def __init__(self, loggers: Sequence[Any], prefix: str, warn: Callable[[str], None]) -> None:
        self.prefix = prefix
        self.warn = warn
        self.writers = [(logger, write) for logger in loggers if (write := _writer(logger)) is not None]

    def write(self, history: DecisionHistory, checks: Collection[int], step: int) -> None:
        """Show what was decided or reviewed, after it was added to the history.

        Args:
            history: the decisions so far.
            checks: those of the decisions that are new, or whose review is.
            step: position on the loggers' x-axis.
        """
        if not self.writers:
            return
        tables = {f"{self.prefix}/{name}": rows for name, rows in tables_due(history).items()}
        news = [row for row in newest_rows(history) if row[0] in checks]
        self.writers = [pair for pair in self.writers if self._written(*pair, tables, news, step)]

    def _written(self, logger: Any, write: Writer, tables: Mapping[str, list[Row]], news: list[Row], step: int) -> bool:
        try:
            write(logger, tables, news, step)
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


def _wandb(logger: Any, tables: Mapping[str, list[Row]], news: list[Row], step: int) -> None:
    for name, rows in tables.items():
        logger.log_table(name, columns=list(HEADS), data=rows, step=step)


def _mlflow(logger: Any, tables: Mapping[str, list[Row]], news: list[Row], step: int) -> None:
    for name, rows in tables.items():
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([HEADS, *rows])
        logger.experiment.log_text(logger.run_id, text.getvalue(), f"{name}.csv")


def _comet(logger: Any, tables: Mapping[str, list[Row]], news: list[Row], step: int) -> None:
    for *cells, why, brought in news:
        logger.experiment.log_text(brought or why, step=step, metadata=dict(zip(HEADS, cells, strict=False)))


WRITERS: dict[str, Writer] = {"WandbLogger": _wandb, "MLFlowLogger": _mlflow, "CometLogger": _comet}

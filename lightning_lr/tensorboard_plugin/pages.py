"""What the tab's summaries are called and what stands in them: all that the writer and the reader must agree on.

A run's checks, decisions and reviews travel in pages, each a tensor summary that holds one JSON text. TensorBoard
keeps but a sample of each tag's values, of which only the newest is sure; so whatever must not be lost is the newest
under its tag:

- ten checks share one *recent* tag, which is written again at each of them;
- after ten such tags their hundred checks go into one *page* of their own, written once, and the ten tags start anew.

So a check is written six or seven times, and a file grows linearly. Each fit writes under a session of its own, since
a resumed run goes on in the same folder: readers take what the later session says.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

PLUGIN = "lightning_lr"
"""Name of the plugin, and the mark by which the data provider finds our summaries."""

SCHEMA = 1
"""Raised whenever an older tab could no longer read a page."""

SLOT = 10
PAGE = 100

CHECKS = "checks"
DECISIONS = "decisions"
REVIEWS = "reviews"

MOST_RATES = 16
"""Learning rates in one row: the chart of a hundred parameter groups could not be read, nor its file be small."""


@dataclass(frozen=True, order=True)
class PageName:
    """Where a page belongs.

    Attributes:
        prefix: what all tags of a controller begin with.
        kind: checks, decisions or reviews.
        session: start of the fit in milliseconds; later ones are larger.
        place: ``p0000100`` for a page (number of its first row), ``r3`` for a recent tag.
    """

    prefix: str
    kind: str
    session: int
    place: str

    @property
    def tag(self) -> str:
        """The summary's tag.

        >>> PageName("lr_controller", "checks", 255, "r3").tag
        'lr_controller/tab/checks/ff/r3'
        """
        return f"{self.prefix}/tab/{self.kind}/{self.session:x}/{self.place}"

    @classmethod
    def parse(cls, tag: str) -> PageName | None:
        """Back from the tag; ``None`` where it is not one of ours.

        >>> PageName.parse("lr_controller/a/tab/checks/ff/r3")
        PageName(prefix='lr_controller/a', kind='checks', session=255, place='r3')
        >>> PageName.parse("lr_controller/decisions") is None
        True
        """
        prefix, found, rest = tag.rpartition("/tab/")
        parts = rest.split("/")
        if not found or len(parts) != 3 or parts[0] not in (CHECKS, DECISIONS, REVIEWS):
            return None
        try:
            return cls(prefix, parts[0], int(parts[1], 16), parts[2])
        except ValueError:
            return None


Row = TypeVar("Row")


class Paging(Generic[Row]):
    """Which pages a new row makes.

    >>> paging = Paging()
    >>> [[(place, len(rows)) for place, rows in paging.add(number)] for number in range(12)][-2:]
    [[('r1', 1)], [('r1', 2)]]
    >>> [[(place, len(rows)) for place, rows in paging.add(number)] for number in range(12, 101)][-2:]
    [[('r9', 10), ('p0000000', 100)], [('r0', 1)]]
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.written = 0

    def add(self, row: Row) -> list[tuple[str, list[Row]]]:
        """The place and the rows of each summary that is due now."""
        self.rows.append(row)
        slot = (len(self.rows) - 1) // SLOT
        due = [(f"r{slot}", self.rows[slot * SLOT :])]
        if len(self.rows) == PAGE:
            due.append((f"p{self.written:07d}", self.rows))
            self.written += PAGE
            self.rows = []
        return due


@dataclass(frozen=True)
class CheckRow:
    """What the chart needs of one check.

    Attributes:
        check: its number.
        epoch: epoch, from 0.
        step: position on the loggers' x-axis.
        train: value of the training side; NaN where there was none.
        metrics: monitor → value, as logged.
        before: group → learning rate until this check.
        rates: group → learning rate from here on.
        best: check of the first monitor's best so far; −1 before the first.
        probabilities: condition → how probable it is; what cannot be told yet is left out.
    """

    check: int
    epoch: int
    step: int
    train: float
    metrics: Mapping[str, float]
    before: Mapping[str, float]
    rates: Mapping[str, float]
    best: int = -1
    probabilities: Mapping[str, float] = field(default_factory=dict)


def checks_page(rows: Sequence[CheckRow], train: str, colors: Mapping[str, str] | None = None) -> str:
    """The text of a page of checks: names once, then a list of numbers for each check.

    Args:
        rows: at least one, in order.
        train: name of the training side.
        colors: condition → color, for the probabilities.

    >>> rates = {"lr-SGD": 0.1}
    >>> checks_page([CheckRow(0, 0, 9, 0.5, {"val_loss": 1 / 3}, rates, rates)], "train_loss")  # doctest: +ELLIPSIS
    '{"schema":1,"train":"train_loss","monitors":["val_loss"],"rates":["lr-SGD"],...,"rows":[[0,0,9,0.5,0.333333,0.1]]}'
    """
    monitors = list(dict.fromkeys(name for row in rows for name in row.metrics))
    rates = list(dict.fromkeys(name for row in rows for name in row.rates))
    shown = rates[:MOST_RATES]
    stated = list(dict.fromkeys(name for row in rows for name in row.probabilities))
    return _dump(
        {
            "train": train,
            "monitors": monitors,
            "rates": shown,
            "rates_left_out": len(rates) - len(shown),
            "before": [_short(rows[0].before.get(name)) for name in shown],
            "best": rows[-1].best,
            "probabilities": {name: (colors or {}).get(name, "") for name in stated},
            "rows": [
                [row.check, row.epoch, row.step, _short(row.train)]
                + [_short(row.metrics.get(name)) for name in monitors]
                + [_short(row.rates.get(name)) for name in shown]
                + [_short(row.probabilities.get(name)) for name in stated]
                for row in rows
            ],
        }
    )


def decisions_page(decisions: Sequence[Mapping[str, Any]]) -> str:
    """The text of a page of decisions, each as the journal writes it."""
    return _dump({"decisions": [_shortened(decision) for decision in decisions]})


def reviews_page(reviews: Sequence[Mapping[str, Any]]) -> str:
    """The text of a page of reviews. Each comes some checks after its decision, if need be in another session.

    Args:
        reviews: ``check`` of the decision, ``at`` which check it was known, and what the decision ``brought``.
    """
    return _dump({"reviews": list(reviews)})


class PageError(ValueError):
    """A page that cannot be read; the message says why."""


def read_page(text: str) -> dict[str, Any]:
    """A page as a plain dictionary.

    Raises:
        PageError: where it is cut off, of a later schema, or no page at all.

    >>> read_page('{"schema": 99}')
    Traceback (most recent call last):
    lightning_lr.tensorboard_plugin.pages.PageError: written by a later lightning_lr (schema 99, this tab reads 1)
    """
    try:
        page = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PageError("not JSON") from error
    if not isinstance(page, dict) or not isinstance(page.get("schema"), int):
        raise PageError("no page of lightning_lr")
    if page["schema"] > SCHEMA:
        raise PageError(f"written by a later lightning_lr (schema {page['schema']}, this tab reads {SCHEMA})")
    return page


def _dump(page: Mapping[str, Any]) -> str:
    return json.dumps({"schema": SCHEMA, **page}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _short(value: float | None) -> float | str | None:
    """Six digits, which no chart can tell from the rest; ``None`` for NaN, a word for an infinity."""
    if value is None or math.isnan(value):
        return None
    return float(f"{value:.6g}") if math.isfinite(value) else str(value)


def _shortened(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _shortened(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shortened(item) for item in value]
    return _short(value) if isinstance(value, float) else value

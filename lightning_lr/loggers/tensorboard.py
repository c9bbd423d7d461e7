"""A run's checks and decisions as summaries for the tab "Learning rate" of TensorBoard.

Nothing of it shows in TensorBoard's own tabs, and without the tab it does no harm: about half a kilobyte a check.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lightning_lr.engine.detectors import look_of
from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.history.run_history import TRAIN_LOSS
from lightning_lr.engine.journal import plain
from lightning_lr.engine.records import JournalEntry
from lightning_lr.engine.review import is_reviewed
from lightning_lr.engine.text import kind
from lightning_lr.engine.vocabulary import Action, Condition, Event, Verdict
from lightning_lr.tensorboard_plugin.pages import (
    CHECKS,
    DECISIONS,
    PLUGIN,
    REVIEWS,
    CheckRow,
    PageName,
    Paging,
    checks_page,
    decisions_page,
    reviews_page,
)


class TabData:
    """Writes one fit's pages.

    Args:
        prefix: what all tags begin with.
        detectors: the user's own, which color their decisions.
    """

    def __init__(self, prefix: str, detectors: Sequence[Detector] = ()) -> None:
        self.prefix = prefix
        self.detectors = detectors
        self.session = time.time_ns() // 1_000_000
        self.checks: Paging[CheckRow] = Paging()
        self.decisions: Paging[dict[str, Any]] = Paging()
        self.reviews: Paging[dict[str, Any]] = Paging()

    def write(self, entry: JournalEntry, number: int, experiments: Sequence[Any]) -> None:
        """The pages that one check makes.

        Args:
            entry: the check.
            number: how many decisions there are, this one included.
            experiments: the ``SummaryWriter`` of each TensorBoard logger.
        """
        train = entry.views.train.name if entry.views.train is not None else TRAIN_LOSS
        row = check_row(entry)
        pages = [(CHECKS, place, checks_page(rows, train, self._colors(rows))) for place, rows in self.checks.add(row)]
        if entry.decision.action is not Action.HOLD:
            due = self.decisions.add(decision_record(entry, number, self.detectors))
            pages += [(DECISIONS, place, decisions_page(decisions)) for place, decisions in due]
        if entry.review is not None:
            known = {"check": entry.review.check, "at": entry.reading.check, "brought": entry.review.brought}
            pages += [(REVIEWS, place, reviews_page(reviews)) for place, reviews in self.reviews.add(known)]
        for page, place, text in pages:
            summary = _summary(PageName(self.prefix, page, self.session, place).tag, text)
            for experiment in experiments:
                # The check's number, not the step: `purge_step` then never takes a page whose first rows still hold.
                experiment.file_writer.add_summary(summary, entry.reading.check)

    def _colors(self, rows: Iterable[CheckRow]) -> dict[str, str]:
        """Of every probability on a page: the newest check may state none, as it cannot tell."""
        return {name: look_of(Condition(name), self.detectors)[0] for row in rows for name in row.probabilities}


def check_row(entry: JournalEntry) -> CheckRow:
    """What the chart needs of one check."""
    return CheckRow(
        check=entry.reading.check,
        epoch=entry.reading.epoch,
        step=entry.reading.step,
        train=_train_value(entry),
        metrics=entry.reading.metrics,
        before={name: rate.applied for name, rate in entry.reading.rates.items()},
        rates={name: rate.applied for name, rate in entry.adjustment.rates.items()},
        best=entry.views.monitors[0].best_check if entry.views.monitors else -1,
        probabilities=_probabilities(entry),
    )


def _probabilities(entry: JournalEntry) -> dict[str, float]:
    stated: Mapping[str, float | None] = getattr(entry.decision, "probabilities", {})
    return {name: value for name, value in stated.items() if value is not None}


def _train_value(entry: JournalEntry) -> float:
    """The training side as the detectors saw it; between validations, what there was of the training loss."""
    view, window = entry.views.train, entry.reading.train
    if entry.event is Event.TRAIN_CHECK and window is not None and (view is None or view.name == TRAIN_LOSS):
        return window.mean
    return view.shown(view.value) if view is not None and view.fresh else float("nan")


def decision_record(entry: JournalEntry, number: int, detectors: Sequence[Detector]) -> dict[str, Any]:
    """A decision as the journal writes it: with its number, its look, notes, and whether a review is to follow.

    And the series that it was found on, where its mark belongs.
    """
    record: dict[str, Any] = plain(entry.decision)
    what = kind(entry.decision.condition, entry.decision.action)
    color, mark = look_of(entry.decision.condition, detectors, what)
    found = (f for f in entry.diagnosis.findings if f.condition is entry.decision.condition)
    on = next((finding.monitor for finding in found if finding.verdict is Verdict.YES), None)
    look = {"kind": what, "color": color, "mark": mark, "on": on}
    return {"number": number, **record, **look, "notes": list(entry.adjustment.notes), "reviewed": is_reviewed(entry)}


def _summary(tag: str, text: str) -> Any:
    """A tensor summary of one text, under the plugin's name."""
    from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=PLUGIN), data_class=DATA_CLASS_TENSOR)
    tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode()], tensor_shape=TensorShapeProto())
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])

"""What the engine remembers of a search: whether its rate still has to be confirmed, and what became of it since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lightning_lr.engine import text
from lightning_lr.engine.lr_search.guard import Confirmation, was_moved
from lightning_lr.engine.records import Decision, MetricView, SearchResult
from lightning_lr.engine.vocabulary import Verdict


@dataclass
class SearchWatch:
    """From the end of a search on; plain values, saved whole.

    Attributes:
        checked: whether the rate was checked and may be annealed, and was not taken back since; ``None`` before a
            search, and without one.
        waits: whether a rate that was moved has still to be confirmed.
        scale: product of the decisions since the search began, with its own.
        tries: how often the run was wrecked.
        untrained: metric → value before training.
        differences: of the first monitor, oriented, at the checks since.
        confirms: whether this check has confirmed the rate.
    """

    checked: bool | None = None
    waits: bool = False
    scale: float = 1.0
    tries: int = 0
    untrained: dict[str, float] = field(default_factory=dict)
    differences: list[float] = field(default_factory=list)
    confirms: bool = False

    @classmethod
    def begun(cls, result: SearchResult, decision: Decision, untrained: Mapping[str, float]) -> SearchWatch:
        """After the decision on the first rate."""
        return cls(result.anneals, was_moved(decision.factor), decision.factor, untrained=dict(untrained))

    def look(self, monitor: MetricView, progress: float | None) -> tuple[Verdict, str]:
        """Take note of one check: whether the rate is confirmed by it or refuted, and the sentence for that.

        Args:
            monitor: the first one.
            progress: share of the budget that is used; ``None`` if that is unknown.
        """
        self.confirms = False
        if not self.waits or not monitor.fresh:
            return Verdict.UNDECIDED, ""
        if monitor.name not in self.untrained:
            self.waits = False  # there is nothing to compare with
            return Verdict.UNDECIDED, ""
        untrained = monitor.sign * self.untrained[monitor.name]
        answer = Confirmation(untrained, self.differences).look(monitor.value, progress)
        if answer is Verdict.UNDECIDED:
            return answer, ""
        self.waits, self.confirms = False, answer is Verdict.YES
        said = text.not_confirmed if answer is Verdict.NO else text.confirmed
        return answer, said(monitor.name, monitor.shown(monitor.value), monitor.shown(untrained))

    def decided(self, decision: Decision, taken_back: bool = False) -> None:
        """Take note of a decision."""
        self.scale *= decision.factor
        if decision.snapshot_check is not None:
            self.differences = []  # of weights that are gone
        if taken_back:
            self.checked, self.scale = False, 1.0

    def to_plain(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_plain(cls, state: Mapping[str, Any]) -> SearchWatch:
        """From :meth:`to_plain`."""
        copies = {"untrained": dict(state["untrained"]), "differences": list(state["differences"])}
        return cls(**{**state, **copies})

"""Readings → engine → decisions: a recorded run decided once more, with its own settings or with others.

With its own settings a journal gives its own decisions again, sentence for sentence. With others, rates and snapshot
follow from the replay's own decisions, but the metrics stay those of the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lightning_lr.engine.bounds import bounded
from lightning_lr.engine.decisions import Proposal, hold
from lightning_lr.engine.detectors.base import RecordedDetector
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.journal import JournalLine
from lightning_lr.engine.records import Decision, Rate, Reading, SearchResult
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition, Event

UNKNOWN = (
    "What replay cannot know: how the metrics would have changed. From the first decision that differs from what "
    "really happened, every later one rests on metrics of a run that went another way."
)
"""Printed under every replay with other settings."""


def not_found(settings: Settings) -> list[str]:
    """Which conditions a replay does not find, since a journal names their detectors but does not hold them."""
    return [
        f"the detector {one.name} is not available here: a replay does not find {one.condition}"
        for one in settings.detectors
        if isinstance(one, RecordedDetector)
    ]


@dataclass(frozen=True)
class Replayed:
    """One check: what was recorded, and what each of the settings decides.

    Attributes:
        line: as it was recorded.
        decisions: one for each of the settings, in their order.
    """

    line: JournalLine
    decisions: tuple[Decision, ...]

    @property
    def acted(self) -> bool:
        """Whether anything but holding was decided, then or now."""
        return any(decision.action is not Action.HOLD for decision in (self.line.decision, *self.decisions))


class Replayer:
    """One engine over the readings of a run.

    Args:
        settings: monitors, policy and bounds.
        as_recorded: take rates and snapshots from the record: the run was made with these very settings. Else they
            follow from the replay's own decisions.
    """

    def __init__(self, settings: Settings, as_recorded: bool = True) -> None:
        self.settings = settings
        self.as_recorded = as_recorded
        self.engine = DecisionEngine(settings)
        self._scale = 1.0
        self._snapshot = -1
        self._stopped: int | None = None

    def step(self, reading: Reading, event: Event = Event.CHECK, search: SearchResult | None = None) -> Decision:
        """Decide at one event."""
        if self.as_recorded:  # a stop ended the recorded run too
            return self.engine.handle(event, reading, search)
        if self._stopped is not None:
            return _passed(reading, f"training had been stopped at check {self._stopped}")
        reading, policy = self._at_own_rates(reading), self.settings.policy
        searches, anneals = event is Event.SEARCH, event in (Event.ANNEAL, Event.EARLY_ANNEAL)
        if (searches and not policy.searches) or (anneals and not policy.anneals):
            what = "searches" if searches else "anneals"
            return _passed(reading, f"the run {what} here, policy {policy.name} does not")
        decision = self.engine.handle(event, reading, search)
        self._stopped = reading.check if decision.action is Action.STOP else None
        if self.engine.is_best:
            self._snapshot = reading.check
        self._scale *= decision.factor
        return decision

    def change(self, settings: Settings) -> None:
        """Go on as the run did when it was resumed with other arguments; a replay with settings of its own stays."""
        if self.as_recorded:
            state, self.settings = self.engine.state_dict(), settings
            self.engine = DecisionEngine(settings)
            self.engine.load_state_dict(state)

    def _at_own_rates(self, reading: Reading) -> Reading:
        rates = {
            name: Rate(r.scheduled, self._scale, bounded(r.scheduled, self._scale, *self.settings.bounds(group)))
            for group, (name, r) in enumerate(reading.rates.items())
        }
        return reading.at_rates(rates, self._snapshot)


def _passed(reading: Reading, reason: str) -> Decision:
    """The decision at a check at which there is nothing to decide."""
    return hold(Proposal(reading, Condition.HEALTHY, "", reason))


def replay(lines: Iterable[JournalLine], replayers: Sequence[Replayer]) -> Iterator[Replayed]:
    """Decide a run once more, check by check; nothing is kept but the state of the engines.

    >>> from lightning_lr.offline.curves import overfitting
    >>> from lightning_lr.offline.demo import decided
    >>> lines = decided(overfitting(seed=1), Settings())
    >>> replayers = [Replayer(Settings(), as_recorded=False)]
    >>> all(str(r.decisions[0]) == str(r.line.decision) for r in replay(lines, replayers))
    True
    """
    for line in lines:
        if line.settings is not None:
            for replayer in replayers:
                replayer.change(line.settings)
        yield Replayed(line, tuple(replayer.step(line.reading, line.event, line.search) for replayer in replayers))

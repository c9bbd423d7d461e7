"""Readings → controller → decisions: a recorded run decided once more, with its own settings or with others.

With its own settings a journal gives its own decisions again, sentence for sentence. With others, the controller's
rates and its snapshot are followed as the live side would have followed them, but the metrics stay those of the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lightning_lr.engine.bounds import bounded
from lightning_lr.engine.decisions import Proposal, hold
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.journal import JournalLine
from lightning_lr.engine.records import Decision, Rate, Reading, Trial
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition, Event

UNKNOWN = (
    "What replay cannot know: how the metrics would have changed. From the first decision that differs from what "
    "really happened, every later one rests on metrics of a run that went another way."
)
"""Said under every replay that differs."""


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
    """Decides one run once more.

    Args:
        settings: what to watch and how to answer.
        as_recorded: take rates and snapshots from the record: the run was made with these very settings. Else they
            follow from the replay's own decisions.
    """

    def __init__(self, settings: Settings, as_recorded: bool = True) -> None:
        self.settings = settings
        self.as_recorded = as_recorded
        self.controller = DecisionEngine(settings)
        self._scale = 1.0
        self._snapshot = -1
        self._stopped: int | None = None

    def step(self, reading: Reading, event: Event = Event.CHECK, trial: Trial | None = None) -> Decision:
        """Decide at one event."""
        if self.as_recorded:  # a stop ended the recorded run too
            return self.controller.replay(event, reading, trial)
        if self._stopped is not None:
            return _passed(reading, f"training had been stopped at check {self._stopped}")
        policy = self.settings.policy
        searches, anneals = event is Event.SEARCH, event in (Event.ANNEAL, Event.EARLY_ANNEAL)
        if (searches and not policy.searches) or (anneals and not policy.anneals):
            what = "explores" if searches else "anneals"
            return _passed(self._own(reading), f"the run {what} here, policy {policy.name} does not")
        decision = self.controller.replay(event, self._own(reading), trial)
        self._stopped = reading.check if decision.action is Action.STOP else None
        if self.controller.is_best:
            self._snapshot = reading.check
        self._scale *= decision.factor
        return decision

    def change(self, settings: Settings) -> None:
        """Go on as the run did when it was resumed with other arguments; a replay with settings of its own stays."""
        if self.as_recorded:
            state, self.settings = self.controller.state_dict(), settings
            self.controller = DecisionEngine(settings)
            self.controller.load_state_dict(state)

    def _own(self, reading: Reading) -> Reading:
        rates = {
            name: Rate(r.scheduled, self._scale, bounded(r.scheduled, self._scale, *self.settings.bounds(group)))
            for group, (name, r) in enumerate(reading.rates.items())
        }
        return reading.at_rates(rates, self._snapshot)


def _passed(reading: Reading, why: str) -> Decision:
    """The decision at a check at which there is nothing to decide."""
    return hold(Proposal(reading, Condition.HEALTHY, "", why))


def replay(lines: Iterable[JournalLine], replayers: Sequence[Replayer]) -> Iterator[Replayed]:
    """Decide a run once more, check by check; nothing is kept but what the controllers remember.

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
        yield Replayed(line, tuple(replayer.step(line.reading, line.event, line.trial) for replayer in replayers))


def differences(lines: Iterable[JournalLine], settings: Settings) -> list[str]:
    """Where a journal's decisions are not those of the core today, one sentence a check; empty: the same."""
    found = []
    for replayed in replay(lines, [Replayer(settings)]):
        recorded, (now,) = replayed.line.decision, replayed.decisions
        if recorded != now and repr(recorded) != repr(now):  # NaN in the evidence equals no NaN
            found.append(
                f"recorded: {recorded}\nreplayed: {now}" if str(recorded) != str(now) else f"{recorded!r}\n{now!r}"
            )
    return found

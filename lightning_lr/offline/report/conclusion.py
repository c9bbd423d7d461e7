"""What became of a run, as a colleague would say who looks at its curve: in one sentence, or two.

The whole curve is known here, so more can be said than at any check while it ran, and when it began is plain: the best
check. What the detectors found on the way counts as well, and how probable a stall is at the end: a run that is more
likely to go on is not called flat. If the values cannot tell, no kind is named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from statistics import NormalDist

from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.history.statistics import mean, recent_noise, trend
from lightning_lr.engine.policies import Policy
from lightning_lr.engine.records import Decision
from lightning_lr.engine.text import percent, plural
from lightning_lr.engine.vocabulary import Action, Condition, Event, Verdict
from lightning_lr.offline.report.run_summary import RunSummary

RECENT = 3
"""Checks at the end within which a best makes a run one that still improves."""

FEWEST = 5
"""Checks after the best, or of a flat stretch, that say anything; fewer are luck."""

LASTING = 0.2
"""Part of the run that a flat stretch must be."""

MOST_STARTS = 200
"""Positions that are tried as the start of a flat stretch."""

LEVEL = (0.02, 0.05)
"""What is left to gain on a flat stretch, at most: as a share of the whole gain, and of the best value. The smaller
counts, but noise always does."""

LOST = (0.25, 0.1)
"""Rise since the best that counts as a loss: as a share of the whole gain, or of the best value. The half of a per
cent that a validation loss drifts on a plateau is none."""

BEYOND = 2.0
"""Standard errors by which that rise must exceed what the luck of the best check explains."""

TRAINED = 0.02
"""Share of its gain that the training loss must still have gained since: else the run only stands still."""


EVEN = 0.5
"""Probability from which on something is more likely than not."""


class Kind(str, Enum):
    """What became of a run."""

    OVERFITTING = "overfitting"
    DIVERGED = "diverged"
    NON_FINITE = "non_finite"
    ROSE = "rose"
    IMPROVING = "improving"
    FLAT = "flat"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class Conclusion:
    """What became of a run.

    Attributes:
        kind: in one word.
        since: position of the check from which on; of the best one for an unclear run.
        sentences: what a colleague would say.
        chances: condition → how probable it is at the last check; without those that cannot be told.
    """

    kind: Kind
    since: int
    sentences: tuple[str, ...]
    chances: Mapping[str, float] = field(default_factory=dict)


def found_by_detectors(summary: RunSummary) -> list[Decision]:
    """What the detectors find at each check, in a run in which they change nothing."""
    engine = DecisionEngine(replace(summary.settings, policy=Policy("watches only")))
    return [engine.handle(Event.CHECK, line.reading) for line in summary.lines]


def conclusion_of(summary: RunSummary, found: Sequence[Decision]) -> Conclusion:
    """What became of a run.

    Args:
        summary: its checks.
        found: at each check; as recorded in a journal, else :func:`found_by_detectors`.
    """
    stated = next((one.probabilities for one in reversed(found) if one.probabilities), {})
    chances = {name: value for name, value in stated.items() if value is not None}
    said = _Curve(summary, [one.condition for one in found], chances.get(Condition.PLATEAU)).conclusion()
    return replace(said, sentences=(*said.sentences, *_likely(said.kind, chances)), chances=chances)


def _likely(kind: Kind, chances: Mapping[str, float]) -> list[str]:
    """How probable a stall is at the end; also how probable overfitting is, of a run that overfits."""
    if Condition.PLATEAU not in chances or kind in (Kind.NON_FINITE, Kind.DIVERGED):
        return []
    overfits = chances.get(Condition.OVERFITTING, 0.0) if kind is Kind.OVERFITTING else 0.0
    also = f", overfitting {percent(overfits)}" if overfits >= EVEN else ""
    return [f"At the last check a stall is {percent(chances[Condition.PLATEAU])} likely{also}."]


class _Curve:
    """The finite values of the monitor, and what they tell."""

    def __init__(self, summary: RunSummary, conditions: Sequence[Condition], stall: float | None) -> None:
        self.summary = summary
        self.name = summary.name
        self.conditions = conditions
        self.stall = stall
        self.places = [place for place, value in enumerate(summary.values) if math.isfinite(value)]
        self.values = summary.finite
        self.train = [line.reading.train.mean if line.reading.train else math.nan for line in summary.lines]
        if not self.values:
            return
        self.best = self.values.index(min(self.values))
        self.start = self.places[self.best]
        self.gain = self.values[0] - self.values[self.best]
        noise = recent_noise(self.values)
        self.noise = 0.0 if math.isnan(noise) else noise
        epochs = [summary.lines[place].reading.epoch for place in self.places]
        self.unit = "epoch" if len(set(epochs)) == len(epochs) else "check"

    def conclusion(self) -> Conclusion:
        """The first of these that applies."""
        if not self.values:
            said = f"{self.name} was never finite: look at the data and the loss before the learning rate."
            return Conclusion(Kind.NON_FINITE, 0, (said,))
        asked = (
            self._non_finite,
            self._overfitting,
            self._diverged,
            self._rose,
            self._few,
            self._improving,
            self._flat,
        )
        return next((found for ask in asked if (found := ask())), self._unclear())

    def _non_finite(self) -> Conclusion | None:
        last = self.places[-1]
        if len(self.summary.values) - 1 - last < RECENT:
            return None
        return Conclusion(Kind.NON_FINITE, last, (f"{self.name} was not finite any more after {self._at(last)}.",))

    def _overfitting(self) -> Conclusion | None:
        # The detectors name a rise overfitting without a training loss too; here the next question is the better one.
        found = self._trained() and self._was_found(Condition.OVERFITTING)
        answered = any(
            line.decision.condition is Condition.OVERFITTING and line.decision.action is not Action.HOLD
            for line in self.summary.lines[self.start + 1 :]
        )
        # Where the best state was put back, the rise does not show at the end.
        if not answered and not (self._rise() and (found or self._training_gained())):
            return None
        lost = f"{self.name} began to overfit about {self._at(self.start)}; {self._brought_nothing(self.best)}."
        more = "More data or regularization will bring more than another rate."
        return Conclusion(Kind.OVERFITTING, self.start, (lost, more))

    def _diverged(self) -> Conclusion | None:
        """The end is worse than the start, beyond noise; of the training loss too, if it is known."""
        if len(self.values) - 1 - self.best < RECENT:
            return None
        last, known = mean(self.values[-RECENT:]), self._trained()
        trained = len(known) < 2 or mean(known[-RECENT:]) > known[0]
        beyond = max(3 * self.noise, LOST[0] * self.gain, 1e-3 * abs(self.values[0]))
        if not trained or last <= self.values[0] + beyond:
            return None
        worse = f"{self.name} diverged after {self._at(self.start)}: it ends worse than it began."
        return Conclusion(Kind.DIVERGED, self.start, (worse,))

    def _rose(self) -> Conclusion | None:
        if not self._rise() or self._trained():
            return None
        rose = f"{self.name} rose after {self._at(self.start)}; {self._brought_nothing(self.best)}."
        unknown = "Whether it overfits cannot be told without a training loss."
        return Conclusion(Kind.ROSE, self.start, (rose, unknown))

    def _few(self) -> Conclusion | None:
        count = len(self.values)
        if count >= FEWEST:
            return None
        few = f"{count} check{plural(count)} {'are' if count > 1 else 'is'} too few to tell more"
        return Conclusion(Kind.UNCLEAR, self.start, (f"{few}; the best {self._best()}.",))

    def _improving(self) -> Conclusion | None:
        before, delta = min(self.values[:-RECENT]), self.summary.settings.policy.rel_delta
        if min(self.values[-RECENT:]) >= before - delta * abs(before):
            return None
        newest = self.values[-max(FEWEST, len(self.values) // 2) :]
        if (self.stall or 0.0) >= EVEN or trend(newest, self.noise).improving is not Verdict.YES:
            noisy = f"The best {self._best()}, close to the end, but the values vary too much to tell a trend."
            return Conclusion(Kind.UNCLEAR, self.start, (noisy,))
        still = f"{self.name} was still improving at the end (new best in the last {RECENT} checks)"
        return Conclusion(Kind.IMPROVING, self.start, (f"{still}: more epochs may bring more.",))

    def _flat(self) -> Conclusion | None:
        if self.stall is not None and self.stall < EVEN:
            return None
        count, first = len(self.values), self._level()
        for start in range(first, count - max(FEWEST, math.ceil(LASTING * count)), 1 + (count - first) // MOST_STARTS):
            if trend(self.values[start:], self.noise).improving is not Verdict.YES:
                place = self.places[start]
                since = (
                    f"{self.name} has been flat since {self._at(place)}; {self._brought_nothing(start)} beyond noise."
                )
                return Conclusion(Kind.FLAT, place, (since,))
        return None

    def _unclear(self) -> Conclusion:
        ago = len(self.values) - 1 - self.best
        said = f"The best {self._best()}, {ago} check{plural(ago)} before the end: neither flat nor surely improving."
        return Conclusion(Kind.UNCLEAR, self.start, (said,))

    def _best(self) -> str:
        return f"{self.name}, {self.summary.shown(self.values[self.best]):.4g}, came in {self._at(self.start)}"

    def _at(self, place: int) -> str:
        reading = self.summary.lines[place].reading
        return f"epoch {reading.epoch}" if self.unit == "epoch" else f"check {reading.check}"

    def _brought_nothing(self, since: int) -> str:
        count = len(self.values)
        return f"{count - 1 - since} of {count} {self.unit}{plural(count)} brought nothing"

    def _was_found(self, condition: Condition) -> bool:
        """Whether the detectors said so at two checks or more after the best."""
        return sum(found is condition for found in self.conditions[self.start + 1 :]) >= 2

    def _trained(self) -> list[float]:
        return [value for value in self.train if math.isfinite(value)]

    def _late(self) -> list[float]:
        """The newest third of the values since the best."""
        after = self.values[self.best + 1 :]
        return after[-max(RECENT, len(after) // 3) :]

    def _rise(self) -> float:
        """By how much the end lies above the best, beyond what luck explains; 0 if that is no loss."""
        if len(self.values) - 1 - self.best < FEWEST:
            return 0.0
        late, best = self._late(), self.values[self.best]
        rise = mean(late) - best
        # The best of many noisy values lies below their level by luck alone.
        lucky = self.noise * NormalDist().inv_cdf(1 - 1 / (len(self.values) - self._level() + 1))
        beyond = rise - lucky > BEYOND * self.noise / math.sqrt(len(late))
        return rise if beyond and (rise >= LOST[0] * self.gain or rise >= LOST[1] * abs(best)) else 0.0

    def _training_gained(self) -> bool:
        near, known = self.train[max(0, self.start - 1) : self.start + 2], self._trained()
        then, now = ([v for v in part if math.isfinite(v)] for part in (near, self.train[-len(self._late()) :]))
        return bool(then and now) and mean(then) - mean(now) > TRAINED * (known[0] - min(known))

    def _level(self) -> int:
        """Position of the first value that is as good as the best but for noise."""
        best = self.values[self.best]
        tolerance = max(self.noise, min(LEVEL[0] * self.gain, LEVEL[1] * abs(best)))
        return next(place for place, value in enumerate(self.values) if value <= best + tolerance)

"""The records, in the order in which the data flows.

Reading → MetricView → Finding → Diagnosis → Decision → Adjustment → JournalEntry

Each is frozen, each prints as one sentence, and each stage of the package is a function from one to the next.
"Oriented" means: multiplied by −1 where ``mode="max"``, so that lower is better in all arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property

from lightning_lr.engine.history.metric_names import is_discrete
from lightning_lr.engine.history.stall import FEWEST, QUIET, Stall, stall
from lightning_lr.engine.history.statistics import Trend, recent_noise, recent_trend
from lightning_lr.engine.text import brought, plural, reviewed, search_seen
from lightning_lr.engine.vocabulary import Action, Condition, Event, Verdict


@dataclass(frozen=True)
class Rate:
    """The learning rate of one parameter group.

    Attributes:
        scheduled: the rate of the user's own schedule.
        scale: the product of all adjustments so far, 1.0 at the start.
        applied: scheduled × scale within the bounds: what the next step uses.
    """

    scheduled: float
    scale: float
    applied: float

    def __str__(self) -> str:
        return f"{self.applied:.4g} (schedule {self.scheduled:.4g} × {self.scale:.4g})"


ENOUGH_SAMPLES = 8
"""Losses of single steps whose mean is the level of a window: its error is then a third of the noise of a batch."""


@dataclass(frozen=True)
class TrainWindow:
    """The training loss of the steps since the previous check, averaged over the ranks.

    Attributes:
        mean: mean loss of all steps whose loss was finite; NaN where there was none.
        blocks: means of successive equal runs of steps, oldest first (the last run may be shorter).
            Tests look at these, because the losses of single steps are too correlated.
        steps: how many steps the window holds.
        non_finite: how many of them had a loss that was not finite, on any rank.
        ends_non_finite: whether the last block has no finite loss at all: the weights are probably lost.
        sampled: how many losses of single steps it rests on, in a log that does not hold all of them; else ``None``.
    """

    mean: float
    blocks: tuple[float, ...]
    steps: int
    non_finite: int = 0
    ends_non_finite: bool = False
    sampled: int | None = None

    @property
    def is_level(self) -> bool:
        """Whether it shows the level of the training loss: one batch in fifty does not."""
        return self.sampled is None or self.sampled >= min(ENOUGH_SAMPLES, self.steps / 2)

    def __str__(self) -> str:
        lost = f", {self.non_finite} not finite" if self.non_finite else ""
        return f"training loss {self.mean:.6g} over {self.steps} steps{lost}"


def low_enough(horizon: int) -> float:
    """By how much a rate may lie below the estimate and still be annealed: the longer the run, the less it loses by it.

    What is too slow loses by a rate that falls, and the more, the shorter the run is.

    >>> low_enough(80), low_enough(1500)
    (2.0, 10.0)
    """
    return max(2.0, horizon / 150)


@dataclass(frozen=True)
class SearchResult:
    """What the search for the first learning rate has read along the first update, and what that comes to.

    Attributes:
        readings: multiple of the first update → loss of each fixed batch there, mean over the ranks; infinite where it
            was not finite. 0 is the state before training.
        factor: by which rate and first update are multiplied; 1 if the rate stays.
        estimate: the best rate, in units of the one given; ``None`` if the readings do not tell.
        checked: whether the best rate lies between two readings.
        gain: by how much the lowest reading lies below the one before training.
        spread: standard deviation of the loss of one batch before training; 0 with one batch.
        horizon: optimizer steps that the rate was found for.
        cost: what the readings cost, in optimizer steps; a forward pass counts as a third of one.
        against: why nothing could be read; empty if it could.
    """

    readings: Mapping[float, tuple[float, ...]] = field(default_factory=dict)
    factor: float = 1.0
    estimate: float | None = None
    checked: bool = False
    gain: float = 0.0
    spread: float = 0.0
    horizon: int = 0
    cost: float = 0.0
    against: str = ""

    @property
    def before(self) -> float:
        """Mean loss of the fixed batches before training; NaN if it was not read."""
        return self.mean(0.0) if 0.0 in self.readings else math.nan

    def mean(self, multiple: float) -> float:
        """Mean loss of the fixed batches at a multiple of the first update."""
        losses = self.readings[multiple]
        return sum(losses) / len(losses)

    @property
    def anneals(self) -> bool:
        """Whether the rate that it leads to may be annealed: one that stays too low would lose by it."""
        if not self.checked or self.estimate is None:
            return False
        return self.factor != 1 or low_enough(self.horizon) >= self.estimate

    def __str__(self) -> str:
        seen = self.against, len(self.readings), self.before, self.estimate, self.horizon, self.checked, self.cost
        return search_seen(*seen)


@dataclass(frozen=True)
class Reading:
    """All that one check knows about the run, as plain numbers, the same on every rank.

    Attributes:
        check: number of this check, from 0.
        epoch: epoch that the values belong to, from 0.
        step: position on the loggers' x-axis: optimizer steps so far.
        metrics: monitor → value, fresh ones only, as they were logged (not oriented); the loss beside a monitor too.
        train: the training loss since the previous check, where the loop reported one.
        train_metric: value of ``train_monitor`` for the same epoch as ``metrics``, where it is named.
        rates: parameter group → learning rate, under the names that ``LearningRateMonitor`` uses.
        snapshot_check: check at which the state that could be restored was taken; −1 for the start of the
            run; ``None`` where there is no snapshot.
        progress: share of a known budget that is used up, 0 to 1; ``None`` where the budget is unknown.
        budget: optimizer steps of the whole run, as far as is known; where a time limits it, rank 0's estimate.
        planned_end_step: last step if annealing started now; ``None`` if the Trainer's limits or EarlyStopping end the
            run, and once the annealing has begun.
        train_loss: mean training loss since the last check with metrics, if there were checks without since.
        probes: what the probes measured inside the network since the previous check: quantity → value, and
            ``quantity/layer`` → value; empty where there are none, or none had anything to say.
        untrained: metric name → value before the first training step (``"train_loss"`` for the loss of
            ``training_step``); in the first readings of a run alone, empty where it was not measured.
        reset: why the objective is another one from here on, as the user says; empty if it is not.
    """

    check: int
    epoch: int
    step: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    train: TrainWindow | None = None
    train_metric: float | None = None
    rates: Mapping[str, Rate] = field(default_factory=dict)
    snapshot_check: int | None = None
    progress: float | None = None
    budget: int | None = None
    planned_end_step: int | None = None
    train_loss: float | None = None
    probes: Mapping[str, float] = field(default_factory=dict)
    untrained: Mapping[str, float] = field(default_factory=dict)
    reset: str = ""

    def at_rates(self, rates: Mapping[str, Rate], snapshot_check: int | None) -> Reading:
        """The same check of a run with other rates and another snapshot: used by a replay at each check."""
        reading = object.__new__(Reading)  # `dataclasses.replace` takes ten times as long
        reading.__dict__.update(self.__dict__, rates=rates, snapshot_check=snapshot_check)
        return reading

    def __str__(self) -> str:
        values = ", ".join(f"{name} {value:.6g}" for name, value in self.metrics.items()) or "no fresh monitor"
        train = f"; {self.train}" if self.train else ""
        return f"check {self.check} (epoch {self.epoch}, step {self.step}): {values}{train}"


@dataclass(frozen=True)
class MetricView:
    """One series, read: its level, noise, slope and best. What takes time is computed when it is first used.

    Attributes:
        name: metric name, ``"train_loss"`` for the loss of ``training_step``, or ``"gap"``.
        sign: +1 where lower is better, −1 where higher is better; turns an oriented number back.
        value: newest oriented value; NaN where it was not finite.
        fresh: whether this check brought a value.
        recent: oriented finite values of the run, oldest first, at most ``metric_history.WINDOW``.
        first: oriented first finite value of the run.
        best: oriented best value of the run.
        best_check: check of that best.
        since_best: values seen since the best, in checks; 0 at a new best.
        count: finite values of the run.
        since_change: of these, since the last adjustment.
        start: oriented value before training; NaN if it was not measured.
        low: oriented lowest value; unlike ``best`` any improvement beyond rounding counts.
        low_check: check of it.
        since_low: finite values since it.
        lowest: the lowest oriented values of the run, ascending, each with its number.
        half_way: lowest oriented value of the first half of the run; NaN if it is not known.
        rank_trend: rising minus falling pairs of the newest values since the last adjustment, in deviations of chance.
        non_finite_streak: how many values in a row were not finite, this one included.
        before: mean of the oriented values between the last two adjustments; NaN before the first.
        failed_adjustments: how many adjustments in a row, but for the last, did not lower that mean by a tenth.
    """

    name: str
    sign: int
    value: float
    fresh: bool
    recent: tuple[float, ...]
    first: float
    best: float
    best_check: int
    since_best: int
    count: int = 0
    since_change: int = 0
    start: float = math.nan
    low: float = math.nan
    low_check: int = -1
    since_low: int = 0
    lowest: tuple[tuple[float, int], ...] = ()
    half_way: float = math.nan
    rank_trend: float = 0.0
    non_finite_streak: int = 0
    before: float = math.nan
    failed_adjustments: int = 0

    @cached_property
    def values(self) -> tuple[float, ...]:
        """Oriented finite values since the last adjustment, oldest first."""
        return self.recent[-self.since_change :] if self.since_change else ()

    @cached_property
    def noise(self) -> float:
        """Robust standard deviation of one value around its trend; NaN if there are too few values to know."""
        return recent_noise(self.recent)

    @cached_property
    def trend(self) -> Trend:
        """Slope over the newer half of the values since the last adjustment."""
        return recent_trend(self.values, self.noise)

    @cached_property
    def stall(self) -> Stall:
        """How probable it is that next to nothing more is to be gained at this rate."""
        count, since = self.count, self.since_change
        ages = [min(count - number, since) for _, number in self.lowest]
        mean_age = sum(ages) / len(ages) if ages else 0.0
        return stall(count, since, self.since_low, mean_age, self.rank_trend, self._last_half)

    @property
    def _last_half(self) -> float:
        """Share of all gain that came in the last half of the run; NaN if noise or a missing start hides it."""
        if math.isnan(self.half_way) or math.isnan(self.start):
            return math.nan
        low = self.lowest[0][0]
        gain = max(self.start, self.first) - low
        if gain <= 0 or self.noise > QUIET * gain:
            return math.nan
        return (self.half_way - low) / gain

    @property
    def stands_still(self) -> bool:
        """Whether it is a discrete metric at one value at half of the checks or more, the newest included."""
        still = len(self.recent) >= FEWEST and 2 * self.recent.count(self.recent[-1]) >= len(self.recent)
        return still and is_discrete(self.name)

    @property
    def gain(self) -> float:
        """How far the best lies below the value before training, or the first: the progress of the run so far, ≥ 0."""
        return (self.first if math.isnan(self.start) else max(self.first, self.start)) - self.best

    def shown(self, oriented: float) -> float:
        """The number as the user logged it."""
        return self.sign * oriented + 0.0

    def __str__(self) -> str:
        # Only numbers that are there, and in the direction in which the user sees them move.
        value = f"{self.shown(self.value):.6g}" if math.isfinite(self.value) else "is not finite"
        best = f"best {self.shown(self.best):.6g} ({self.since_best} check{plural(self.since_best)} ago)"
        return ", ".join(
            (
                f"{self.name} {value if self.fresh else 'has no new value'}",
                best if math.isfinite(self.best) else "no finite value yet",
                self.trend.shown(self.sign),
            )
        )


MIN_PROBABILITY = 0.85
"""From which on a condition is named, if the policy does not say otherwise."""


@dataclass(frozen=True)
class MetricViews:
    """All series of one check, side by side.

    Attributes:
        check: number of the check, from 0.
        monitors: one series for each monitor, in the order in which the user named them.
        train: training loss a check, or the values of ``train_monitor``; ``None`` where there is neither.
        gaps: monitor → generalization gap (monitor − training value, oriented: growing is worse), for those
            monitors that measure the same quantity as ``train``.
        blocks: the block means of the training loss since the last adjustment, over several checks.
        window: the training loss since the previous check, as it was read.
        probes: quantity that a probe measures → its series; not oriented, since no direction of it is better.
        levels: mean training loss of each check, those between two validations included.
        beside: monitor that is no loss → the held-out loss of the same data, if it is logged.
        validated: how many of the last two checks were validations.
        min_probability: from which on a condition that is stated with a probability is named.
    """

    check: int
    monitors: tuple[MetricView, ...]
    train: MetricView | None = None
    gaps: Mapping[str, MetricView] = field(default_factory=dict)
    blocks: MetricView | None = None
    window: TrainWindow | None = None
    probes: Mapping[str, MetricView] = field(default_factory=dict)
    levels: MetricView | None = None
    beside: Mapping[str, MetricView] = field(default_factory=dict)
    validated: int = 2
    min_probability: float = MIN_PROBABILITY

    def stall(self, view: MetricView) -> Stall:
        """How probable it is that a monitor has next to nothing more to gain.

        A discrete metric is judged together with the loss beside it, and one that stands still without such a loss
        together with the training loss: both must have stalled. An accuracy at the majority class stands still while
        the model learns.
        """
        beside = self.beside.get(view.name) or (self.train if view.stands_still else None)
        both = (view.stall, beside.stall) if beside is not None and beside.stall.checks >= FEWEST else (view.stall,)
        return min(both, key=lambda one: one.probability)

    @cached_property
    def fresh(self) -> tuple[MetricView, ...]:
        """The monitors that brought a value at this check."""
        return tuple(view for view in self.monitors if view.fresh)

    def __str__(self) -> str:
        return "; ".join(map(str, (*self.monitors, *list(self.beside.values())[:1])))


@dataclass(frozen=True)
class Finding:
    """One detector's claim about one series.

    Attributes:
        condition: what the detector looks for.
        verdict: yes, no, or undecided.
        monitor: the series it speaks of.
        score: the test statistic.
        threshold: the value of the score from which on the answer is yes.
        sentence: what was found, with the numbers; or the detector's method that writes it.
        evidence: further named numbers.
        probability: that it is so; NaN if it cannot be told yet, ``None`` if the detector states none.
    """

    condition: Condition
    verdict: Verdict
    monitor: str
    score: float
    threshold: float
    sentence: str | Callable[[Finding], str] = field(compare=False)
    evidence: Mapping[str, float] = field(default_factory=dict)
    probability: float | None = None

    @property
    def reason(self) -> str:
        """The sentence."""
        return self.sentence if isinstance(self.sentence, str) else self.sentence(self)

    def __str__(self) -> str:
        return f"{self.condition}: {self.verdict} ({self.reason})"


@dataclass(frozen=True)
class Diagnosis:
    """The one condition that a check acts on, and all findings.

    Attributes:
        condition: the condition that ranks highest among those that hold; ``healthy`` where none does.
        findings: every finding of the check.
        sentence: of the finding that decided; or what writes it.
        suspected: conditions that are not ruled out (yes or undecided); patience counts on these.
        asked: conditions that were looked for.
        urgent: whether it is to be acted on at once.
        enough: votes that carry a condition.
    """

    condition: Condition
    findings: Sequence[Finding]
    sentence: str | Callable[[Diagnosis], str] = field(compare=False, repr=False)
    suspected: frozenset[Condition] = frozenset()
    asked: frozenset[Condition] = frozenset()
    urgent: bool = False
    enough: int = 1

    @cached_property
    def reason(self) -> str:
        """The sentence."""
        return self.sentence if isinstance(self.sentence, str) else self.sentence(self)

    @cached_property
    def probabilities(self) -> dict[str, float | None]:
        """Condition → the probability that as many monitors as must agree have it; ``None`` if it cannot be told yet.

        ``plateau`` is that of having next to nothing more to gain, whatever the reason: ``overfitting`` is part of it.
        """
        stated: dict[str, list[float]] = {}
        for finding in self.findings:
            if finding.probability is not None:
                stated.setdefault(str(finding.condition), []).append(finding.probability)
        return {name: _agreed(found, self.enough) for name, found in stated.items()}

    @property
    def margin(self) -> float:
        """How many times its threshold the condition's clearest finding is: 1 or more where it holds."""
        return max((f.score / f.threshold for f in self.findings if f.condition is self.condition), default=1.0)

    def __str__(self) -> str:
        return f"{self.condition}: {self.reason}"


def _agreed(probabilities: Sequence[float], enough: int) -> float | None:
    known = sorted((p for p in probabilities if not math.isnan(p)), reverse=True)
    return known[min(enough, len(probabilities)) - 1] if len(known) >= min(enough, len(probabilities)) else None


@dataclass(frozen=True)
class Decision:
    """What to do at a check, and why.

    Attributes:
        check: number of the check, from 0.
        epoch: epoch, from 0.
        step: position on the loggers' x-axis.
        action: what to do.
        condition: what it answers.
        factor: multiplier of the scale; 1.0 where nothing changes.
        old_lr: parameter group → applied learning rate before.
        new_lr: parameter group → applied learning rate after.
        sentence: the one that every report repeats; or what writes it.
        evidence: the numbers behind it.
        snapshot_check: check whose state is restored (−1: start of the run); ``None`` where nothing is.
        cause: what triggered it: the sentence of a finding, ``"budget"``, ``"EarlyStopping"``,
            ``"review of check 12"``; empty at a healthy check.
        blocked_by: name of the gate that blocked a change, see :mod:`~lightning_lr.engine.gates`; ``None`` if none did.
        steps: what is done, in order: of ``"restore"``, ``"scale"``, ``"anneal"``, ``"stop"``.
        probabilities: condition → probability, see :attr:`Diagnosis.probabilities`.
    """

    check: int
    epoch: int
    step: int
    action: Action
    condition: Condition
    factor: float
    old_lr: Mapping[str, float]
    new_lr: Mapping[str, float]
    sentence: str | Callable[[], str]
    evidence: Mapping[str, float] = field(default_factory=dict)
    snapshot_check: int | None = None
    cause: str = ""
    blocked_by: str | None = None
    steps: tuple[str, ...] = ()
    probabilities: Mapping[str, float | None] = field(default_factory=dict)

    @cached_property
    def reason(self) -> str:
        """The sentence."""
        return self.sentence if isinstance(self.sentence, str) else self.sentence()

    @property
    def probability(self) -> float | None:
        """That of its condition; if that is healthy, that none of the others holds. ``None`` if it cannot be told."""
        if self.condition is not Condition.HEALTHY:
            return self.probabilities.get(str(self.condition))
        plateau = self.probabilities.get(str(Condition.PLATEAU))
        return None if plateau is None else 1 - max(plateau, self.probabilities.get(str(Condition.DIVERGENCE)) or 0.0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Decision) and self._compared == other._compared

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self._compared.items())
        return f"{type(self).__name__}({shown})"

    @property
    def _compared(self) -> dict[str, object]:
        """Every field, the sentence written."""
        return {field.name: getattr(self, field.name) for field in fields(self)} | {"sentence": self.reason}

    def __str__(self) -> str:
        return f"check {self.check} · epoch {self.epoch} · {self.reason}"


@dataclass(frozen=True)
class Adjustment:
    """What the optimizers really hold after a decision was applied.

    Attributes:
        rates: parameter group → learning rate afterwards.
        restored: whether weights and optimizer state were put back.
        notes: anything that differs from what was asked, in words (a bound that held a group, a dry run).
    """

    rates: Mapping[str, Rate]
    restored: bool = False
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        rates = ", ".join(f"{name} {rate.applied:.4g}" for name, rate in self.rates.items())
        return "; ".join((f"learning rate now {rates}", *self.notes))


@dataclass(frozen=True)
class Review:
    """What an earlier change has brought: made in :mod:`~lightning_lr.engine.review`, and nowhere else.

    Attributes:
        check: number of the check at which the change was made.
        action: what was done.
        condition: what it answered.
        factor: multiplier of the learning rate.
        monitor: the first monitor, whose gains these are; its best is what a gain is measured by.
        helped: whether it brought what it should: a raise a faster gain, any other change a new best.
        gain_before: mean gain a check before it, ≥ 0 in whatever direction is better.
        gain_expected: mean gain a check since, had nothing been done.
        gain_after: mean gain a check since.
        checks: how many checks it rests on.
    """

    check: int
    action: Action
    condition: Condition
    factor: float
    monitor: str
    helped: bool
    gain_before: float
    gain_expected: float
    gain_after: float
    checks: int

    @property
    def brought(self) -> str:
        """Whether it helped, and the gains, in words."""
        expected = self.gain_expected if self.action is Action.RAISE else None
        return brought(self.monitor, self.helped, (self.gain_before, expected, self.gain_after), self.checks)

    def __str__(self) -> str:
        return reviewed(self.check, self.action, self.brought)


@dataclass(frozen=True)
class JournalEntry:
    """One check from beginning to end: one line of the journal.

    Attributes:
        reading: what was known.
        views: what it amounted to.
        diagnosis: what was the matter.
        decision: what was decided.
        adjustment: what the optimizers held afterwards.
        event: what happened; the reading of a search, a wreck or the begin of the annealing has no metrics.
        search: what was read, at the end of a search.
        review: what an earlier change has brought, at the check at which that is known.
    """

    reading: Reading
    views: MetricViews
    diagnosis: Diagnosis
    decision: Decision
    adjustment: Adjustment
    event: Event = Event.CHECK
    search: SearchResult | None = None
    review: Review | None = None

    def __str__(self) -> str:
        return str(self.decision)

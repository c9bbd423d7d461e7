"""Readings for the tests of the core: timelines that can be drawn, and random ones.

A timeline is a string with one letter a check, so that a test shows what happens when::

    values   1.0  .8  .7  .7  .7  .7
    actions   .    .   .   .   .   r
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lightning_lr.engine.bounds import bounded
from lightning_lr.engine.detectors import default_detectors
from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.policies import (
    PRESETS,
    AutoPolicy,
    EpochPolicy,
    ExponentialPolicy,
    HalvingPolicy,
    Policy,
    Response,
)
from lightning_lr.engine.records import Decision, Finding, MetricViews, Rate, Reading, TrainWindow
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition, Mode, Verdict, Vote

CONDITIONS = sorted({detector.condition for detector in default_detectors()})
"""All but healthy."""

NAN = math.nan
INF = math.inf
GROUP = "lr-SGD"
LETTERS = {Action.HOLD: ".", Action.REDUCE: "r", Action.RAISE: "u", Action.RESTORE: "b", Action.STOP: "s"}
"""b: back to the best state; u: up."""

Value = float | Mapping[str, float] | None
"""What one check brings: a value of the first monitor, several by name, or nothing fresh."""


def window(*losses: float) -> TrainWindow:
    """Ten steps a block; a block that is not finite lost all of its steps."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    return TrainWindow(
        mean=sum(finite) / len(finite) if finite else NAN,
        blocks=tuple(finite),
        steps=10 * len(losses),
        non_finite=10 * (len(losses) - len(finite)),
        ends_non_finite=not math.isfinite(losses[-1]),
    )


@dataclass
class Run:
    """A pretended training: feeds a controller, and does to the learning rate what the live side would do.

    Attributes:
        controller: the one that decides.
        lr: what the user's schedule asks for.
        groups: names of the parameter groups; none: a replay that knows no rates.
        snapshots: whether there is a state to restore: that of the start, then that of each new best.
        epochs: epoch of each check; by default, one check an epoch.
        budget: how many checks a known budget has room for.
    """

    controller: DecisionEngine
    lr: float = 0.1
    groups: Sequence[str] = (GROUP,)
    snapshots: bool = True
    epochs: Sequence[int] | None = None
    budget: int | None = None
    decisions: list[Decision] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    scale: float = 1.0
    snapshot: int = -1

    def feed(self, values: Sequence[Value], train: Sequence[float | None] = ()) -> list[Decision]:
        """One check for each value; the training loss beside it where one is given."""
        for value, loss in zip(values, [*train, *[None] * len(values)], strict=False):
            self.check(value, loss)
        return self.decisions

    def check(self, value: Value, loss: float | None = None, train_metric: float | None = None) -> Decision:
        """One check: validation, the training loss, and the value of a training metric, where they are given."""
        check, settings = len(self.decisions), self.controller.settings
        metrics = {} if value is None else value if isinstance(value, Mapping) else {settings.monitors[0]: value}
        reading = Reading(
            check=check,
            epoch=self.epochs[check] if self.epochs else check,
            step=10 * (check + 1),
            metrics=metrics,
            train=None if loss is None else window(loss),
            train_metric=train_metric,
            rates={
                name: Rate(self.lr, self.scale, bounded(self.lr, self.scale, *settings.bounds(group)))
                for group, name in enumerate(self.groups)
            },
            snapshot_check=self.snapshot if self.snapshots else None,
            progress=None if self.budget is None else (check + 1) / self.budget,
            budget=None if self.budget is None else 10 * self.budget,
        )
        decision = self.controller.check(reading)
        if self.controller.is_best:
            self.snapshot = check
        self.scale *= decision.factor
        self.readings.append(reading)
        self.decisions.append(decision)
        return decision

    @property
    def actions(self) -> str:
        """The timeline so far."""
        return timeline(self.decisions)


def timeline(decisions: Sequence[Decision]) -> str:
    """One letter a check: ``.`` hold, ``r`` reduce, ``b`` back to the best (restore), ``s`` stop."""
    return "".join(LETTERS[decision.action] for decision in decisions)


def actions(settings: Settings, values: Sequence[Value], **options: Any) -> str:
    """The timeline of a run with these settings."""
    run = Run(DecisionEngine(settings, options.pop("detectors", None)), **options)
    run.feed(values)
    return run.actions


@dataclass(frozen=True)
class Says(Detector):
    """A detector that says what its script says, so that a test of the controller does not hang on a statistic.

    The script has one letter a check: ``y`` yes, ``n`` no, ``u`` undecided, anything else: could not ask.
    """

    condition: Condition
    script: str
    monitor: str = "val_loss"

    def __post_init__(self) -> None:
        real = next(detector for detector in default_detectors() if detector.condition is self.condition)
        for name in ("precedence", "votes", "urgent"):
            object.__setattr__(self, name, getattr(real, name))

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """What the script says about this check."""
        letter = self.script[views.check : views.check + 1]
        verdicts = {"y": Verdict.YES, "n": Verdict.NO, "u": Verdict.UNDECIDED}
        if letter not in verdicts:
            return ()
        score = float(letter == "y")
        return (self.finding(verdicts[letter], self.monitor, score, 1.0, said=score),)

    def describe(self, finding: Finding) -> str:
        """A sentence that stands for any other."""
        return f"{finding.monitor} is said to be so"


def swapped(controller: DecisionEngine, state: dict[str, Any]) -> DecisionEngine:
    """A fresh controller that continues from a state."""
    fresh = DecisionEngine(controller.settings, controller.detectors)
    fresh.load_state_dict(state)
    return fresh


# --- random ones ------------------------------------------------------------------------------------------------------

FLOAT32_MAX = 3.0e38

few = hypothesis_settings(max_examples=30)
"""For tests that run whole controllers over whole runs: each example is a dozen checks already."""

levels = st.sampled_from([0.0, 0.25, 0.5, 0.7, 0.9, 1.0, 1.5, 10.0, -0.5, -1.0])
"""Few enough for values to repeat: plateaus, and metrics of zero and below."""

finite = st.one_of(levels, levels, st.floats(-1e3, 1e3), st.floats(-FLOAT32_MAX, FLOAT32_MAX))

values = st.one_of(finite, finite, finite, st.sampled_from([NAN, INF, -INF]))
"""Values of a metric, as training produces them: mostly finite."""

names = st.text(min_size=1, max_size=8) | st.sampled_from(["val|loss", "val\nloss", "Verlust/ß", "损失", "a b"])
"""Metric and group names that try to break a line or a table."""

rates = st.builds(Rate, st.floats(0.0, 10.0), st.floats(1e-6, 1e3), st.floats(0.0, 1e3))

PROBED = ("flip_rate", "output_change", "update_ratio", "gradient_disparity", "relative_disparity", "flip_rate/net.0")
"""What probes measure; their values are random too, since no detector may trip over any."""

windows = st.lists(values, min_size=1, max_size=4).map(lambda losses: window(*losses))


@st.composite
def reading_lists(
    draw: st.DrawFn, monitors: Sequence[str] = ("val_loss",), longest: int = 14, train: bool = True
) -> list[Reading]:
    """The readings of a run: checks count up, epochs and steps never go back, everything else is random."""
    readings: list[Reading] = []
    groups = draw(st.lists(names, max_size=2, unique=True))
    epoch = step = 0
    for check in range(draw(st.integers(1, longest))):
        epoch, step = epoch + draw(st.integers(0, 2)), step + draw(st.integers(1, 9))
        readings.append(
            Reading(
                check=check,
                epoch=epoch,
                step=step,
                metrics={name: draw(values) for name in monitors if draw(st.integers(0, 5))},
                train=draw(st.none() | windows) if train else None,
                train_metric=draw(st.none() | values) if train else None,
                rates={name: draw(rates) for name in groups},
                snapshot_check=draw(st.none() | st.integers(-1, check)),
                progress=draw(st.none() | st.floats(0, 1)),
                probes={name: draw(values) for name in PROBED if draw(st.booleans())},
            )
        )
    return readings


@st.composite
def settings_of(draw: st.DrawFn, monitors: Sequence[str] = ("val_loss",)) -> Settings:
    """Settings of every kind: presets, tuned ones, policies that count epochs, tables of one's own."""
    moves = st.sampled_from([Action.REDUCE, Action.RESTORE])
    own = st.builds(Response, moves, st.floats(0.05, 0.95), st.integers(1, 4))
    tables = st.dictionaries(st.sampled_from(CONDITIONS), own)
    policies = st.one_of(
        st.sampled_from(list(PRESETS.values())),
        st.builds(AutoPolicy, patience=st.integers(1, 4), factor=st.floats(0.1, 0.9), restore_best=st.booleans()),
        st.builds(Policy, st.just("own"), tables),
        st.builds(HalvingPolicy, epochs=st.integers(1, 4), ratio=st.floats(0.1, 0.9)),
        st.builds(ExponentialPolicy, epochs=st.integers(1, 4), ratio=st.floats(0.1, 0.9)),
    )
    policy = replace(draw(policies), rel_delta=draw(st.sampled_from([0.0, 1e-3])))
    if not isinstance(policy, EpochPolicy):
        policy = replace(policy, warmup_checks=draw(st.integers(0, 3)))
    lows: list[float | tuple[float, ...]] = [0.0, 1e-3, (1e-3, 1e-4)]
    highs: list[float | tuple[float, ...] | None] = [None, 1.0, (2.0, 1.0)]
    return Settings(
        monitors=tuple(monitors),
        mode=draw(st.sampled_from(Mode)),
        policy=policy,
        train_monitor=draw(st.none() | st.sampled_from(["train_loss", "train_acc"])),
        vote=draw(st.sampled_from(Vote)),
        min_delta=draw(st.sampled_from([0.0, 0.01])),
        cooldown=draw(st.integers(0, 3)),
        min_lr=draw(st.sampled_from(lows)),
        max_lr=draw(st.sampled_from(highs)),
    )


def negated(readings: Sequence[Reading]) -> Iterator[Reading]:
    """The same run, measured by a metric of which more is better."""
    for reading in readings:
        yield replace(
            reading,
            metrics={name: -value for name, value in reading.metrics.items()},
            train_metric=None if reading.train_metric is None else -reading.train_metric,
        )

"""One curve, every judge: when would each have acted?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.detection.cases import Case
from benchmarks.detection.peers import PATIENCES, PEERS
from lightning_lr.engine.detectors.divergence import DivergenceDetector
from lightning_lr.engine.detectors.non_finite import NonFiniteDetector
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.history.stall import FEWEST, features, logistic
from lightning_lr.engine.policies import PRESETS
from lightning_lr.engine.records import MetricView, MetricViews, Reading
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition, Verdict
from lightning_lr.offline.curves import MONITOR
from lightning_lr.offline.evaluate import metric_views

POLICIES = ("auto", "conservative")
"""Presets that are judged as they are: all detectors, the diagnosis, the gates."""

LEVELS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995)
"""Probabilities from which on a stated one is taken for an alarm."""

Key = tuple[str, float]
"""Judge, and its patience or level; 0 for a policy as it is."""


@dataclass(frozen=True)
class Judged:
    """What was said of one curve.

    Attributes:
        case: the curve.
        alarms: judge → the checks at which it acts.
        named: policy → condition of its first action that is not early; empty if there is none.
        ages: at each check from the fifth on, what the probability by ages is computed from.
        last_half: the probability by the last half of the run; −1 if that cannot be told.
        diverging: at each check, the probability of divergence; 0 if it cannot be told.
    """

    case: Case
    alarms: dict[Key, list[int]]
    named: dict[str, str]
    ages: tuple[tuple[float, ...], ...]
    last_half: tuple[float, ...]
    diverging: tuple[float, ...]

    def stated(self, weights: Sequence[float]) -> list[float]:
        """The probability at each check that the run is over, for weights of the ages; 0 if it cannot be told yet."""
        by_ages = [logistic(sum(w * x for w, x in zip(weights, ages, strict=True))) for ages in self.ages]
        known = [max(pair) for pair in zip(by_ages, self.last_half, strict=True)]
        return [0.0] * (len(self.case.over) - len(known)) + known

    def alarmed(self, weights: Sequence[float]) -> list[float]:
        """The larger of the probabilities of a stall and of divergence."""
        return list(map(max, self.stated(weights), self.diverging))


def judge(case: Case) -> Judged:
    """Let every judge see one curve."""
    readings, curve = case.curve.readings, case.curve
    alarms: dict[Key, list[int]] = {
        (name, patience): rule(patience)(readings) for name, rule in PEERS.items() for patience in PATIENCES
    }
    named = {}
    for name in POLICIES:
        acted = actions(readings, name)
        alarms[name, 0] = [check for check, _ in acted]
        named[name] = next((str(c) for check, c in acted if curve.onset is not None and check >= curve.onset), "")
    ages, last_half, diverging = [], [], []
    for views in metric_views(readings):
        (view,) = views.monitors
        diverging.append(lost(views))
        if view.count >= FEWEST:
            ages.append(ages_of(view))
            last_half.append(view.stall.probability if view.stall.probability > view.stall.by_ages else -1.0)
    return Judged(case, alarms, named, tuple(ages), tuple(last_half), tuple(diverging))


def lost(views: MetricViews) -> float:
    """The probability of divergence; 1 once a value is not finite for good."""
    if any(finding.verdict is Verdict.YES for finding in NonFiniteDetector().examine(views)):
        return 1.0
    return max((f.score for f in DivergenceDetector().examine(views) if not math.isnan(f.score)), default=0.0)


def ages_of(view: MetricView) -> tuple[float, ...]:
    """What the probability by ages is computed from, in a run in which nothing was changed."""
    ages = [view.count - number for _, number in view.lowest]
    return features(view.count, view.since_low, sum(ages) / len(ages), view.rank_trend)


def actions(readings: Sequence[Reading], policy: str) -> list[tuple[int, Condition]]:
    """What the controller does under a policy; the curve takes no notice of it."""
    controller = DecisionEngine(replace(Settings(), monitors=(MONITOR,), policy=PRESETS[policy]))
    decisions = [controller.check(reading) for reading in readings]
    return [(d.check, d.condition) for d in decisions if d.action is not Action.HOLD]

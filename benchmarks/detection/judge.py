"""One curve, every judge: when would each have acted, at each patience?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.detection.peers import PATIENCES, PEERS
from lightning_lr.engine.decisions import from_table
from lightning_lr.engine.detectors import default_detectors
from lightning_lr.engine.diagnosis import diagnose
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.gates import Gates
from lightning_lr.engine.policies import PRESETS, Policy
from lightning_lr.engine.records import Diagnosis, Reading
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition, Verdict
from lightning_lr.offline.curves import Curve
from lightning_lr.offline.evaluate import metric_views

DEFAULT = 0
"""Stands for "the patience of policy auto" where a patience is asked for."""

Key = tuple[str, int]
"""Judge and patience."""


@dataclass(frozen=True)
class Judged:
    """All alarms on one curve.

    Attributes:
        family: of the curve; ``recorded`` for a real run.
        condition: the true one.
        onset: where it begins.
        checks: how many.
        alarms: (judge, patience) → the checks at which it acts.
        named: (``pipeline``, patience) → condition that its first action at or after the onset gives.
    """

    family: str
    condition: Condition
    onset: int | None
    checks: int
    alarms: dict[Key, list[int]]
    named: dict[Key, str]


def judge(curve: Curve, family: str) -> Judged:
    """Let every judge see one curve."""
    readings = curve.readings
    alarms: dict[Key, list[int]] = {
        (name, patience): rule(patience)(readings) for name, rule in PEERS.items() for patience in PATIENCES
    }
    named: dict[Key, str] = {}
    seen = metric_views(readings)
    found = [[f for detector in default_detectors() for f in detector.examine(views)] for views in seen]
    for detector in default_detectors():
        own = [[f.verdict for f in findings if f.condition is detector.condition] for findings in found]
        for patience in PATIENCES:
            alarms[f"{detector.condition} detector", patience] = debounced(own, patience)
    diagnoses = [diagnose(findings, views) for findings, views in zip(found, seen, strict=False)]
    for patience in (DEFAULT, *PATIENCES):
        policy = PRESETS["auto"].tuned(patience=patience) if patience else PRESETS["auto"]
        acted = actions(readings, diagnoses, policy, curve.onset)
        alarms["pipeline", patience] = [check for check, _ in acted]
        named["pipeline", patience] = next(
            (str(c) for check, c in acted if curve.onset is not None and check >= curve.onset), ""
        )
    return Judged(family, curve.condition, curve.onset, len(readings), alarms, named)


def debounced(verdicts: Sequence[Sequence[Verdict]], patience: int) -> list[int]:
    """A bare detector behind the package's rule of patience: undecided counts, only yes acts."""
    streak, acted = 0, []
    for check, said in enumerate(verdicts):
        streak = streak + 1 if any(v is not Verdict.NO for v in said) else 0
        if streak >= patience and Verdict.YES in said:
            acted.append(check)
            streak = 0
    return acted


def actions(
    readings: Sequence[Reading], diagnoses: Sequence[Diagnosis], policy: Policy, onset: int | None
) -> list[tuple[int, Condition]]:
    """What the controller does under a policy.

    Up to its first action nothing depends on the patience, so the diagnoses are made once and only the waiting
    is repeated: exact, and twenty times as fast. Where the first action comes before the onset, the whole controller
    runs.
    """
    gates = Gates(Settings())
    for check, (reading, diagnosis) in enumerate(zip(readings, diagnoses, strict=True)):
        gates.look(reading, diagnosis)
        decision = gates.decide(from_table(reading, diagnosis, policy, 0, may_anneal=False, train_only=False))
        if decision.action is not Action.HOLD:
            early = onset is not None and check < onset
            return whole(readings, policy) if early else [(check, diagnosis.condition)]
    return []


def whole(readings: Sequence[Reading], policy: Policy) -> list[tuple[int, Condition]]:
    """Every action of the real controller; the curve takes no notice of them."""
    controller = DecisionEngine(replace(Settings(), policy=policy))
    decisions = [controller.check(reading) for reading in readings]
    return [(d.check, d.condition) for d in decisions if d.action is not Action.HOLD]

"""Findings → one diagnosis, by the precedence of the detectors and a vote of the monitors."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from lightning_lr.engine import text
from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.records import Diagnosis, Finding, MetricViews
from lightning_lr.engine.vocabulary import Condition, Verdict, Vote
from lightning_lr.errors import ArgumentError


class Findings(Sequence[Finding]):
    """All findings of a check. Those of a detector that rules its condition out are made only if they are read.

    Args:
        detectors: in the order of their findings.
        views: what they examine.

    Attributes:
        possible: those that are not no.
        asked: conditions that were looked for.
    """

    def __init__(self, detectors: Sequence[Detector], views: MetricViews) -> None:
        self._detectors, self._views = detectors, views
        self._made: list[tuple[Finding, ...] | None] = []
        self.possible: list[Finding] = []
        self.asked: set[Condition] = set()
        for detector in detectors:
            made = None if detector.rules_out(views) else findings_of(detector, views)
            self._made.append(made)
            if made is None or made:
                self.asked.add(detector.condition)
                self.possible += [f for f in made or () if f.verdict is not Verdict.NO]

    @cached_property
    def _all(self) -> tuple[Finding, ...]:
        pairs = zip(self._detectors, self._made, strict=True)
        return tuple(
            f for detector, made in pairs for f in (findings_of(detector, self._views) if made is None else made)
        )

    def __getitem__(self, index: Any) -> Any:
        return self._all[index]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


def findings_of(detector: Detector, views: MetricViews) -> tuple[Finding, ...]:
    """What one detector finds, checked: it may be a user's own.

    Raises:
        ArgumentError: if it returns anything else than findings of its condition.
    """
    found: Any = detector.examine(views)
    if found == ():
        return ()
    if isinstance(found, tuple) and all(isinstance(f, Finding) and f.condition is detector.condition for f in found):
        return found
    raise ArgumentError(
        f"Expected {type(detector).__name__}.examine to return a tuple of findings of {detector.condition!r} but got "
        f"{found!r}. Make each with self.finding(...), and return () if there is nothing to say."
    )


def diagnose(
    findings: Sequence[Finding],
    views: MetricViews,
    detectors: Mapping[Condition, Detector],
    vote: Vote = Vote.MAJORITY,
    only_recorded: Collection[Condition] = (),
) -> Diagnosis:
    """The condition of highest precedence that holds.

    Args:
        findings: of all detectors at this check.
        views: what they examined; its fresh monitors are those that may vote.
        detectors: condition → a detector of it, which says how it ranks and whether the monitors vote on it.
        vote: how many of them must agree.
        only_recorded: conditions that rank behind all others and hold nothing up, whatever their detectors say.
    """
    voters = max(1, len(views.fresh))
    needed = votes_needed(voters, vote)

    def carried(found: Sequence[Finding]) -> frozenset[Condition]:
        named = [f.condition for f in found]
        return frozenset(c for c in named if not detectors[c].votes or named.count(c) >= needed)

    if isinstance(findings, Findings):
        possible, asked = findings.possible, frozenset(findings.asked)
    else:
        findings, asked = tuple(findings), frozenset(f.condition for f in findings)
        possible = [f for f in findings if f.verdict is not Verdict.NO]
    ayes = [f for f in possible if f.verdict is Verdict.YES]
    holding = carried(ayes)
    condition = min(holding, key=lambda c: (c in only_recorded, detectors[c].precedence, c), default=Condition.HEALTHY)

    def sentence(diagnosis: Diagnosis) -> str:
        reasons = [f.reason for f in ayes if f.condition is condition]
        if reasons and detectors[condition].votes and len(reasons) < voters:
            reasons[-1] += f" ({shares(len(reasons), voters)})"
        alone = [f for f in ayes if f.condition not in holding]
        reasons = reasons or [undiagnosed(diagnosis, findings, views)]
        reasons += [
            f"{f.condition} on {f.monitor} ({shares(sum(f.condition is g.condition for g in alone), voters)}; {vote} "
            f"must agree): {f.reason}"
            for f in alone
        ]
        return "; ".join(reasons)

    return Diagnosis(
        condition=condition,
        findings=findings,
        asked=asked,
        sentence=sentence,
        suspected=carried(possible) if possible else frozenset(),
        urgent=condition in detectors and detectors[condition].urgent and condition not in only_recorded,
        enough=needed,
    )


def undiagnosed(diagnosis: Diagnosis, findings: Sequence[Finding], views: MetricViews) -> str:
    """The sentence of a check at which no condition is named: how sure that is, and where the monitors stand."""
    plateau = str(Condition.PLATEAU)
    if plateau not in diagnosis.probabilities:
        return f"healthy: {views}"
    stalled, diverging = (diagnosis.probabilities.get(name) for name in (plateau, str(Condition.DIVERGENCE)))
    if stalled is None:
        waits = next(f.reason for f in findings if f.condition == plateau and f.probability != f.probability)
        return f"{waits}: {views}"
    return text.undiagnosed(stalled, diverging, str(views))


def shares(ayes: int, voters: int) -> str:
    """How many of the sets say so, in words.

    >>> shares(1, 3), shares(2, 3)
    ('alone of 3 sets', '2 of 3 sets')
    """
    return f"alone of {voters} sets" if ayes == 1 else f"{ayes} of {voters} sets"


def votes_needed(voters: int, vote: Vote) -> int:
    """How many votes carry; half of an even number is no majority.

    >>> [votes_needed(2, vote) for vote in (Vote.ANY, Vote.MAJORITY, Vote.ALL)]
    [1, 2, 2]
    """
    if vote is Vote.ANY:
        return 1
    return voters if vote is Vote.ALL else voters // 2 + 1

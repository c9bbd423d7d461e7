"""``lightning-lr report --epoch N``: every check of one epoch, also those without a change, and what blocked it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from lightning_lr.engine.journal import JournalLine, plain
from lightning_lr.errors import LogError
from lightning_lr.offline.logs.run import Run
from lightning_lr.offline.report import terminal


def checks_of_epoch(run: Run, epoch: int) -> tuple[JournalLine, ...]:
    """The checks of one epoch, searches and other events included.

    Raises:
        LogError: if the run is no journal, which alone holds the reasons, or if it has no check in that epoch.
    """
    if not run.decided:
        raise LogError(
            f"Expected a journal with --epoch but {run.path} is a {run.kind}, which holds no reasons. "
            "`lightning-lr replay` shows what would have been decided."
        )
    lines = tuple(run.lines())
    found = tuple(line for line in lines if line.decision.epoch == epoch)
    if not found:
        last = max((line.decision.epoch for line in lines), default=-1)
        raise LogError(f"Expected a check in epoch {epoch} but {run.path} has none. Its last epoch is {last}.")
    return found


STATED = {"plateau": "stalled", "overfitting": "of which overfitting", "divergence": "diverging"}
"""Condition → what its probability is that of, in this order. Overfitting is a part of what a stall may be due to."""


def known(number: float | None) -> str:
    """A number of a detector, as far as there is one.

    >>> known(0.4449), known(float("nan")), known(None)
    ('0.445', 'not known', 'not known')
    """
    return "not known" if number is None or math.isnan(number) else f"{number:.3g}"


def _ordered(line: JournalLine) -> list[str]:
    order = [*STATED]
    return sorted(line.decision.probabilities, key=lambda name: order.index(name) if name in order else len(order))


def details(line: JournalLine) -> list[str]:
    """What blocked a change, what was not ruled out, the probabilities, and each other score of a detector."""
    decision, evidence = line.decision, line.decision.evidence
    shown = [f"blocked by: {decision.blocked_by}"] if decision.blocked_by else []
    if line.suspected:
        shown.append(f"not ruled out: {', '.join(line.suspected)}")
    scores = {name.removeprefix("score/"): score for name, score in evidence.items() if name.startswith("score/")}
    monitors = Counter(name.partition("/")[0] for name in scores)
    if decision.probabilities:
        named = [f"{STATED.get(name, name)} {known(decision.probabilities[name])}" for name in _ordered(line)]
        shown.append(f"probabilities: {', '.join(named)}")
    for name, score in scores.items():
        condition, threshold = name.partition("/")[0], evidence.get(f"threshold/{name}")
        if threshold is None:
            continue
        of = name.replace("/", " of ", 1)
        if condition not in decision.probabilities:
            shown.append(f"{of}: score {known(score)}, threshold {threshold:.3g}")
        elif monitors[condition] > 1:  # each set has its own, and the probability above is what they agree on
            stated = evidence.get(f"{condition}/{name}", score)
            shown.append(f"{of}: probability {known(stated)}, found from {threshold:.3g} on")
    return shown


def as_document(lines: Sequence[JournalLine]) -> list[dict[str, Any]]:
    """The checks as JSON documents."""
    return [
        {"decision": plain(line.decision), "suspected": list(line.suspected), "review": plain(line.review)}
        for line in lines
    ]


def show(lines: Sequence[JournalLine]) -> None:
    """Print the checks."""
    out = terminal.console()
    for line in lines:
        terminal.say(out, str(line.decision), style="bold")
        if line.review is not None:
            terminal.say(out, str(line.review), indent=2)
        terminal.say(out, *details(line), indent=2)

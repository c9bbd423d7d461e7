"""``lightning-lr report --epoch N``: every check of one epoch, also those without a change, and what blocked it."""

from __future__ import annotations

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


def details(line: JournalLine) -> list[str]:
    """What blocked a change, what was not ruled out, and the score of each detector that gave one."""
    decision, evidence = line.decision, line.decision.evidence
    shown = [f"blocked by: {decision.blocked_by}"] if decision.blocked_by else []
    if line.suspected:
        shown.append(f"not ruled out: {', '.join(line.suspected)}")
    for name, score in evidence.items():
        kind, _, of = name.partition("/")
        threshold = evidence.get(f"threshold/{of}")
        if kind == "score" and threshold is not None:
            shown.append(f"{of.replace('/', ' of ', 1)}: score {score:.3g}, threshold {threshold:.3g}")
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

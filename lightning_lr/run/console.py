"""The lines that the console shows: one at the start, one for each change and each review, one at the end.

Each has room in a terminal of 120 columns, next to the name of the package. The journal holds what does not fit.
"""

from __future__ import annotations

import math
import os
import shlex
from collections import Counter
from collections.abc import Mapping

from lightning_lr.engine.history.metric_history import MetricHistory
from lightning_lr.engine.policies import EpochPolicy
from lightning_lr.engine.records import Decision
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.text import kind, plural
from lightning_lr.engine.vocabulary import Action
from lightning_lr.loggers.decision_history import DecisionHistory

WIDTH = 120 - len("lightning_lr: ")

CAUSES = {"budget": "", "EarlyStopping": "EarlyStopping has run out of patience"}
"""What triggers a change that no detector requires."""

UNREVIEWED = frozenset({Action.EXPLORE, Action.ANNEAL, Action.STOP})
"""Changes that no review is made of; any other has none if the run ends too soon after it."""

VERBS = {Action.RESTORE: "restore", Action.REDUCE: "cut", Action.RAISE: "raise"}


def fitted(line: str, width: int = WIDTH) -> str:
    """A line that is no longer than this: what is too much is cut at a word.

    >>> fitted("no new best for 17 checks (best 0.4668)", 30)
    'no new best for 17 checks…'
    """
    if len(line) <= width:
        return line
    return line[: line.rfind(" ", 0, width)].rstrip(" ,;:(·→") + "…"


def start_line(settings: Settings, runs: Mapping[str, str], dry_run: bool) -> str:
    """What is watched, what will be done, and what was switched off and why.

    Args:
        settings: of the engine.
        runs: ``"search"`` and ``"annealing"`` → why the run has none; without those that it has.
        dry_run: whether nothing is changed.
    """
    policy, monitors = settings.policy, settings.monitors
    watched = ", ".join(monitors[:3]) + (f" and {len(monitors) - 3} more" if len(monitors) > 3 else "")
    if isinstance(policy, EpochPolicy):
        does = [f"lower the lr by epochs ({policy.name})"]
    else:
        asked = {response.action for response in policy.responses.values()}
        verbs = [verb for action, verb in VERBS.items() if action in asked]
        does = [" or ".join(filter(None, [", ".join(verbs[:-1]), verbs[-1]])) + " if need be" if verbs else "watch"]
    if "search" not in runs:
        does.insert(0, "search the first lr")
    if "annealing" not in runs:
        does.append("anneal at the end")
    reasons: dict[str, list[str]] = {}
    for what, why in runs.items():
        reasons.setdefault(why, []).append(f"no {what}")
    off = [f"{', '.join(what)} ({why})" for why, what in reasons.items()]
    said = ["dry run, nothing is changed"] if dry_run else ["will " + ", ".join(does), *off]
    return " · ".join([f"watches {watched} ({settings.mode})", *said])


def unanswered_lines(settings: Settings) -> list[str]:
    """One for each detector of the user's own whose condition the policy has no response to."""
    return [
        f"{type(detector).__name__} finds {detector.condition}, but policy {settings.policy.name!r} has no response to "
        "it: it is recorded only"
        for detector in settings.unanswered
    ]


def decision_line(decision: Decision, dry_run: bool = False, unchecked: bool = False) -> str:
    """What was decided, and as much of the reason as there is room for.

    Args:
        decision: not to hold.
        dry_run: whether nothing was changed.
        unchecked: whether it leads to a rate that is not annealed, which the first line had promised.

    >>> from lightning_lr.engine.vocabulary import Condition
    >>> print(decision_line(Decision(30, 38, 1482, Action.RESTORE, Condition.PLATEAU, 0.3, {"lr-SGD": 0.09243},
    ...     {"lr-SGD": 0.02773}, "", cause="no new best for 5 checks", snapshot_check=25, steps=("restore", "scale"))))
    check 30 · epoch 38 · plateau: best restored, lr 0.0924 → 0.0277 · no new best for 5 checks
    """
    name = kind(decision.condition, decision.action)
    done = ", ".join(_done(decision)) or "lr kept"
    done += ", no annealing (anneal=True forces it)" if unchecked else ""
    said = [f"check {decision.check}", f"epoch {decision.epoch}", f"{name}: {done}{' (dry run)' if dry_run else ''}"]
    return fitted(" · ".join([*said, CAUSES.get(decision.cause, decision.cause)]).rstrip(" ·"))


def _done(decision: Decision) -> list[str]:
    done = []
    if "restore" in decision.steps:
        done.append(_restored(decision))
    if "scale" in decision.steps and decision.new_lr:
        changed = [name for name, rate in decision.new_lr.items() if rate != decision.old_lr[name]]
        name = (changed or list(decision.new_lr))[0]
        others = len(decision.new_lr) - 1
        more = f" (+{others} group{plural(others)})" if others else ""
        done.append(f"lr {decision.old_lr[name]:.3g} → {decision.new_lr[name]:.3g}{more}")
    if "anneal" in decision.steps:
        done.append("lr falls to 0 at the end")
    if "stop" in decision.steps:
        done.append("training stops")
    return done


def _restored(decision: Decision) -> str:
    """What was restored: not the best, if that went by while another state had to be kept."""
    if decision.snapshot_check == -1:
        return "start restored"
    best = decision.evidence.get("best_check", decision.snapshot_check)
    return "best restored" if best == decision.snapshot_check else f"check {decision.snapshot_check} restored"


def end_line(history: DecisionHistory, monitor: MetricHistory, journal: str | None, dry_run: bool = False) -> str:
    """What was done, what it brought, and where to look.

    Args:
        history: all changes.
        monitor: the first one.
        journal: its file, if there is one.
        dry_run: whether nothing was changed.
    """
    counts = Counter("search" if d.action is Action.EXPLORE else str(d.action) for d in history)
    done = ", ".join(f"{count} {_plural(what, count)}" for what, count in counts.items()) or "nothing was changed"
    if history.brought:
        late = len(history.brought) < sum(decision.action not in UNREVIEWED for decision in history)
        done += f" ({len(history.helped)} of {len(history.brought)} {'reviewed ' * late}helped)"
    said, best = [f"end: {f'dry run, {done} not carried out' if dry_run and counts else done}"], monitor.state.best
    if math.isfinite(best):
        said.append(f"best {monitor.name} {monitor.sign * best:.4g} (check {monitor.state.best_check})")
    if journal is not None:
        said.append(f"details: lightning-lr report {shlex.quote(_near(journal))}")
    return " · ".join(said)


def _plural(what: str, count: int) -> str:
    named = "reduction" if what == "reduce" else what
    return named + ("" if count == 1 else "es" if named.endswith("h") else "s")


def _near(path: str) -> str:
    """The folder of a journal, as short as it can be said from here; it may lie in a bucket."""
    path = path.removesuffix("lr_journal.jsonl").rstrip("/") or path
    return path if "://" in path else min(path, os.path.relpath(path), key=len)

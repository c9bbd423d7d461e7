"""One run decided under many settings at once: what they see alike is looked at once.

Each setting has an engine of its own, and decides as a replay with it does. But what the detectors see depends on the
readings and on the checks at which the windows were begun anew, and on no factor or patience: engines that have changed
the rate at the same checks share their views and findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy

from lightning_lr.engine.detectors import default_detectors
from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.history.run_history import RunHistory
from lightning_lr.engine.journal import JournalLine
from lightning_lr.engine.records import Decision, Finding, MetricViews, Reading
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action
from lightning_lr.offline.replay.replay import Replayer

Restarts = tuple[int, ...]
"""Checks after which the windows were begun anew."""


class _SharedViews:
    """The histories of a run, one for each way in which its windows were begun anew; the views of the newest check."""

    def __init__(self, history: RunHistory) -> None:
        self.histories: dict[Restarts, RunHistory] = {(): history}
        self.views: dict[Restarts, MetricViews] = {}
        self.findings: dict[tuple[int, int], tuple[Finding, ...]] = {}

    def next_check(self) -> None:
        """Forget the views of the check before."""
        self.views.clear()
        self.findings.clear()


class _SharedHistory(RunHistory):
    """One engine's history: it looks at the shared ones."""

    def __init__(self, shared: _SharedViews) -> None:
        self.shared = shared
        self.restarts: Restarts = ()
        self.check = -1

    def update(self, reading: Reading, train_only: bool = False) -> MetricViews:
        """The views of a check, read by the first engine that needs them."""
        self.check = reading.check
        views = self.shared.views
        if self.restarts not in views:
            views[self.restarts] = self.shared.histories[self.restarts].update(reading, train_only)
        return views[self.restarts]

    def restart(self) -> None:
        """Go over to the history whose windows begin here."""
        begun = (*self.restarts, self.check)
        if begun not in self.shared.histories:
            self.shared.histories[begun] = deepcopy(self.shared.histories[self.restarts])
            self.shared.histories[begun].restart()
        self.restarts = begun


class _SharedDetector(Detector):
    """A detector that is asked once for each of the shared views."""

    def __init__(self, detector: Detector, shared: _SharedViews) -> None:
        self.detector, self.shared = detector, shared
        self.condition, self.precedence = detector.condition, detector.precedence
        self.votes, self.urgent = detector.votes, detector.urgent

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """What the detector finds."""
        key, found = (id(views), id(self.detector)), self.shared.findings
        if key not in found:
            found[key] = self.detector.examine(views)
        return found[key]

    def describe(self, finding: Finding) -> str:
        """The detector's own sentence."""
        return self.detector.describe(finding)


def replay_grid(lines: Iterable[JournalLine], settings: Sequence[Settings]) -> list[list[Decision]]:
    """What each of the settings decides in a run, without what it holds at; as a replay with it would.

    Args:
        lines: the checks.
        settings: at least one; they watch the same metrics.

    >>> from lightning_lr.engine.settings import settings_from
    >>> from lightning_lr.offline.curves import plateau
    >>> from lightning_lr.offline.demo import decided
    >>> lines = decided(plateau(seed=0), Settings())
    >>> soon, late = replay_grid(lines, [settings_from(patience=patience) for patience in (2, 12)])
    >>> soon[0].check < late[0].check
    True
    """
    shared: dict[tuple[float, float], _SharedViews] = {}
    replayers = [_replayer(one, shared) for one in settings]
    found: list[list[Decision]] = [[] for _ in settings]
    for line in lines:
        for replayer, acted in zip(replayers, found, strict=True):
            decision = replayer.step(line.reading, line.event, line.search)
            if decision.action is not Action.HOLD:
                acted.append(decision)
        for views in shared.values():
            views.next_check()
    return found


def _replayer(settings: Settings, shared: dict[tuple[float, float], _SharedViews]) -> Replayer:
    delta = settings.min_delta, settings.policy.rel_delta
    if delta not in shared:
        history = RunHistory(settings.monitors, settings.mode, settings.train_monitor, *delta)
        shared[delta] = _SharedViews(history)
    views, replayer = shared[delta], Replayer(settings, as_recorded=False)
    detectors = (*default_detectors(), *settings.detectors)
    replayer.engine = DecisionEngine(settings, [_SharedDetector(one, views) for one in detectors])
    replayer.engine.history = _SharedHistory(views)
    return replayer

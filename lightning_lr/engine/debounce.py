"""Patience, cooldown and warm-up checks: the only waiting counters of the package."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from lightning_lr.engine.records import Diagnosis
from lightning_lr.engine.text import plural


@dataclass
class DebounceState:
    """Counters of one run; plain numbers, saved whole."""

    checks: int = 0
    cooldown_left: int = 0
    streaks: dict[str, int] = field(default_factory=dict)


class Debounce:
    """Decides when a diagnosis has been seen often enough to act on it.

    A condition's streak counts the checks in a row at which it was not ruled out. With ``patience=3`` the third of them
    acts, as in Lightning's ``EarlyStopping`` and in Keras (torch's ``ReduceLROnPlateau`` acts on the fourth),
    provided that the verdict there is yes: an undecided check counts, but never acts. A check at which no detector
    could ask for the condition, since nothing fresh came, neither adds to its streak nor ends it.

    Args:
        cooldown: checks after an adjustment at which nothing but an urgent condition is acted on.
        warmup_checks: checks at the start of a run at which nothing but an urgent condition is acted on.

    >>> debounce = Debounce()
    >>> from lightning_lr.engine.vocabulary import Condition
    >>> plateau = Diagnosis(Condition.PLATEAU, (), "flat", frozenset({Condition.PLATEAU}))
    >>> [debounce.wait(plateau, patience=3) for _ in range(3)]
    ['1 of 3 checks in a row', '2 of 3 checks in a row', '']
    """

    def __init__(self, cooldown: int = 0, warmup_checks: int = 0) -> None:
        self.cooldown = cooldown
        self.warmup_checks = warmup_checks
        self.state = DebounceState()

    def wait(self, diagnosis: Diagnosis, patience: int, train_only: bool = False) -> str:
        """Count this check, and say what is still waited for; empty where the time to act has come.

        Args:
            diagnosis: of this check.
            patience: checks in a row that its condition takes.
            train_only: a check between two validations: it is counted for what it asks for, but is no step of the
                cooldown or of the warm-up, which are counted in validations.
        """
        state = self.state
        cooling = state.cooldown_left
        if not train_only:
            state.checks += 1
            state.cooldown_left = max(0, cooling - 1)
        state.streaks = self._counted(diagnosis)
        if diagnosis.urgent:  # each further step is lost
            return ""
        if state.checks <= self.warmup_checks:
            return f"{self.warmup_checks - state.checks + 1} of {self.warmup_checks} warm-up checks left"
        if cooling:
            return f"cooling down, {cooling} check{plural(cooling)} left"
        seen = state.streaks.get(diagnosis.condition, 0)
        return "" if seen >= patience else f"{seen} of {patience} checks in a row"

    def _counted(self, diagnosis: Diagnosis) -> dict[str, int]:
        streaks = self.state.streaks
        if not streaks and not diagnosis.suspected:
            return streaks
        asked = {finding.condition for finding in diagnosis.findings}
        unasked = {name: seen for name, seen in streaks.items() if name not in asked}
        return unasked | {str(c): streaks.get(c, 0) + 1 for c in sorted(diagnosis.suspected)}

    def adjusted(self) -> None:
        """Start the cooldown, and every streak anew."""
        self.state.cooldown_left = self.cooldown
        self.state.streaks = {}

    def state_dict(self) -> dict[str, Any]:
        """The counters, as plain values."""
        return asdict(self.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.state = DebounceState(**{**state, "streaks": dict(state["streaks"])})

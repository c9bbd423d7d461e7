"""All that the golden runs take from the package: after a move, only these imports and calls change."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lightning_lr import LearningRateController
from lightning_lr.engine.bounds import bounded
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.journal import entry_line, header_line
from lightning_lr.engine.policies import AutoPolicy, ConservativePolicy, Policy, Response
from lightning_lr.engine.records import Adjustment, Decision, Rate, Reading, SearchResult, TrainWindow
from lightning_lr.engine.settings import settings_from
from lightning_lr.engine.vocabulary import Action, Condition, Event
from lightning_lr.metrics import UpdateRatio

__all__ = [
    "Action",
    "AutoPolicy",
    "Condition",
    "ConservativePolicy",
    "EngineRun",
    "Policy",
    "Response",
    "UpdateRatio",
    "controller",
]
controller = LearningRateController
CONDITIONS = [Condition(name.lower()) for name in vars(Condition) if name.isupper()]
"""Those that the vocabulary names, each of which has a recording."""
UNRECORDED = frozenset(DecisionEngine(settings_from()).conditions) - frozenset(CONDITIONS)
"""Those that a detector brings along; its own test says what it finds."""

STEPS = 10
"""Optimizer steps from one check to the next."""

Value = float | Mapping[str, float] | None
Loss = float | Sequence[float] | None


@dataclass
class EngineRun:
    """A pretended training: feeds the engine, and does to the learning rate what a callback would do.

    Attributes:
        arguments: of the callback, those that the engine knows.
        lr: what the user's own schedule asks for; may be set from check to check.
        groups: names of the parameter groups.
        snapshots: whether there is a state to restore.
        budget: how many checks a known budget has room for.
        loss_beside: what the live side has found to read beside an accuracy.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    lr: float = 0.1
    groups: Sequence[str] = ("lr-SGD",)
    snapshots: bool = True
    budget: int | None = None
    loss_beside: str | None = None
    check: int = 0
    scale: float = 1.0
    snapshot: int = -1

    def __post_init__(self) -> None:
        self.settings = replace(settings_from(**self.arguments), loss_beside=self.loss_beside)
        self.engine = DecisionEngine(self.settings)
        self.lines = [header_line(self.settings, {})]

    def feed(
        self, values: Sequence[Value], train: Sequence[Loss] = (), recorded: bool = True, **probes: Sequence[float]
    ) -> None:
        """One check for each value, with the training loss and what probes measured beside it, where they are given.

        Args:
            values: of the first monitor, or of several by their names.
            train: training losses.
            recorded: ``False`` for a long lead-in: of each check only the outcome is kept.
            probes: quantity → one value for each check.
        """
        kept = len(self.lines)
        for index, value in enumerate(values):
            measured = {name: series[index] for name, series in probes.items()}
            self.look(value, train[index] if index < len(train) else None, measured)
        if not recorded:
            self.lines[kept:] = map(_outcome, self.lines[kept:])

    def look(self, value: Value, loss: Loss = None, probes: Mapping[str, float] | None = None, **more: Any) -> Decision:
        """A check after a validation, of which each may be missing: metrics, training loss, probes."""
        first = self.settings.monitors[0]
        metrics = {} if value is None else value if isinstance(value, Mapping) else {first: value}
        return self._step(metrics=dict(metrics), train=_window(loss), probes=dict(probes or {}), **more)

    def train_only(self, *losses: float) -> Decision:
        """A check between two validations: the training loss alone."""
        return self._step(Event.TRAIN_CHECK, train=_window(losses))

    def searched(self, result: SearchResult, **untrained: float) -> Decision:
        """The end of a search."""
        return self._step(Event.SEARCH, result, untrained=untrained)

    def wrecked(self) -> Decision:
        """Three losses in a row are far above that before training."""
        return self._step(Event.WRECKED)

    def anneals(self, stops_early: bool = False) -> Decision:
        """The moment from which on the rate falls to zero."""
        return self._step(Event.EARLY_ANNEAL if stops_early else Event.ANNEAL)

    def resume(self) -> None:
        """Go on with a new engine from the state of this one."""
        state, self.engine = self.engine.state_dict(), DecisionEngine(self.settings)
        self.engine.load_state_dict(state)

    def _step(self, event: Event = Event.CHECK, search: SearchResult | None = None, **values: Any) -> Decision:
        done = self.check + 1
        reading = Reading(
            check=self.check,
            epoch=self.check,
            step=STEPS * done,
            rates=self._rates(),
            snapshot_check=self.snapshot if self.snapshots else None,
            progress=None if self.budget is None else done / self.budget,
            budget=None if self.budget is None else STEPS * self.budget,
            **values,
        )
        decision = self.engine.handle(event, reading, search)
        if self.engine.is_best:
            self.snapshot = self.check
        self.scale *= decision.factor
        self.check += 1
        adjustment = Adjustment(self._rates(), restored=decision.snapshot_check is not None)
        self.lines.append(entry_line(self.engine.entry(event, reading, decision, adjustment, search)))
        return decision

    def _rates(self) -> dict[str, Rate]:
        return {
            name: Rate(self.lr, self.scale, bounded(self.lr, self.scale, *self.settings.bounds(group)))
            for group, name in enumerate(self.groups)
        }


def _outcome(line: str) -> str:
    record = json.loads(line)
    decision = {name: record["decision"][name] for name in ("check", "action", "condition")}
    return json.dumps({"kind": "outcome", **decision, "suspected": record["suspected"]})


def _window(loss: Loss) -> TrainWindow | None:
    """Each loss is the mean of one block of ten steps; one that is not finite lost all of its steps."""
    if loss is None:
        return None
    blocks = list(loss) if isinstance(loss, Sequence) else [loss]
    finite = [block for block in blocks if abs(block) < float("inf")]
    return TrainWindow(
        mean=sum(finite) / len(finite) if finite else float("nan"),
        blocks=tuple(finite),
        steps=10 * len(blocks),
        non_finite=10 * (len(blocks) - len(finite)),
        ends_non_finite=not abs(blocks[-1]) < float("inf"),
    )

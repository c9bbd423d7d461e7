"""What every stateful class of the core promises, whoever wrote it.

A class is stateful if it has ``state_dict`` and ``load_state_dict``; they are found by looking at the package, so that
a new one cannot be forgotten: it fails here until ``STREAMS`` says how it is fed.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given

import lightning_lr
from lightning_lr.engine.decisions import from_table
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.gates import Gates
from lightning_lr.engine.history.metric_history import MetricHistory
from lightning_lr.engine.history.objective import ObjectiveWatch
from lightning_lr.engine.history.run_history import RunHistory
from lightning_lr.engine.policies import AutoPolicy, Policy, Response
from lightning_lr.engine.records import Decision, Diagnosis, Finding, MetricView, Rate, Reading
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition, Mode, Verdict
from lightning_lr.layerwise.rule import LayerRule, Products
from tests.helpers.readings import INF, NAN, few, negated, reading_lists, settings_of, swapped, window

# --- the classes, and how each is fed ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stream:
    """How a stateful object is made and fed.

    Attributes:
        make: gives a fresh object, with settings that are not the defaults.
        feed: gives it one item, and returns its answer.
        items: a stream in which everything happens: gains, plateaus, NaN, infinities, checks without a value.
    """

    make: Callable[[], Any]
    feed: Callable[[Any, Any], Any]
    items: Sequence[Any]


SERIES = [NAN, 3.0, 2.0, 1.5, NAN, 1.4, 1.4, None, 1.4, 1.4, INF, 1.4, 1.6, 1.8, 2.5, 4.0, NAN, NAN, 1.0, 0.5, 0.5]
READINGS = [
    Reading(
        check,
        check,
        10 * check,
        {} if value is None else {"val_loss": value, "val_loss_b": value + 1},
        window(1 / (check + 1), NAN if value is None else value),
        rates={"lr-SGD": Rate(0.1, 1.0, 0.1)},
        snapshot_check=check - 2 if check else None,
        probes={} if check < 3 or value is None else {"flip_rate": value / 10, "flip_rate/body": 0.5},
    )
    for check, value in enumerate(SERIES)
]


def diagnosis(reading: Reading) -> Diagnosis:
    """A plateau where the monitor repeats itself, by and large; enough to count on."""
    value = reading.metrics.get("val_loss")
    verdict = Verdict.UNDECIDED if value is None else Verdict.YES if value < 1.6 else Verdict.NO
    finding = Finding(Condition.PLATEAU, verdict, "val_loss", 0.0, 1.0, "flat")
    condition = Condition.PLATEAU if verdict is Verdict.YES else Condition.HEALTHY
    suspected = frozenset() if verdict is Verdict.NO else frozenset({Condition.PLATEAU})
    return Diagnosis(condition, (finding,), "flat", suspected, frozenset({Condition.PLATEAU}))


def whole_view(view: MetricView) -> tuple[object, ...]:
    """With what is computed from it only on demand."""
    return view, view.noise, view.trend


def feed_history(history: RunHistory, reading: Reading) -> object:
    views = history.update(reading)
    series = [*views.monitors, views.train, views.blocks, *views.gaps.values(), *views.probes.values()]
    return views, [whole_view(view) for view in series if view is not None]


def feed_gates(gates: Gates, reading: Reading) -> Decision:
    """A schedule that changes at every third check, over a budget of sixty; a new best at every fourth."""
    scheduled, seen = 0.1 * 0.5 ** (reading.check // 3), diagnosis(reading)
    reading = replace(
        reading,
        budget=600,
        rates={"lr-SGD": Rate(scheduled, 1.0, scheduled)},
        progress=reading.check / 60 if reading.check else None,
    )
    cut = Response(Action.REDUCE, 0.05, 2, defer_to_scheduler=True, min_plateau_fraction=0.03)
    grow = Response(Action.RAISE, 2.0)
    gates.update(reading, seen, new_best=reading.check % 4 == 1, learned=reading.check > 4)
    if reading.check % 5 == 2:
        gates.raise_reviewed(helped=reading.check == 12)
    policy = Policy("table", {Condition.PLATEAU: grow if reading.check % 4 else cut})
    decision = gates.decide(from_table(reading, seen, policy, 0, may_anneal=False, train_only=False))
    gates.decided(replace(decision, condition=Condition.DIVERGENCE) if reading.check == 9 else decision)
    return decision


def feed_layers(rule: LayerRule, value: float | None) -> object:
    number = NAN if value is None else value
    layers = [Products(-number * at, 1.0, 30.0 * at, number) for at in range(3)]
    return rule.update([layers] * rule.window, [0.1, 0.2, 0.3])


def feed_objective(watch: ObjectiveWatch, reading: Reading) -> object:
    return watch.update(reading, reading.metrics.get("val_loss"), train_only=reading.check % 7 == 3)


LEVELS = [2.0, 1.5, 1.2, 1.1, 1.05, 1.02, 1.0, 0.99, 1.9, 1.85, 1.8]
JUMPING = [
    Reading(check, check, 10 * check, {"val_loss": level}, window(level + 0.01, level, level, level - 0.01))
    for check, level in enumerate(LEVELS)
]
"""Both losses jump as an epoch begins, and stay."""

SETTINGS = Settings(monitors=("val_loss", "val_loss_b"), cooldown=1, policy=AutoPolicy(warmup_checks=2, rel_delta=0.01))
STREAMS: Mapping[type, Stream] = {
    MetricHistory: Stream(
        lambda: MetricHistory("val_loss", -1, 0.01, 0.01),
        lambda tracker, item: whole_view(tracker.update(item[1], item[0])),
        [*enumerate(SERIES)],
    ),
    RunHistory: Stream(lambda: RunHistory(("val_loss", "val_loss_b")), feed_history, READINGS),
    ObjectiveWatch: Stream(ObjectiveWatch, feed_objective, [*JUMPING, *READINGS]),
    Gates: Stream(lambda: Gates(Settings(cooldown=2, policy=AutoPolicy(warmup_checks=3))), feed_gates, READINGS),
    LayerRule: Stream(lambda: LayerRule(["a", "b", "c"], step=0.5), feed_layers, SERIES),
    DecisionEngine: Stream(lambda: DecisionEngine(SETTINGS), DecisionEngine.check, READINGS),
}


PURE = ("lightning_lr.engine", "lightning_lr.layerwise.rule")


def stateful_classes() -> Iterator[type]:
    """Classes of the core that save and load a state; of a family, those that nothing is derived from."""
    found = set()
    for module in pkgutil.walk_packages(lightning_lr.__path__, "lightning_lr."):
        if not module.name.startswith(PURE):
            continue
        for _, one in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            ours = one.__module__.startswith(PURE) and not getattr(one, "_is_protocol", False)
            if ours and (hasattr(one, "state_dict") or hasattr(one, "load_state_dict")):
                found.add(one)
    kinds = {base for one in found for base in one.__mro__[1:]}
    yield from sorted(found - kinds, key=lambda one: one.__qualname__)


CLASSES = [*stateful_classes()]
every_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


def stream_of(cls: type) -> Stream:
    assert cls in STREAMS, f"{cls.__name__} is stateful: add to STREAMS in {__file__} how it is made and fed."
    return STREAMS[cls]


def run(stream: Stream, swap: Callable[[Any, int], Any] = lambda one, position: one) -> list[str]:
    """The answers as text: NaN equals NaN there. ``swap`` may put another object in the place of this one."""
    one, answers = stream.make(), []
    for position, item in enumerate(stream.items):
        one = swap(one, position)
        answers.append(repr(stream.feed(one, item)))
    return answers


def restored(stream: Stream, state: dict[str, Any]) -> Any:
    fresh = stream.make()
    fresh.load_state_dict(state)
    return fresh


# --- what they promise ------------------------------------------------------------------------------------------------


def test_the_stateful_classes_are_found():
    assert {MetricHistory, RunHistory, Gates, DecisionEngine} <= set(CLASSES)


@every_class
def test_a_state_is_plain_and_whole_and_carries_on_where_every_check_is_a_resume(cls):
    """Each item meets an object made from a state out of a file: its memory and its answers are those of the first."""
    stream = stream_of(cls)

    def through_a_file(one: Any, position: int) -> Any:
        state = one.state_dict()
        assert unplain(state) == []
        again = restored(stream, json.loads(json.dumps(state)))
        assert memory(again) == memory(one), f"before item {position}"
        return again

    assert run(stream, through_a_file) == run(stream)


def unplain(value: Any, path: str = "state") -> list[str]:
    """Where a state holds something else than int, float, str, bool, None, list and dict (no subclasses: no enums)."""
    if type(value) is dict:
        keys = [f"{path}: key {key!r}" for key in value if type(key) is not str]
        return keys + [fault for key, item in value.items() for fault in unplain(item, f"{path}.{key}")]
    if type(value) is list:
        return [fault for index, item in enumerate(value) for fault in unplain(item, f"{path}[{index}]")]
    return [] if type(value) in (int, float, str, bool, type(None)) else [f"{path}: {type(value).__name__}"]


def test_the_check_for_plain_values_finds_what_is_not():
    assert unplain({"a": [1, 2.0, None, True, {"b": "c"}]}) == []
    assert unplain({"a": (1,), "b": {Mode.MIN: 1}, "c": [Mode.MAX]}) == [
        "state.a: tuple",
        f"state.b: key {Mode.MIN!r}",
        "state.c[0]: Mode",
    ]


ANSWERS = {"views", "diagnosis", "review", "is_best"}
"""What the controller keeps of its last answer for others to look at; the next one does not depend on it."""


def memory(thing: Any) -> Any:
    """All that an object holds, down to plain values, as text that can be compared."""
    if isinstance(thing, (list, tuple)):
        return [memory(item) for item in thing]
    if isinstance(thing, Mapping):
        return {str(key): memory(item) for key, item in thing.items()}
    if type(thing).__module__.startswith("lightning_lr") and hasattr(thing, "__dict__"):
        return {key: memory(item) for key, item in vars(thing).items() if key not in ANSWERS}
    return repr(thing)


@every_class
def test_its_state_is_a_copy(cls):
    """A state that was saved does not change as the run goes on, nor does loading tie two objects together."""
    stream = stream_of(cls)
    one, fresh = stream.make(), repr(stream.make().state_dict())
    half = len(stream.items) // 2
    for item in stream.items[:half]:
        stream.feed(one, item)
    state = one.state_dict()
    before = repr(state)
    other = restored(stream, state)
    for item in stream.items[half:]:
        stream.feed(one, item)
        stream.feed(other, item)
    assert repr(state) == before
    assert repr(stream.make().state_dict()) == fresh


@every_class
def test_nothing_that_is_not_finite_stays_in_its_memory(cls):
    """NaN and infinity come and go; in the state, NaN may only say "none yet", and does not once a value came."""
    stream = stream_of(cls)
    one = stream.make()
    for item in stream.items:
        stream.feed(one, item)
    assert [path for path, number in numbers(one.state_dict()) if not math.isfinite(number)] == []


def numbers(value: Any, path: str = "state") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from numbers(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from numbers(item, f"{path}[{index}]")
    elif isinstance(value, (int, float)):
        yield path, value


# --- random streams ---------------------------------------------------------------------------------------------------


@few
@given(settings_of(("val_loss", "val_b")), reading_lists(("val_loss", "val_b")))
def test_a_controller_swapped_at_every_position(settings, readings):
    whole = resumed = DecisionEngine(settings)
    expected, states = [], []
    for reading in readings:
        states.append(json.dumps(whole.state_dict()))
        expected.append(repr(whole.check(reading)))
    for position, state in enumerate(states):
        resumed = swapped(whole, json.loads(state))
        assert [repr(resumed.check(reading)) for reading in readings[position:]] == expected[position:], position


# --- less is better ≡ more is better ----------------------------------------------------------------------------------


@few
@given(settings_of(("val_score",)), reading_lists(("val_score",), train=False))
def test_min_of_x_is_max_of_minus_x_for_a_controller(settings, readings):
    assert_mirrored(replace(settings, train_monitor=None), readings)


@few
@given(settings_of(("val_score",)), reading_lists(("val_score",)))
def test_min_of_x_is_max_of_minus_x_for_a_controller_with_a_training_metric(settings, readings):
    assert_mirrored(replace(settings, train_monitor="train_score"), [replace(r, train=None) for r in readings])


def assert_mirrored(settings: Settings, readings: Sequence[Reading]) -> None:
    low, high = DecisionEngine(replace(settings, mode=Mode.MIN)), DecisionEngine(replace(settings, mode=Mode.MAX))
    for reading, turned in zip(readings, negated(readings), strict=True):
        one, other = low.check(reading), high.check(turned)
        assert (one.action, one.condition, one.factor, one.new_lr, one.snapshot_check) == (
            other.action,
            other.condition,
            other.factor,
            other.new_lr,
            other.snapshot_check,
        )
        assert low.is_best == high.is_best
        assert low.diagnosis is not None
        assert high.diagnosis is not None
        assert low.diagnosis.suspected == high.diagnosis.suspected
        assert magnitudes(one.evidence) == magnitudes(other.evidence)


def magnitudes(evidence: Mapping[str, float]) -> dict[str, str]:
    """Numbers that the user sees change their sign with the mode; nothing else does."""
    return {name: repr(abs(number)) for name, number in evidence.items()}

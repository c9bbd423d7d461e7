"""Replays with other settings, and how much they keep in memory."""

from __future__ import annotations

import tracemalloc

import pytest

from lightning_lr.engine.policies import Policy
from lightning_lr.engine.records import Rate, Reading, SearchResult
from lightning_lr.engine.settings import settings_from
from lightning_lr.engine.vocabulary import Action, Event
from lightning_lr.offline.curves import divergence, plateau
from lightning_lr.offline.demo import decided
from lightning_lr.offline.logs.journal_reader import journal_lines
from lightning_lr.offline.logs.sources import open_run
from lightning_lr.offline.replay.replay import Replayer, replay
from lightning_lr.offline.replay.variants import parsed, variants_of
from tests.equivalence.test_live_is_replay import journal_of


def test_rates_follow_the_replays_own_decisions():
    lines = decided(plateau(0), settings_from(policy="halving", epochs=10))
    cut = settings_from(policy="halving", epochs=20, ratio=0.1)
    acted = [r.decisions[0] for r in replay(lines, [Replayer(cut, as_recorded=False)])]
    acted = [decision for decision in acted if decision.action is not Action.HOLD]
    assert [d.old_lr["lr-SGD"] for d in acted[1:]] == [d.new_lr["lr-SGD"] for d in acted[:-1]]
    assert acted[0].new_lr["lr-SGD"] == pytest.approx(0.01)


def test_nothing_is_decided_after_a_stop():
    actions = [line.decision.action for line in decided(divergence(0, checks=200), settings_from())]
    assert Action.STOP in actions
    assert set(actions[actions.index(Action.STOP) + 1 :]) == {Action.HOLD}


VARIANTS = [
    (None, [], [], [("own settings", True)]),
    ("halving", ["epochs=5"], [], [("policy halving, epochs=5", False)]),
    (
        None,
        ["policy=exponential"],
        ["patience=2 cooldown=3"],
        [("policy exponential", False), ("patience=2, cooldown=3", False)],
    ),
    (None, ["patience=3"], ["factor=0.5 cooldown=2"], [("patience=3", False), ("factor=0.5, cooldown=2", False)]),
    (
        None,
        [],
        ["policy=conservative,patience=3"],
        [("own settings", True), ("policy conservative, patience=3", False)],
    ),
    (None, ["min_lr=1e-05:0.001"], [], [("min_lr=1e-05:0.001", False)]),
]


@pytest.mark.parametrize(("policy", "sets", "others", "names"), VARIANTS)
def test_settings_side_by_side(tmp_path, policy, sets, others, names):
    path = tmp_path / "lr_journal.jsonl"
    path.write_text(journal_of(plateau(0, checks=20), settings_from(cooldown=1)), encoding="utf-8")
    variants = variants_of(open_run(path), policy, sets, others)
    assert [(variant.name, variant.own) for variant in variants] == names
    if "cooldown" not in " ".join(others):  # what is not changed stays as the journal has it; a recipe has none
        assert all(variant.settings.cooldown == (policy != "halving") for variant in variants)


@pytest.mark.parametrize(("text", "value"), [
    ("3", 3), ("0.5", 0.5), ("1e-3", 1e-3), ("true", True), ("None", None), ("auto", "auto"), ("0.1:0.01", (0.1, 0.01)),
])  # fmt: skip
def test_values_as_they_are_typed(text, value):
    assert parsed([f"max_lr={text}"]) == {"max_lr": value}


def test_memory_does_not_grow_with_the_run(tmp_path):
    """What the windows hold, and no more: the journal itself is several times as large."""
    path = tmp_path / "lr_journal.jsonl"
    path.write_text(journal_of(plateau(0, checks=1600), settings_from()), encoding="utf-8")
    lines = journal_lines(path)
    tracemalloc.start()
    assert sum(1 for _ in replay(lines, [Replayer(settings_from())])) == 1600
    reached = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reached < path.stat().st_size / 5
    assert reached < 500_000


def test_a_policy_that_does_not_search_leaves_out_the_search_of_the_run():
    found = SearchResult({0.0: (1.0,), 1.0: (0.8,)}, factor=5.0, estimate=5.0, checked=True, horizon=100)
    reading = Reading(0, 0, 40, rates={"lr-SGD": Rate(0.1, 1.0, 0.1)}, snapshot_check=-1)
    auto, conservative = (
        Replayer(settings_from(policy=name), as_recorded=False).step(reading, Event.SEARCH, found)
        for name in ("auto", "conservative")
    )
    assert auto.action is Action.EXPLORE
    assert (conservative.action, conservative.new_lr) == (Action.HOLD, {"lr-SGD": 0.1})
    assert str(conservative).endswith("the run searches here, policy conservative does not")


@pytest.mark.parametrize("flag", ["searches", "anneals"])
@pytest.mark.parametrize("name", ["auto", "mine"])
def test_what_a_policy_is_called_decides_nothing(flag, name):
    found = SearchResult({0.0: (1.0,), 1.0: (0.8,)}, factor=5.0, estimate=5.0, checked=True, horizon=100)
    at = (Event.SEARCH, found) if flag == "searches" else (Event.ANNEAL,)
    reading = Reading(0, 0, 40, rates={"lr-SGD": Rate(0.1, 1.0, 0.1)}, snapshot_check=-1)
    does, does_not = (
        Replayer(settings_from(policy=Policy(name, **{flag: on})), as_recorded=False).step(reading, *at).action
        for on in (True, False)
    )
    assert (does, does_not) == (Action.EXPLORE if flag == "searches" else Action.ANNEAL, Action.HOLD)

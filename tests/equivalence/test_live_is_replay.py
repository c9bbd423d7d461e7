"""live ≡ replay, through real Trainers and through the curves whose end is known.

The fixtures of ``tests/helpers/replays.py`` ask the same of every run of tests/live and tests/resume.
"""

from __future__ import annotations

import json

import pytest

from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.journal import entry_line, header_line
from lightning_lr.engine.records import Adjustment, JournalEntry
from lightning_lr.engine.settings import settings_from
from lightning_lr.engine.vocabulary import Action
from lightning_lr.offline.curves import FAMILIES
from lightning_lr.offline.demo import decided
from lightning_lr.offline.logs.journal_reader import read_journal
from tests.helpers.replays import assert_replays, journals_under

POLICIES = ["auto", "halving"]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("family", FAMILIES)
def test_curves(tmp_path, family, policy):
    """Every family of curves under every policy: written as a live run writes it, read and decided again."""
    settings = settings_from(policy=policy)
    path = tmp_path / "lr_journal.jsonl"
    path.write_text(journal_of(FAMILIES[family](0), settings), encoding="utf-8")

    assert assert_replays(path) == len(FAMILIES[family](0).readings)


def journal_of(curve, settings) -> str:
    controller, lines = DecisionEngine(settings), [header_line(settings, {})]
    for line in decided(curve, settings):
        decision = controller.check(line.reading)
        adjustment = Adjustment(line.adjustment.rates)
        lines.append(
            entry_line(JournalEntry(line.reading, controller.views, controller.diagnosis, decision, adjustment))
        )
    return "\n".join(lines) + "\n"


RUNS = {
    "a plateau": ({}, {"val_loss": [1.0, 0.8, 0.7] + [0.7] * 9}),
    "overfitting": ({}, {"val_loss": [1.0, 0.8, 0.7] + [0.7 + 0.05 * i for i in range(9)]}),
    "not finite": ({}, {"val_loss": [1.0, 0.8, float("nan"), float("nan"), 0.7, float("inf")]}),
    "more is better": ({"monitor": "val_acc", "mode": "max"}, {"val_acc": [0.1, 0.5, 0.6] + [0.6] * 9}),
    "two monitors": (
        {"monitor": ["val_loss", "val/l2"], "vote": "any"},
        {"val_loss": [1.0] * 12, "val/l2": [2.0] * 12},
    ),
    "a recipe": ({"policy": "halving", "epochs": 2}, {"val_loss": [1.0] * 12}),
    "a dry run": ({"dry_run": True}, {"val_loss": [1.0] * 12}),
    "other numbers": ({"patience": 2, "cooldown": 1, "factor": 0.5, "min_lr": 1e-3}, {"val_loss": [1.0] * 12}),
}


@pytest.mark.parametrize(("arguments", "script"), RUNS.values(), ids=RUNS.keys())
def test_trainers(tmp_path, arguments, script):
    pytest.importorskip("torch", exc_type=ImportError)
    from lightning_lr import LearningRateController
    from tests.helpers.scripted import Scripted, data, trainer

    controller = LearningRateController(**arguments, verbose=False)
    trainer(controller, tmp_path, max_epochs=12).fit(Scripted(script), data(), data(1))

    (journal,) = journals_under(tmp_path)
    assert assert_replays(journal) >= 11  # restores in vain end one of them early
    acted = [line.decision for line in read_journal(journal).lines if line.decision.action is not Action.HOLD]
    assert [str(d) for d in acted] == [str(d) for d in controller.decisions]
    assert acted


def test_a_journal_that_was_tampered_with_does_not_replay(tmp_path):
    """The helper can tell: one value of the record changed, and a sentence is another."""
    path = tmp_path / "lr_journal.jsonl"
    lines = journal_of(FAMILIES["plateau"](0), settings_from()).splitlines()
    record = json.loads(lines[20])
    record["reading"]["metrics"]["val_loss"] *= 1.5
    path.write_text("\n".join([*lines[:20], json.dumps(record), *lines[21:]]) + "\n", encoding="utf-8")

    with pytest.raises(AssertionError, match="is not what a replay decides:\nrecorded: check 19"):
        assert_replays(path)

"""live ≡ replay, through real Trainers and through the curves whose end is known.

The fixtures of ``tests/helpers/replays.py`` ask the same of every run of tests/run and tests/resume.
"""

from __future__ import annotations

import json

import pytest

from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.journal import entry_line, header_line
from lightning_lr.engine.records import Adjustment, JournalEntry
from lightning_lr.engine.settings import settings_from
from lightning_lr.offline.curves import FAMILIES
from lightning_lr.offline.demo import decided
from tests.helpers.replays import assert_replays

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


def test_a_journal_that_was_tampered_with_does_not_replay(tmp_path):
    """The helper can tell: one value of the record changed, and a sentence is another."""
    path = tmp_path / "lr_journal.jsonl"
    lines = journal_of(FAMILIES["plateau"](0), settings_from()).splitlines()
    record = json.loads(lines[20])
    record["reading"]["metrics"]["val_loss"] *= 1.5
    path.write_text("\n".join([*lines[:20], json.dumps(record), *lines[21:]]) + "\n", encoding="utf-8")

    with pytest.raises(AssertionError, match="is not what a replay decides:\nrecorded: check 19"):
        assert_replays(path)

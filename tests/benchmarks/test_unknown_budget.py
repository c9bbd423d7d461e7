"""The benchmark of the unknown budget: the answers (``a``: the end begins, ``b``: restored), and the table."""

from __future__ import annotations

import pytest

from benchmarks.unknown_budget import ADVISED, VARIANTS, _ending, table
from lightning_lr.engine import engine
from lightning_lr.engine.records import Rate, Reading
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition
from tests.helpers.readings import Says

LETTERS = {Action.HOLD: ".", Action.RESTORE: "b", Action.ANNEAL: "a", Action.STOP: "s"}


def decided(variant: str, script: str, condition: Condition = Condition.PLATEAU) -> list[engine.Decision]:
    """A run whose monitor never betters itself after its first check."""
    settings = Settings(policy=ADVISED) if VARIANTS[variant].converged else Settings()
    core, made, rates = engine.DecisionEngine(settings, [Says(condition, script)]), [], {"lr": Rate(0.1, 1.0, 0.1)}
    with _ending(VARIANTS[variant]):
        for check in range(len(script)):
            begun = any(decision.action is Action.ANNEAL for decision in made)
            ends = None if begun else 100
            made.append(core.step(Reading(check, check, check, {"val_loss": 1.0}, None, None, rates, 0, ends=ends)))
    return made


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("cuts", "..b..b..b"),
        ("1st, 1", "..a..b..b"),
        ("1st, 1, calm", "..a......"),
        ("2nd, 1/2", "..b..a..b"),
        ("1 in vain, 1/2", "..b..a..b"),
    ],
)
def test_when_it_begins(variant: str, expected: str) -> None:
    assert "".join(LETTERS[decision.action] for decision in decided(variant, "y" * 9)) == expected


def test_with_the_best_state_back() -> None:
    assert decided("1st, 1, restored", "yyy")[-1].snapshot_check == 0
    assert decided("1st, 1", "yyy")[-1].snapshot_check is None


@pytest.mark.parametrize(
    ("variant", "condition", "expected"),
    [
        ("1st, 1", Condition.OVERFITTING, ".b"),
        ("or overfitting, 1/2", Condition.OVERFITTING, ".a"),
        ("converged, 1/2", Condition.CONVERGED, "a."),
        ("1st, 1", Condition.CONVERGED, ".."),
    ],
)
def test_at_what(variant: str, condition: Condition, expected: str) -> None:
    said = "".join(
        LETTERS[decision.action] for decision in decided(variant, "yn" if expected[0] == "a" else "yy", condition)
    )
    assert said == expected


def test_the_table() -> None:
    lines = [{"task": "t", "variant": "cuts", "seed": s, "test_loss": 0.3 - 0.1 * s, "epochs": 9 + s} for s in (1, 0)]
    assert table(lines, ["t"], ["cuts", "1st, 1"]).endswith("| t | 0.3, 0.2; 9, 10 |  |")

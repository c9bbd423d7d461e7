"""Options that say what is not done: no snapshot, no journal. And where each default stands."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from lightning_lr import LearningRateController, Snapshots
from lightning_lr.engine.settings import settings_from
from lightning_lr.run.options import ControllerOptions
from tests.helpers.scripted import Scripted, data, trainer

PLATEAU = {"val_loss": [1.0] * 12}


def fitted(folder: Path, **arguments: object) -> LearningRateController:
    control = LearningRateController(verbose=False, **arguments)
    options = {"max_epochs": 12, "default_root_dir": folder, "enable_checkpointing": True}
    trainer(control, None, **options).fit(Scripted(PLATEAU), data(40), data(1))
    return control


def saved_snapshots(folder: Path) -> list[object]:
    import torch

    (path,) = folder.rglob("*.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    return [part["snapshot"] for key, part in checkpoint.items() if key.startswith("lightning_lr/")]


def test_without_snapshots_nothing_is_restored_and_nothing_is_searched(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    control = fitted(tmp_path, snapshots=False)
    assert {decision.action for decision in control.decisions} <= {"reduce"}
    assert saved_snapshots(tmp_path) == [None]
    assert not [warning for warning in recwarn if "lightning_lr" in str(warning.message)]


def test_with_snapshots_the_same_run_searches_and_restores(tmp_path: Path) -> None:
    control = fitted(tmp_path, snapshots=True)
    assert {"restore", "explore"} <= {decision.action for decision in control.decisions}
    assert None not in saved_snapshots(tmp_path)


def test_a_checkpoint_that_shall_not_carry_the_snapshot(tmp_path: Path) -> None:
    control = fitted(tmp_path, snapshots=Snapshots(in_checkpoint=False))
    assert "restore" in {decision.action for decision in control.decisions}
    assert saved_snapshots(tmp_path) == [None]


@pytest.mark.parametrize(("journal", "files"), [(None, 1), (False, 0)])
def test_a_run_without_a_journal(tmp_path: Path, journal: object, files: int) -> None:
    control = fitted(tmp_path, journal=journal)
    assert control.decisions
    assert len(list(tmp_path.rglob("*.jsonl"))) == files


def test_the_options_have_no_defaults_of_their_own() -> None:
    """They stand once, in the callback; where the engine needs them too, for a replay, they are the same."""
    assert all(field.default is MISSING for field in fields(ControllerOptions))
    ours = inspect.signature(LearningRateController.__init__).parameters
    engine = inspect.signature(settings_from).parameters
    numbers_of_policies = {"min_probability", "rel_delta", "warmup_checks", "epochs", "ratio"}
    assert engine.keys() - ours.keys() == numbers_of_policies
    shared = engine.keys() & ours.keys()
    assert {name: engine[name].default for name in shared} == {name: ours[name].default for name in shared}

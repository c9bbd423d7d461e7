"""The callback draws its own run."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_lr import LearningRateController
from lightning_lr.errors import ArgumentError
from tests.helpers.scripted import Scripted, data, trainer


def test_the_figure_of_the_run(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    controller = LearningRateController(policy="conservative", verbose=False, journal=str(tmp_path / "run.jsonl"))
    trainer(callbacks=[controller], max_epochs=4).fit(Scripted(), data(), data())
    figure, axes = controller.plot()
    assert figure is not None
    assert len(list(axes)) == 2


def test_without_a_journal_there_is_nothing_to_draw() -> None:
    with pytest.raises(ArgumentError) as raised:
        LearningRateController().plot()
    message = "Expected a journal to draw but this run wrote none. Pass journal='FILE' to the callback."
    assert str(raised.value) == message

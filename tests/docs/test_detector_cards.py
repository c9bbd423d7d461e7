"""Each detector has a card of its module's name, and each card stands in the table with its rank."""

from pathlib import Path

import pytest

from lightning_lr.engine import detectors

CARDS = Path(__file__).resolve().parents[2] / "docs" / "detectors"


@pytest.mark.parametrize("detector", detectors.default_detectors(), ids=lambda d: type(d).__name__)
def test_every_detector_has_its_card(detector):
    card = CARDS / f"{type(detector).__module__.rpartition('.')[2]}.md"
    assert card.is_file(), f"write {card.name}"
    assert "**What it sees.**" in card.read_text(encoding="utf-8"), "the first sentence under it goes into the table"

"""The journal as a file: cut back by lines, a header where the settings change, which a replay follows."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.journal import entry_line, header_line
from lightning_lr.engine.records import Adjustment, JournalEntry
from lightning_lr.engine.settings import Settings, settings_from
from lightning_lr.loggers.journal_file import JournalFile
from lightning_lr.offline.curves import readings_of
from lightning_lr.offline.logs.journal_reader import journal_lines
from tests.helpers.replays import assert_replays

FIRST, SECOND = settings_from(patience=3), settings_from(patience=2, factor=0.5)
READINGS = readings_of([1.0, 0.8, 0.7, 0.65] + [0.65] * 12)


class Life:
    """One life of a run: what it has decided, its journal, and what was warned of."""

    def __init__(self, path: Path, settings: Settings = FIRST, summary: str = "", state: dict | None = None) -> None:
        self.warned: list[str] = []
        self.engine = DecisionEngine(settings)
        self.check = state["check"] if state else 0
        if state:
            self.engine.load_state_dict(state["engine"])
        former = state["journal"] if state else None
        self.journal = JournalFile.resumed(former, path, header_line(settings, {"told": summary}), self.warned.append)

    def to(self, check: int) -> dict:
        """Live on up to a check; gives what a checkpoint would hold."""
        for reading in READINGS[self.check : check]:
            decision = self.engine.check(reading)
            entry = JournalEntry(reading, self.engine.views, self.engine.diagnosis, decision, Adjustment({}))
            self.journal.write(entry_line(entry))
        self.check = check
        return {"check": check, "engine": self.engine.state_dict(), "journal": self.journal.state_dict()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lr_journal.jsonl"


def checks(path: Path) -> list[int]:
    return [line.reading.check for line in journal_lines(path)]


@pytest.mark.damages_journal
def test_a_resume_from_an_earlier_checkpoint_is_no_damage(path):
    life = Life(path)
    early, late = life.to(4), life.to(9)
    Life(path, state=early).to(5)  # lives for a check, and is killed

    resumed = Life(path, state=late)
    assert resumed.warned == [
        f"The journal {path} ends 4 checks before this checkpoint: a resume from an earlier one cut it back to there."
    ]
    resumed.to(12)
    assert checks(path) == [0, 1, 2, 3, 4, 9, 10, 11]


@pytest.mark.damages_journal
def test_other_lines_of_the_same_checks_are_cut_between_lines(path):
    """The life in between wrote lines of other lengths: where the late checkpoint saw the end is now in one."""
    life = Life(path)
    early, late = life.to(4), life.to(9)
    Life(path, SECOND, state=early).to(14)

    resumed = Life(path, SECOND, state=late)
    resumed.to(16)
    assert not resumed.warned
    assert checks(path) == [*range(16)]


@pytest.mark.damages_journal
def test_a_journal_that_lost_its_end_is_repaired_and_said(path):
    state = Life(path).to(9)
    os.truncate(path, path.stat().st_size - 300)
    resumed = Life(path, state=state)
    assert len(resumed.warned) == 1
    assert "had lost its end; it was repaired to its last whole line" in resumed.warned[0]
    assert checks(path) == [*range(8)]


@pytest.mark.parametrize(
    ("settings", "summary", "headers"), [(FIRST, "", 1), (FIRST, "more epochs", 1), (SECOND, "", 2)],
    ids=["the same", "only the facts differ", "other settings"],
)  # fmt: skip
def test_other_settings_get_a_header_of_their_own(path, settings, summary, headers):
    state = Life(path).to(5)
    life = Life(path, settings, summary, state)
    life.to(10)
    Life(path, settings, summary, life.to(10)).to(16)  # the last header counts, not the first

    text = path.read_text()
    assert text.count('"kind": "header"') == headers
    changed = [line.reading.check for line in journal_lines(path) if line.settings is not None]
    assert changed == [5] * (headers - 1)
    assert assert_replays(path) == 16


@pytest.mark.damages_journal
def test_the_settings_of_the_first_header_alone_would_not_replay(path):
    """The header matters: without it the second life's decisions are not what the first one's settings decide."""
    state = Life(path).to(5)
    Life(path, SECOND, state=state).to(16)
    first, *lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([first, *(line for line in lines if '"kind": "header"' not in line)]))
    with pytest.raises(AssertionError, match="is not what a replay decides"):
        assert_replays(path)


@pytest.mark.damages_journal
def test_nothing_is_left_of_a_run_that_was_saved_before_its_first_check(path):
    life = Life(path)
    state = life.to(0)
    life.to(4)
    Life(path, replace(FIRST, cooldown=1), state=state).to(3)
    assert checks(path) == [0, 1, 2]
    assert path.read_text().count('"kind": "header"') == 1

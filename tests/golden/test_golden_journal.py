"""What the package decides and says in some forty scripted runs, line by line as it was recorded.

This is the one place where the sentences are asserted. Where a change is meant, ``make golden`` records anew and prints
which fields changed; the difference of the files is then what a reviewer reads.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.golden import journals
from tests.golden.adapter import CONDITIONS, UNRECORDED, Action
from tests.golden.live_runs import checkpoints
from tests.golden.runs import RUNS

SHOWN = 10


@pytest.mark.parametrize("name", RUNS)
def test_run_is_as_recorded(name: str, tmp_path: Path) -> None:
    got = [_without_unrecorded(line) for line in journals.parsed(RUNS[name](tmp_path))]
    pairs = journals.differences(journals.recorded(name), got)
    found = [difference for difference in pairs if not _is_evidence_of_an_unrecorded_condition(difference)]
    if found:
        shown = "\n".join(map(str, found[:SHOWN]))
        more = f"\n... and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        pytest.fail(f"{name} is not as recorded (`make golden` records anew):\n{shown}{more}", pytrace=False)


def test_checkpoints_hold_the_recorded_keys(tmp_path: Path) -> None:
    """A key with another name breaks the resumption of every run that is under way."""
    found = [
        f"{path}: expected {one!r}, got {other!r}"
        for path, one, other in journals.unlike(journals.recorded_keys(), checkpoints(tmp_path))
    ]
    if found:
        pytest.fail("checkpoints are not as recorded (`make golden`):\n" + "\n".join(found[:SHOWN]), pytrace=False)


def test_every_recording_belongs_to_a_run() -> None:
    assert {path.stem for path in journals.FOLDER.glob("*.jsonl")} == set(RUNS)


@pytest.mark.parametrize(("field", "words"), [("condition", CONDITIONS), ("action", [a.value for a in Action])])
def test_every_word_occurs(field: str, words: list[str]) -> None:
    """A condition or an action that no run has would not be compared at all."""
    assert {line["decision"][field] for line in _checks()} == set(words)


def test_no_sentence_depends_on_rounding() -> None:
    """Values on an exact line have an error of 0 or of 5e-17, as the version of Python has it."""
    said = [line["decision"]["reason"] for line in _checks()]
    assert [sentence for sentence in said if re.search(r"\de-1[2-9]|[1-9]\d* ± 0 over", sentence)] == []


def _without_unrecorded(line: dict) -> dict:
    """A new detector that cannot tell yet suspects its condition at nearly every check; that is no other decision."""
    if "suspected" in line:
        line["suspected"] = [condition for condition in line["suspected"] if condition not in UNRECORDED]
    return line


def _is_evidence_of_an_unrecorded_condition(difference: journals.Difference) -> bool:
    """A healthy check lists what every detector has measured, a new one too; that is no other decision."""
    named = re.match(r"decision\.evidence\.[^/]+/([^/]+)/", difference.field)
    return difference.expected == journals.MISSING and named is not None and named[1] in UNRECORDED


def _checks() -> list[dict]:
    return [line for name in RUNS for line in journals.recorded(name) if line["kind"] == "check"]

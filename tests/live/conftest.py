"""Every live test is a test of live ≡ replay as well: whatever journal it leaves behind is replayed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.replays import assert_replays, journals_under


@pytest.fixture(autouse=True)
def every_journal_replays(request: pytest.FixtureRequest) -> Iterator[None]:
    """Opt out with ``@pytest.mark.damages_journal`` where a test cuts, edits or mixes journals on purpose."""
    folder: Path | None = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if folder is not None and not request.node.get_closest_marker("damages_journal"):
        for journal in journals_under(folder):
            assert_replays(journal)

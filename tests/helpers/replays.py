"""live ≡ replay: a journal decided once more with its own settings gives its own decisions, sentence for sentence.

A folder of tests whose ``conftest.py`` imports the two fixtures asks this of every journal that any of its runs
leaves behind, whatever its name, in whichever process it was written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_lr.offline.logs.journal_reader import journal_header, journal_lines
from lightning_lr.offline.replay.replay import Replayer, replay
from lightning_lr.run import setup


def assert_replays(journal_path: Path) -> int:
    """Replay a journal; gives back how many checks it has."""
    settings, _ = journal_header(journal_path)
    checks = 0
    for replayed in replay(journal_lines(journal_path), [Replayer(settings)]):
        checks += 1
        recorded, (now,) = replayed.line.decision, replayed.decisions
        if recorded != now and repr(recorded) != repr(now):  # NaN in the evidence equals no NaN
            show = str if str(recorded) != str(now) else repr
            raise AssertionError(
                f"{journal_path} is not what a replay decides:\nrecorded: {show(recorded)}\nreplayed: {show(now)}"
            )
    return checks


def journals_under(folder: Path) -> list[Path]:
    """Every journal that holds anything; one that was only reserved is empty."""
    return sorted(path for path in folder.rglob("*.jsonl") if path.is_file() and path.stat().st_size)


@pytest.fixture(autouse=True)
def every_journal_replays(
    request: pytest.FixtureRequest, seen_folders: set[Path], shadow: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A run that would write no journal writes one into a folder of ours, so that there is none without.

    Opt out with ``@pytest.mark.damages_journal`` where a test cuts, edits or mixes journals on purpose, or asks that
    there be none.
    """
    damages = request.node.get_closest_marker("damages_journal")
    if not damages:
        plain = setup.journal_path
        monkeypatch.setattr(setup, "journal_path", lambda *where: plain(*where) or shadow / "lr_journal.jsonl")
    folder: Path | None = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    written = journals_under(shadow) + (journals_under(folder) if folder else [])
    seen_folders.update({folder} if folder else ())
    if not damages:
        for journal in written:
            assert_replays(journal)
    for journal in journals_under(shadow):
        journal.unlink()


@pytest.fixture(scope="module")
def shadow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the journals of runs without a folder go."""
    return tmp_path_factory.mktemp("shadow")


@pytest.fixture(autouse=True, scope="module")
def seen_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[Path]]:
    """The folders of single tests; at the end come those that a module's tests share."""
    base = tmp_path_factory.getbasetemp()
    seen = set(base.iterdir())
    yield seen
    for folder in set(base.iterdir()) - seen:
        if folder.is_dir() and not folder.is_symlink():  # pytest keeps links to the newest
            for journal in journals_under(folder):
                assert_replays(journal)

"""live ≡ replay: a journal decided once more with its own settings gives its own decisions, sentence for sentence."""

from __future__ import annotations

from pathlib import Path

from lightning_lr.offline.journal_reader import journal_header, journal_lines
from lightning_lr.offline.replay import differences


def assert_replays(journal_path: Path) -> int:
    """Replay a journal; gives back how many checks it has."""
    settings, _ = journal_header(journal_path)
    differing = differences(journal_lines(journal_path), settings)
    assert not differing, f"{journal_path} is not what a replay decides:\n" + "\n".join(differing[:3])
    return sum(1 for _ in journal_lines(journal_path))


def journals_under(folder: Path) -> list[Path]:
    """Every journal that holds anything; one that was only reserved is empty."""
    return sorted(path for path in folder.rglob("lr_journal*.jsonl") if path.stat().st_size)

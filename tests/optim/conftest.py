"""Every live test is a test of live ≡ replay as well: whatever journal it leaves behind is replayed."""

from tests.helpers.replays import every_journal_replays, seen_folders, shadow

__all__ = ["every_journal_replays", "seen_folders", "shadow"]

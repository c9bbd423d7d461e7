"""Rewrite the recordings, and say which fields of which runs have changed: ``python -m tests.golden``."""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from pathlib import Path

from tests.golden import journals
from tests.golden.live_runs import checkpoints
from tests.golden.runs import RUNS


def main() -> None:
    """Run everything, write it, and print a summary of the changes."""
    changed: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for name, run in RUNS.items():
        before = journals.recorded(name)
        with tempfile.TemporaryDirectory() as folder:
            now = journals.parsed(run(Path(folder)))
        for difference in journals.differences(before, now):
            changed[re.sub(r"\[\d+\]", "[]", difference.field)][name] += 1
        journals.record(name, now)
    with tempfile.TemporaryDirectory() as folder:
        keys = checkpoints(Path(folder))
    for path, *_ in journals.unlike(journals.recorded_keys(), keys):
        changed[path]["checkpoint keys"] += 1
    journals.record_keys(keys)
    for path in journals.FOLDER.glob("*.jsonl"):
        if path.stem not in RUNS:
            path.unlink()
            print(f"removed: {path.name}")  # noqa: T201
    for field, runs in sorted(changed.items()):
        print(f"{field}: {', '.join(f'{name} ({count})' for name, count in runs.items())}")  # noqa: T201
    print(f"{len(RUNS)} runs recorded; {len(changed)} fields changed")  # noqa: T201


if __name__ == "__main__":
    main()

"""``python -m benchmarks.healthy``: replay the recorded healthy logs, and write RESULTS.md. It takes seconds."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.healthy.logs import read_logs
from benchmarks.healthy.record import RECORDED
from benchmarks.healthy.report import report


def main() -> None:
    """Replay, and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.healthy", description=__doc__)
    parser.add_argument("--file", type=Path, default=RECORDED, help="the recorded logs")
    parser.add_argument("--report", type=Path, help="default: RESULTS.md beside them")
    given = parser.parse_args()
    target = given.report or given.file.with_name("RESULTS.md")
    notes = Path(__file__).with_name("notes.md").read_text(encoding="utf-8")
    target.write_text(f"{report(list(read_logs(given.file)))}\n{notes}", encoding="utf-8")
    print(f"written: {target}")


if __name__ == "__main__":
    main()

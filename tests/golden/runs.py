"""All golden runs by their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.golden import engine_runs, live_runs

RUNS: dict[str, Callable[[Path], list[str]]] = {
    **{name: lambda folder, run=run: run() for name, run in engine_runs.RUNS.items()},  # type: ignore[misc]
    **live_runs.RUNS,
}
"""Name → function that trains in an empty folder, and returns the lines of the journal."""

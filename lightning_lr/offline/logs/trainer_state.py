"""``trainer_state.json`` of a Hugging Face Trainer → columns.

Each checkpoint holds the history up to it, so the newest one of a folder has all of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_lr.errors import LogError
from lightning_lr.offline.logs.columns import Log
from lightning_lr.offline.logs.log_readings import logged_run
from lightning_lr.offline.logs.run import Run, Watch

KIND = "Hugging Face trainer state"
FILES: tuple[str, ...] = ("trainer_state.json", "checkpoint-*/trainer_state.json")
TOGETHER = True


def recognizes(path: Path) -> bool:
    """By its name: a checkpoint's file is never called otherwise."""
    return path.name.endswith("trainer_state.json")


def read(paths: Sequence[Path], watch: Watch) -> Run:
    """The longest history of these files.

    Raises:
        LogError: if none of them holds one.
    """
    histories = [(_history(path), path) for path in paths]
    records, path = max(histories, key=lambda found: (_last_step(found[0]), -len(found[1].parts)))
    log = Log()
    for record in records:
        if "train_runtime" in record:  # the means of the whole run, at its end
            continue
        for name, value in record.items():
            if name != "step" and isinstance(value, (int, float)):
                log.add(name, int(record["step"]), float(value))
    return logged_run(path, KIND, log, watch)


def _last_step(records: Sequence[dict[str, Any]]) -> int:
    return max((record["step"] for record in records), default=-1)


def _history(path: Path) -> list[dict[str, Any]]:
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        records = [dict(record) for record in state["log_history"]]
        if all(isinstance(record.get("step"), int) for record in records):
            return records
    except (ValueError, KeyError, TypeError):
        pass
    raise LogError(f"Expected a `log_history` of records with a step in {path} but it holds none; it may be cut off.")

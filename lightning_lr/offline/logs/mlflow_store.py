"""A run in MLflow's store of plain files → columns: one file a metric, one line a value: time, value, step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning_lr.errors import LogError
from lightning_lr.offline.logs.columns import Log
from lightning_lr.offline.logs.log_readings import logged_run
from lightning_lr.offline.logs.run import Run, Watch

KIND = "MLflow run"
FILES: tuple[str, ...] = ("meta.yaml",)
TOGETHER = True


def recognizes(path: Path) -> bool:
    """By the folder of metrics beside it: an experiment has a ``meta.yaml`` as well."""
    return path.name == "meta.yaml" and (path.parent / "metrics").is_dir()


def read(paths: Sequence[Path], watch: Watch) -> Run:
    """All metrics of a run; if every value of one was logged at step 0, its lines are counted.

    Raises:
        LogError: if a line is no time, value and step.
    """
    log, folder = Log(), paths[0].parent / "metrics"
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
            points = [(int(line[2]) if len(line) > 2 else 0, float(line[1])) for line in lines]
        except (ValueError, IndexError) as error:
            raise LogError(f"Expected lines of time, value and step in {path}; it may be cut off.") from error
        counted = any(step for step, _ in points)
        for number, (step, value) in enumerate(points):
            log.add(path.relative_to(folder).as_posix(), step if counted else number, value)
    return logged_run(paths[0].parent, KIND, log, watch)

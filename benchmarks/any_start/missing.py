"""Do the runs that have no line yet, and append their lines as they end."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.any_start.methods import Method
from benchmarks.any_start.pool import run_all
from benchmarks.any_start.results import append, code_tag, latest, read
from benchmarks.any_start.tasks import Task
from benchmarks.any_start.training import Record, load, train

Run = tuple[Task, Method, float, int]


def run_missing(
    runs: Sequence[Run],
    data: Path | None,
    results: Path,
    *,
    jobs: int = 1,
    any_code: bool = False,
    retry_failed: bool = False,
    console: Console | None = None,
) -> int:
    """Returns how many there were to do."""
    console = console or Console()
    tag = cache(code_tag)
    # The state of the code now: a file that is edited while this goes on does not change the runs, nor their tags.
    tags = {(task.name, method.name): tag(task, method) for task, method, _, _ in runs}
    done = latest(read(results))

    def is_done(run: Run) -> bool:
        task, method, start, seed = run
        line = done.get((task.name, method.name, float(start), seed))
        if line is None or (retry_failed and line.get("error")):
            return False
        return any_code or line["code"] == tags[task.name, method.name]

    missing = [run for run in runs if not is_done(run)]
    _warm_up(missing, data)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("any start", total=len(runs), completed=len(runs) - len(missing))
        for (task, method, start, seed, _), record in run_all(train, [(*run, data) for run in missing], jobs):
            if record is None:
                record = {"task": task.name, "method": method.name, "start": start, "seed": seed, "error": "killed"}
            append(results, record | {"code": tags[task.name, method.name]})
            progress.update(bar, advance=1, description=f"{task.name} {method.name} ×{start:g} seed {seed}")
            if not console.is_terminal:
                console.print(line_of(record), highlight=False, soft_wrap=True)
    return len(missing)


def line_of(record: Record) -> str:
    """For a log: what ran, how it ended."""
    said = record.get("error") or f"validation {record['val_loss']}, test {record['test_loss']}"
    place = f"{record['task']:20} {record['method']:18} ×{record['start']:<5g} seed {record['seed']}"
    return f"{place}  {said}  {record.get('seconds', 0):.1f} s"


def _warm_up(runs: Sequence[Run], data: Path | None) -> None:
    """What every run needs, before the first fork."""
    for task in {run[0].name: run[0] for run in runs}.values():
        load(task, data)
    if any(run[1].package == "transformers" for run in runs):
        import transformers.optimization  # noqa: F401
    if any(run[1].ours for run in runs):
        from lightning_lr import LearningRateController  # noqa: F401

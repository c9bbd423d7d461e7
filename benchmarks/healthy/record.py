"""Train the runs, and keep their logs: ``python -m benchmarks.healthy.record --data DATA_FOLDER``.

Plain torch, one thread, seeded. First the rate of each kind of run is tuned (final validation loss of one run at each
candidate), then each run of the plan is trained at its tuned rate. None is left out, however it ended. A line of
``recorded.jsonl.gz`` is one run: the validation loss before the first step and at each check, the means of the training
loss over four blocks of steps a check, and the rate at each check.

Takes about a quarter of an hour on one idle core; to replay what was recorded takes seconds.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks.any_start.tasks import TASKS
from benchmarks.healthy.plan import BATCH, SCHEDULES, Run, plan

RECORDED = Path(__file__).with_name("recorded.jsonl.gz")
BLOCKS = 4


def record(run: Run, lr: float, folder: Path | None) -> dict[str, Any]:
    """Train once, and return the line of the file."""
    import torch
    from torch.nn.functional import cross_entropy, mse_loss

    task, data = run.of, loaded(run.task, folder)
    torch.manual_seed(run.seed)
    model = task.model(data)
    optimizer: Any
    if run.optimizer == "sgd":
        optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=task.weight_decay, fused=True)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=task.weight_decay, fused=True)
    rows, count = data.validation, round(run.validation * len(data.validation))  # type: ignore[arg-type]
    held = rows[torch.arange(count)]

    def loss(batch: Any) -> Any:
        outputs = model(batch[0])
        return mse_loss(outputs.squeeze(-1), batch[1]) if task.regression else cross_entropy(outputs, batch[1])

    def validated() -> float | None:
        model.eval()
        with torch.no_grad():
            value = loss(held).item()
        model.train()
        return number([value], digits=6)

    batch = min(BATCH * task.batch, len(data.train))  # type: ignore[arg-type]
    each = len(data.train) // batch  # type: ignore[arg-type]
    line: dict[str, Any] = {"run": asdict(run), "lr": lr, "start": validated(), "val": [], "blocks": [], "rates": []}
    for epoch in range(run.epochs):
        losses: list[float] = []
        order = torch.randperm(len(data.train))  # type: ignore[arg-type]
        for step, rows_of in enumerate(order.split(batch)[:each]):
            rate = lr * SCHEDULES[run.schedule]((epoch * each + step) / (run.epochs * each))
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
            value = loss(data.train[rows_of])
            value.backward()
            optimizer.step()
            losses.append(value.item())
        size = math.ceil(len(losses) / BLOCKS)
        line["val"].append(validated())
        line["blocks"].append([number(losses[i : i + size], digits=5) for i in range(0, len(losses), size)])
        line["rates"].append(number([rate], digits=3))
    return line


def tuned(run: Run, folder: Path | None) -> float:
    """The candidate with the lowest final validation loss."""
    finals = {lr: record(run, lr, folder)["val"][-1] for lr in run.candidates}
    return min(finals, key=lambda lr: math.inf if finals[lr] is None else finals[lr])


def number(values: list[float], digits: int) -> float | None:
    """Mean with so many digits; ``None`` where it is not finite, since JSON has no word for that.

    >>> number([0.1234567, 0.1234567], digits=3), number([math.inf], digits=3)
    (0.123, None)
    """
    mean = sum(values) / len(values)
    return float(f"{mean:.{digits}g}") if math.isfinite(mean) else None


def lines(seeds: int, folder: Path | None) -> Iterator[dict[str, Any]]:
    """All runs of the plan."""
    rate = cache(partial(tuned, folder=folder))
    for run in plan(seeds):
        yield record(run, rate(run.tuned_alike), folder)


@cache
def loaded(task: str, folder: Path | None) -> Any:
    """The three splits, read once."""
    return next(one for one in TASKS if one.name == task).data(folder)


def main() -> None:
    """Record all runs of the plan; one without its data set says so, and nothing is written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the larger data sets")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--file", type=Path, default=RECORDED)
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    fresh = given.file.with_suffix(".part")
    with fresh.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as file:
        for line in lines(given.seeds, given.data):
            file.write((json.dumps(line, separators=(",", ":")) + "\n").encode())
            print(Run(**line["run"]), line["lr"], line["val"][-1], flush=True)
    fresh.replace(given.file)


if __name__ == "__main__":
    main()

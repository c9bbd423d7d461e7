r"""``python -m benchmarks.any_start.short``: runs of 80 to 450 steps, of kinds that the long tasks have not.

The peers are constant, cosine and hold-then-fall (wsd), each from five starts; ours runs from × 0.01, 1 and 100. Beside
the comparison with the best tuned peer stands that with the plain run at the same start, for the last weights and for
the best validation. It can be stopped at any time, and goes on where it was::

    python -m benchmarks.any_start.short --data ../shared/data --seeds 3
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from rich.console import Console

from benchmarks.any_start import data, models, results
from benchmarks.any_start.methods import method_named
from benchmarks.any_start.missing import run_missing
from benchmarks.any_start.report import number, table
from benchmarks.any_start.score import Record, champions, loss, quantile
from benchmarks.any_start.tasks import FASHION, STARTS, Task
from benchmarks.detection.intervals import bootstrap

RESULTS = Path(__file__).with_name("short.jsonl")
PEERS = ("constant", "cosine", "wsd")
OURS = "auto"
PAIRED = "× 1 / plain"
OUR_STARTS = (0.01, 1.0, 100.0)

TASKS = (
    Task("wine-adamw", data.small_wine, models.narrow_perceptron, "adamw", 1e-3, 16, 16),
    Task("cancer-adamw", data.cancer, models.narrow_perceptron, "adamw", 1e-3, 28, 32, 0.01),
    Task("digits-rmsprop", data.digits, models.perceptron, "rmsprop", 1e-3, 5, 32),
    Task("digits-adagrad", data.digits, models.perceptron, "adagrad", 0.01, 10, 32),
    Task("digits-gru-adam", data.digits, models.recurrent, "adam", 1e-3, 10, 32),
    Task("digits-deepln-adamw", data.digits, models.deep_layer_norm, "adamw", 1e-3, 14, 32, 0.01),
    Task("digits-bn-sgd", data.digits, models.normed_perceptron, "sgd", 0.1, 14, 32, 5e-4),
    Task("digits-overfits-adamw", data.small_digits, models.deep_perceptron, "adamw", 1e-3, 70, 32, 0.01),
    Task("cancer-full-adam", data.cancer, models.narrow_perceptron, "adam", 1e-2, 300, 300, full_batch=True),
    Task(
        "finetune-short-adamw", data.fashion_half, models.pretrained_convnet, "adamw", 1e-3, 4, 64, 0.01, None, FASHION
    ),
    Task("finetune-short-sgd", data.fashion_half, models.pretrained_convnet, "sgd", 0.01, 6, 64, 0.0, None, FASHION),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, then write the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, help="folder with the data sets; without it no fine-tuning")
    options.add_argument("--tasks", nargs="+", default=[task.name for task in TASKS])
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--results", type=Path, default=RESULTS)
    options.add_argument("--report-only", action="store_true", help="run nothing")
    given = options.parse_args(arguments)
    chosen = [task for task in TASKS if task.name in given.tasks and (task.needs is None or given.data is not None)]
    if not given.report_only:
        runs = [
            (task, method_named(name), start, seed)
            for seed in range(given.seeds)
            for task in chosen
            for name in (OURS, *PEERS)
            for start in (OUR_STARTS if name == OURS else STARTS)
        ]
        # What says most comes first: ours and the peers at the usual rate, then the peers further and further away.
        runs.sort(key=lambda run: (run[3], 0.0 if run[1].ours else abs(math.log10(run[2]))))
        run_missing(runs, given.data, given.results, console=Console())
    target = given.results.with_name("SHORT.md")
    target.write_text(report(results.read(given.results)))
    Console().print(f"written: {target}")


# --- the table --------------------------------------------------------------------------------------------------------

Ratio = Callable[[str, int], float]


def report(records: Sequence[Record]) -> str:
    """The tables, from the lines of the results."""
    lines = results.latest(records)
    best = champions(lines.values(), PEERS)
    seeds = sorted({seed for _, _, _, seed in lines})
    rows, columns = [], _columns(lines, best)
    for task in TASKS:
        cells = [_mean(ratio, task.name, seeds) for ratio in columns.values()]
        if any(math.isfinite(cell) for cell in cells):
            steps = next((line["budget"] for key, line in lines.items() if key[0] == task.name and "budget" in line), 0)
            rows.append((task.name, steps, cells))
    body = [[name, str(steps), *map(number, cells)] for name, steps, cells in rows]
    for line in body:  # the paired comparison with its range over the seeds
        found = [value for seed in seeds if not math.isnan(value := columns[PAIRED](line[0], seed))]
        line[2] += f" ({number(min(found))} to {number(max(found))})" if len(found) > 1 else ""
    by_column = [
        [cell for cell in column if math.isfinite(cell)] for column in zip(*(c for *_, c in rows), strict=True)
    ]
    for name, share in (("median", 0.5), ("90th percentile", 0.9), ("worst", 1.0)):
        body.append([f"**{name}**", "", *(number(quantile(column, share)) for column in by_column)])
    body.append(["95 % interval of the median", "", *map(_interval, by_column)])
    failed = [line for line in lines.values() if line.get("error")]
    return HEAD.format(
        runs=len(lines),
        wanted=len(seeds) * len(TASKS) * (len(OUR_STARTS) + len(PEERS) * len(STARTS)),
        seeds=len(seeds),
        failed=f" {len(failed)} ended in an error." if failed else "",
        missing=", ".join(task.name for task in TASKS if task.name not in {row[0] for row in rows}) or "none",
    ) + table(["task", "steps", *columns], body)


HEAD = """# Any start, short runs: what was measured

Written by `python -m benchmarks.any_start.short`; do not edit. {runs} runs of {wanted}, at most {seeds} seeds.{failed}
Tasks not run: {missing}.

Each cell is the mean over the seeds, in brackets their range. *plain* is the constant rate, *best* the peer with the
lowest final validation loss among constant, cosine and hold-then-fall, from the starts that were run; losses are those
of the test data in the last weights, unless *validation* is said, with a hundredth of the untrained loss added to both
(0.002 is as good as 0.001). What a search costs is charged by shortening our run: of 80 steps we make 78.
*search* is the share of the budget that went into forward passes beside the ordinary ones, each counted whole and as a
third of a step, in %. *time* is the share of our budget after which our validation loss was first at or below the end
of the tuned cosine (1: at its end, or never). *rate* is what ours found from × 0.01 over the best constant rate.

"""


def _columns(lines: dict[Any, Record], best: dict[tuple[str, int], Record]) -> dict[str, Ratio]:
    def line(task: str, method: str, start: float, seed: int) -> Record:
        return lines.get((task, method, start, seed), {})

    def over(start: float, method: str, what: str = "test_loss") -> Ratio:
        return lambda task, seed: _ratio(line(task, OURS, start, seed), line(task, method, start, seed), what)

    def over_best(start: float) -> Ratio:
        return lambda task, seed: _ratio(line(task, OURS, start, seed), best.get((task, seed), {}), "test_loss")

    def search(start: float) -> Ratio:
        def share(task: str, seed: int) -> float:
            ours = line(task, OURS, start, seed)
            return 100 * ours["forwards"] / 3 / ours["budget"] if "forwards" in ours else math.nan

        return share

    def tuned(task: str, method: str, seed: int) -> Record:
        found = [line(task, method, start, seed) for start in STARTS]
        return min((one for one in found if one), key=lambda one: loss(one, "val_loss"), default={})

    def time(task: str, seed: int) -> float:
        ours, cosine = line(task, OURS, 1.0, seed), tuned(task, "cosine", seed)
        curve = ours.get("curve") or []
        reached = [at for at, value in enumerate(curve, 1) if value is not None and value <= loss(cosine, "val_loss")]
        return math.nan if not curve or not cosine else reached[0] / len(curve) if reached else 1.0

    def rate(task: str, seed: int) -> float:
        ours, constant = line(task, OURS, 0.01, seed), tuned(task, "constant", seed)
        reference = next(one.lr for one in TASKS if one.name == task)
        found = ours.get("lr_found")
        return found / (reference * constant["start"]) if found and constant else math.nan

    return {
        PAIRED: over(1.0, "constant"),
        "the same, validation": over(1.0, "constant", "val_loss"),
        "the same, best validation": over(1.0, "constant", "val_best"),
        "× 1 / cosine": over(1.0, "cosine"),
        "× 0.01 / best": over_best(0.01),
        "× 100 / best": over_best(100.0),
        "× 0.01 / plain": over(0.01, "constant"),
        "× 100 / plain": over(100.0, "constant"),
        "search × 1": search(1.0),
        "search × 0.01": search(0.01),
        "time": time,
        "rate": rate,
    }


def _ratio(ours: Record, theirs: Record, what: str) -> float:
    """Of the losses, with a hundredth of the untrained one added to both."""
    if not ours or not theirs or theirs.get("error") or ours.get("error"):
        return math.nan
    floor = 0.01 * float(ours["untrained_test"])
    return (loss(ours, what) + floor) / (loss(theirs, what) + floor)


def _interval(column: Sequence[float]) -> str:
    """Of the median over the tasks: of so many tasks drawn with replacement."""
    if len(column) < 3:
        return "–"
    return " to ".join(map(number, bootstrap(column, of=median)))


def _mean(ratio: Ratio, task: str, seeds: Sequence[int]) -> float:
    found = [value for seed in seeds if not math.isnan(value := ratio(task, seed))]
    return fmean(found) if found else math.nan


if __name__ == "__main__":
    main()

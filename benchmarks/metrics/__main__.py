"""Write RESULTS.md and the figure from the recorded runs: ``python -m benchmarks.metrics``.

Needs neither torch nor data; :mod:`benchmarks.metrics.record` made the runs, :mod:`benchmarks.metrics.overhead`
measures what the probes cost and writes overhead.json, whose figures the table repeats.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.detection.labels import label, numbers
from benchmarks.metrics.cut_report import cut_figure, cut_table
from benchmarks.metrics.judges import JUDGES, mean_of, readings
from benchmarks.metrics.record import RECORDED
from lightning_lr.engine.detectors.incoherence import IncoherenceDetector
from lightning_lr.engine.detectors.oscillation import OscillationDetector
from lightning_lr.engine.detectors.slow_progress import SlowProgressDetector
from lightning_lr.engine.vocabulary import Condition
from lightning_lr.offline.evaluate import alarms_of, score

FOLDER = Path(__file__).parent
FIGURE = FOLDER.parents[1] / "docs" / "images" / "flips.svg"


def recorded(path: Path = RECORDED) -> list[dict[str, Any]]:
    """All recorded runs."""
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


def onset(line: dict[str, Any]) -> int | None:
    """The minimum of the smoothed test loss, where the run overfits by the rule of the detection benchmark."""
    train = [fmean(numbers(block)) for block in line["blocks"]]
    found = label(numbers(line["test"]), train, line["start"])
    return found[1] if found is not None and found[0] is Condition.OVERFITTING else None


def overfitting_table(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Delay, misses and early alarms of each judge on each task; false alarms on the runs that do not overfit."""
    rows = ["| task | runs that overfit | judge (needs) | delay | missed | alarm before the onset |"]
    rows += ["| --- | ---: | --- | ---: | ---: | ---: |"]
    tasks = {"noisy-digits": "digits, 30 % wrong labels", "red-wine": "red wine", "cora": "Cora"}
    for task, title in tasks.items():
        ill = [line for line in runs if line["run"]["task"] == task and onset(line) is not None]
        for name, judge in JUDGES.items():
            found = score([(judge(line), onset(line), len(line["val"])) for line in ill])
            rows.append(
                f"| {title} | {len(ill)} | {name} | {found.delay:.1f} | {100 * found.missed:.0f} % | "
                f"{100 * found.false_runs:.0f} % |"
            )
    well = [line for line in runs if onset(line) is None]
    rows += ["", "| judge (needs) | runs that do not overfit | with a false alarm |", "| --- | ---: | ---: |"]
    for name, judge in JUDGES.items():
        false = sum(bool(judge(line)) for line in well)
        rows.append(f"| {name} | {len(well)} | {false} ({100 * false / len(well):.0f} %) |")
    return rows


def conditions_table(runs: Sequence[dict[str, Any]]) -> list[str]:
    """How many runs of each kind the other detectors speak of, and at which check first (median)."""
    detectors = [IncoherenceDetector(), OscillationDetector(), SlowProgressDetector()]
    rows = ["| run | runs | " + " | ".join(str(d.condition) for d in detectors) + " |"]
    rows += ["| --- | ---: | --- | --- | --- |"]
    kinds: dict[str, list[dict[str, Any]]] = {}
    for line in runs:
        kinds.setdefault(line["name"].rpartition("-s")[0], []).append(line)
    for kind, lines in kinds.items():
        cells = []
        for detector in detectors:
            alarms = [found[0] for line in lines if (found := alarms_of(detector, before_cut(line), ("val_loss",)))]
            cells.append(f"{len(alarms)}, from check {sorted(alarms)[len(alarms) // 2]}" if alarms else "0")
        rows.append(f"| {kind} | {len(lines)} | {' | '.join(cells)} |")
    return rows


def before_cut(line: dict[str, Any]) -> list[Any]:
    """The readings up to the cut, where there is one."""
    return readings(line)[: line["run"]["cut_at"] or None]


def flips(runs: Sequence[dict[str, Any]]) -> list[tuple[float, float, float]]:
    """Learning rate, flip rate before the cut to 0.3, and after it; mean over the seeds."""
    swept = [line for line in runs if line["run"]["cut_at"]]
    rates = sorted({line["run"]["lr"] for line in swept})
    found = []
    for rate in rates:
        lines = [line for line in swept if line["run"]["lr"] == rate]
        cut = lines[0]["run"]["cut_at"]
        before = fmean(mean_of(line, "flip_rate", cut - 10, cut) for line in lines)
        found.append((rate, before, fmean(mean_of(line, "flip_rate", cut + 1, cut + 11) for line in lines)))
    return found


def flips_table(runs: Sequence[dict[str, Any]]) -> list[str]:
    """The same as a table, with the share of dead units."""
    rows = ["| learning rate | flip rate, ten checks before the cut to 0.3 | ten checks after | dead units |"]
    rows += ["| ---: | ---: | ---: | ---: |"]
    for rate, before, after in flips(runs):
        lines = [line for line in runs if line["run"]["cut_at"] and line["run"]["lr"] == rate]
        dead = fmean(mean_of(line, "dead_units", 15, 25) for line in lines)
        rows.append(f"| {rate:g} | {100 * before:.2f} % | {100 * after:.2f} % | {100 * dead:.0f} % |")
    return rows


def figure(runs: Sequence[dict[str, Any]]) -> None:
    """Flips against the rate, before and after the cut."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "lightning_lr"
    import matplotlib.pyplot as plt

    drawn, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    rates, before, after = zip(*flips(runs), strict=True)
    axes.loglog(rates, [100 * value for value in before], "o-", color="#D55E00", label="at the rate")
    axes.loglog(rates, [100 * value for value in after], "s--", color="#0072B2", label="after a cut to 0.3 of it")
    axes.set(xlabel="learning rate (SGD, digits)", ylabel="flip rate (%)", title="Neuron coherence")
    axes.annotate("most units dead", (rates[-1], 100 * before[-1]), xytext=(-60, -25), textcoords="offset points")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    drawn.savefig(FIGURE, metadata={"Date": None})


def overhead_table() -> list[str]:
    """What overhead.json holds, if it was measured."""
    path = FOLDER / "overhead.json"
    if not path.exists():
        return ["Not measured yet: `python -m benchmarks.metrics.overhead`."]
    rows = ["| model | probe | its own calls, of the bare step | ratio of the blocks − 1 | quartiles | bare step |"]
    rows += ["| --- | --- | ---: | ---: | ---: | ---: |"]
    for found in json.loads(path.read_text()):
        low, high = found["quartiles"]
        rows.append(
            f"| {found['model']} | {found['probe']} | {100 * found['own']:.2f} % | {100 * found['share']:+.1f} % | "
            f"{100 * low:+.1f} to {100 * high:+.1f} % | {1000 * found['bare']:.1f} ms |"
        )
    return rows


HEAD = """# What the probes bring and cost

Written by `python -m benchmarks.metrics`; nothing here is typed by hand. The runs were recorded by
`python -m benchmarks.metrics.record --data FOLDER` (plain torch, one check an epoch, {seeds} seeds).

## Overfitting, with a validation set and without

The onset is the minimum of the smoothed test loss, which no judge sees. *Delay*: mean checks from the onset to the
first alarm at or after it; a missed onset counts with all the checks that were left. Small samples: trust the order.
"""


def main() -> None:
    """Write the table and the figure."""
    runs = recorded()
    seeds = len({line["run"]["seed"] for line in runs})
    parts = [
        HEAD.format(seeds=seeds),
        *overfitting_table(runs),
        "\n## Flips against the learning rate\n",
        *flips_table(runs),
        "\n## The cut that incoherence asks for\n",
        "Real runs with the default policy (digits, plain SGD, no search, no anneal), each beside the same run with "
        "`dry_run=True`, which decides but changes nothing: the two are one up to the decision. Flip rates of the five "
        "checks before it, and of five after it (from the second on); mean and range over the seeds "
        "(`python -m benchmarks.metrics.cut`).\n",
        *cut_table(),
        "\n## Where the other detectors speak\n",
        "Runs with an alarm, and the check of the first (median); up to the cut, where there is one.\n",
        *conditions_table(runs),
        "\n## Overhead\n",
        "Alternating blocks of 100 steps and a check, with and without, on one thread; CPU time; medians over the "
        "pairs of blocks (`python -m benchmarks.metrics.overhead`). Default cadence.\n",
        *overhead_table(),
    ]
    (FOLDER / "RESULTS.md").write_text("\n".join(parts) + "\n")
    figure(runs)
    cut_figure()
    print(FOLDER / "RESULTS.md")


if __name__ == "__main__":
    main()

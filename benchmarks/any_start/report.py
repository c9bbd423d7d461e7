"""``RESULTS.md`` and its picture, from the lines of the results: nothing is run here, and nothing is left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmarks.any_start.methods import PEERS, method_named
from benchmarks.any_start.results import latest, spread
from benchmarks.any_start.score import (
    Outcome,
    Record,
    champions,
    compared_with,
    loss,
    outcomes,
    summary,
    without,
)

HEAD = """# Any start: what was measured

Written by the command below; do not edit. {runs} runs so far, {missing}.{states}

```
{command}
```

Each method trains each task from the reference learning rate × {starts}. For each task and seed, the best peer at its
best start is chosen on the **validation** loss at the end of the run, as a user would choose it after trying them all.
Every run, of ours and of the peers, is then compared with that one run on the **test** loss, which no method and no
choice has seen. A ratio of 1.00 means: as good as the best tuned run of the best peer. All have the same budget of
steps; the steps of Lightning's finder are part of it, and forward passes beside those of training and of the epoch's
validation count as a third of a step. *Regret* is the share of what that run gained over the untrained model which was
not gained (at most 1), with a 95 % bootstrap interval over seeds{interval}. *Diverged*: ended in
no number, or with a validation loss above the untrained one, which a model that overfits with confidence does too.
"""
TASK_ORDER_NOTE = "Mean ratio over the seeds; † marks a start from which a run diverged."


def number(value: float | None, digits: int = 2) -> str:
    """For a table; what is huge is as good as infinite."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value) or value >= 1e6:
        return "∞"
    return f"{value:.{digits}f}" if value < 100 else f"{value:.0f}" if value < 1000 else f"{value:.0e}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def write_report(records: Sequence[Record], target: Path, command: str) -> None:
    """The text, and beside it the picture of the same name."""
    lines = list(latest(records).values())
    known = {name: _known(name) for name in {line["method"] for line in lines}}
    every = spread(lines, {name: method for name, method in known.items() if method is not None})
    compared = outcomes(every, PEERS)
    picture = target.with_name(target.stem.lower() + ".png")
    target.parent.mkdir(parents=True, exist_ok=True)
    parts = [_head(lines, every, command)]
    if compared:
        _draw(compared, picture)
        parts += [
            f"![ratio over start, one panel a task]({picture.name})\n",
            "## All tasks and starts\n",
            _methods_table(compared, every),
            "## How near a tuned run comes\n",
            _places_table(every),
            "## The runs that all are compared with\n",
            _champions_table(every),
            f"## Task by task\n\n{TASK_ORDER_NOTE}\n",
            *_task_tables(compared),
            "## One task left out at a time\n",
            _left_out_table(compared),
            "## Where ours loses\n",
            _losses_table(compared),
        ]
    parts += ["## What the runs cost\n", _cost_table(lines), _failures(lines)]
    target.write_text("\n".join(parts).rstrip() + "\n")


def _known(name: str) -> Any:
    try:
        return method_named(name)
    except SystemExit:
        return None


def _is_ours(name: str) -> bool:
    return name not in PEERS


def _order(names: Iterable[str]) -> list[str]:
    """Ours first, then the peers as they are listed."""
    peers = list(PEERS)
    return sorted(set(names), key=lambda name: (not _is_ours(name), peers.index(name) if name in peers else 0, name))


def _tasks(compared: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(outcome.task for outcome in compared))


def _head(lines: Sequence[Record], every: Sequence[Record], command: str) -> str:
    seeds = {line["seed"] for line in lines}
    tasks = {line["task"] for line in lines}
    starts = sorted({line["start"] for line in every})
    methods = {line["method"] for line in lines}
    expected = sum(1 if (m := _known(name)) and m.ignores_start else len(starts) for name in methods)
    wanted = len(tasks) * len(seeds) * expected
    missing = "none missing" if wanted <= len(lines) else f"of {wanted} that these tasks, methods and seeds would make"
    return HEAD.format(
        runs=len(lines),
        missing=f"{len(tasks)} tasks, {len(methods)} methods, {len(seeds)} seed{'s' * (len(seeds) != 1)}; {missing}",
        states="".join(f" `{name}` has runs of {n} states of the code." for name, n in _states(lines).items() if n > 1),
        command=command,
        starts=", ".join(f"{start:g}" for start in starts),
        interval="" if len(seeds) > 1 else " (none yet: there is one seed)",
    )


def _states(lines: Sequence[Record]) -> dict[str, int]:
    """Method → states of the code of its lines, at most, over the tasks: after a change of ours the old ones remain."""
    codes: dict[tuple[str, str], set[str]] = {}
    for line in lines:
        codes.setdefault((line["method"], line["task"]), set()).add(line.get("code", ""))
    return {name: max(len(found) for (other, _), found in codes.items() if other == name) for name, _ in codes}


def _methods_table(compared: Sequence[Outcome], every: Sequence[Record]) -> str:
    rows = []
    for name in _order(outcome.method for outcome in compared):
        chosen = [outcome for outcome in compared if outcome.method == name]
        found = summary(chosen)
        tuned = summary(_at_best_start(chosen, every))
        interval = "" if found.interval is None else f" ({found.interval[0]:.3f} to {found.interval[1]:.3f})"
        rows.append(
            (
                f"**{name}**" if _is_ours(name) else name,
                "1" if _is_ours(name) or PEERS[name].ignores_start else "5",
                f"{found.tasks}",
                f"{found.runs} ({_different(chosen)})",
                number(found.median),
                number(found.p90),
                number(found.worst),
                f"{found.close:.0%}",
                f"{found.diverged}",
                f"{found.regret:.3f}{interval}",
                f"{number(tuned.median)} / {number(tuned.worst)}",
            )
        )
    header = (
        "method", "runs a user needs", "tasks", "ends (different)", "median", "90th percentile", "worst", "≤ 1.1",
        "diverged", "regret", "at its own best start: median / worst",
    )  # fmt: skip
    note = (
        "An *end* is a task, a start and a seed; in brackets, how many differ: a method that ignores the start\n"
        "(the sweep of ours may, too) ends alike from all five, which is then one observation and not five.\n\n"
    )
    return note + table(header, rows)


def _places_table(every: Sequence[Record]) -> str:
    """The tuned peers behind the best one, held against it like ours: what a target can be told from chance."""
    best, rows = champions(every, PEERS), []
    for place in (2, 3, 5, 10):
        found = summary(compared_with(best, champions(every, PEERS, place).values()))
        rows.append((str(place), str(found.runs), *_three(found), f"{found.close:.0%}"))
    note = (
        "The run that all are compared with is the best of several dozen on one validation set. The peers' runs that\n"
        "come next on it, of whatever method and start, end like this on the same test data:\n\n"
    )
    return note + table(("place on validation", "runs", "median", "90th percentile", "worst", "≤ 1.1"), rows)


def _different(chosen: Iterable[Outcome]) -> int:
    return len({(outcome.task, outcome.seed, f"{outcome.ratio:.5g}") for outcome in chosen})


def _at_best_start(chosen: Sequence[Outcome], every: Sequence[Record]) -> list[Outcome]:
    """Of each task and seed the start that is best on validation: what the method gives to a user who tries five."""
    if not chosen:
        return []
    best = champions(every, {chosen[0].method})
    starts = {place: record["start"] for place, record in best.items()}
    return [outcome for outcome in chosen if starts.get((outcome.task, outcome.seed)) == outcome.start]


def _champions_table(every: Sequence[Record]) -> str:
    rows = [
        (
            task,
            str(seed),
            record["method"],
            "any" if PEERS[record["method"]].ignores_start else f"× {record['start']:g}",
            f"{loss(record, 'val_loss'):.4f}",
            f"{loss(record, 'test_loss'):.4f}",
            number(record.get("test_acc"), 3),
            f"{loss(record, 'untrained_test'):.3f}",
        )
        for (task, seed), record in champions(every, PEERS).items()
    ]
    header = ("task", "seed", "best peer", "start", "validation", "test", "test accuracy", "untrained")
    return table(header, rows)


def _task_tables(compared: Sequence[Outcome]) -> list[str]:
    starts = sorted({outcome.start for outcome in compared})
    tables = []
    for task in _tasks(compared):
        rows = []
        for name in _order(outcome.method for outcome in compared if outcome.task == task):
            cells = []
            for start in starts:
                runs = [o for o in compared if (o.task, o.method, o.start) == (task, name, start)]
                mark = " †" * any(outcome.diverged for outcome in runs)
                cells.append(number(fmean(outcome.ratio for outcome in runs)) + mark if runs else "")
            rows.append((f"**{name}**" if _is_ours(name) else name, *cells))
        tables.append(f"### {task}\n\n" + table(("method", *(f"× {start:g}" for start in starts)), rows))
    return tables


def _left_out_table(compared: Sequence[Outcome]) -> str:
    names = _order(outcome.method for outcome in compared)
    best_peer = min((n for n in names if not _is_ours(n)), key=lambda n: _median(compared, n), default=None)
    shown = [name for name in names if _is_ours(name) or name == best_peer]
    rows = []
    for name in shown:
        chosen = [outcome for outcome in compared if outcome.method == name]
        for task in _tasks(chosen):
            alone, rest = summary([outcome for outcome in chosen if outcome.task == task]), without(chosen, task)
            rows.append((name, task, *_three(alone), *_three(rest)))
    note = "The defaults on one task, and on all the others; ours, and of the peers the one with the lowest median.\n\n"
    header = ("method", "task", "median", "90th percentile", "worst", "others: median", "90th percentile", "worst")
    return note + table(header, rows)


def _median(compared: Sequence[Outcome], name: str) -> float:
    return summary([outcome for outcome in compared if outcome.method == name]).median


def _three(found: Any) -> tuple[str, str, str]:
    return number(found.median), number(found.p90), number(found.worst)


def _losses_table(compared: Sequence[Outcome], count: int = 15) -> str:
    ours = sorted((o for o in compared if _is_ours(o.method) and o.ratio > 1.1), key=lambda o: -o.ratio)
    if not any(_is_ours(outcome.method) for outcome in compared):
        return "No run of ours yet.\n"
    if not ours:
        return "No run of ours is more than 10 % worse than the best tuned peer.\n"
    rows = [
        (o.method, o.task, f"× {o.start:g}", str(o.seed), number(o.ratio), number(o.regret, 3), "yes" * o.diverged)
        for o in ours[:count]
    ]
    note = f"{len(ours)} runs are more than 10 % worse; the worst of them:\n\n"
    return note + table(("method", "task", "start", "seed", "ratio", "regret", "diverged"), rows)


def _cost_table(lines: Sequence[Record]) -> str:
    rows = []
    for task in _tasks_of(lines):
        peers = [line["seconds"] for line in lines if line["task"] == task and not _is_ours(line["method"])]
        ours = [line["seconds"] for line in lines if line["task"] == task and _is_ours(line["method"])]
        budget = next((line["budget"] for line in lines if line["task"] == task and "budget" in line), 0)
        cells = (number(median(times), 1) if times else "–" for times in (peers, ours))
        rows.append((task, f"{budget}", *cells))
    note = "Wall time on whatever machine ran them, one thread, other processes beside it: compare with care.\n\n"
    return note + table(("task", "steps", "seconds a run, peers", "seconds a run, ours"), rows)


def _tasks_of(lines: Iterable[Record]) -> list[str]:
    return list(dict.fromkeys(line["task"] for line in lines))


def _failures(lines: Sequence[Record]) -> str:
    failed: dict[tuple[str, str], int] = {}
    for line in lines:
        if line.get("error"):
            place = line["method"], line["error"]
            failed[place] = failed.get(place, 0) + 1
    if not failed:
        return ""
    rows = [(method, f"`{error}`", str(count)) for (method, error), count in failed.items()]
    return "## Runs that failed\n\nThey count as diverged.\n\n" + table(("method", "error", "runs"), rows)


def _draw(compared: Sequence[Outcome], path: Path) -> None:
    """One panel a task: the ratio over the start, ours thick."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    tasks, names = _tasks(compared), _order(outcome.method for outcome in compared)
    columns = min(4, len(tasks))
    rows = -(-len(tasks) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(3.6 * columns, 2.8 * rows), squeeze=False, sharey=True)
    shade: Callable[[float], Any] = mpl.colormaps["tab20"]
    for panel in axes.flat[len(tasks) :]:
        panel.axis("off")
    for panel, task in zip(axes.flat, tasks, strict=False):
        for index, name in enumerate(reversed(names)):
            runs = [o for o in compared if o.task == task and o.method == name]
            starts = sorted({o.start for o in runs})
            means = [min(20.0, fmean(o.ratio for o in runs if o.start == start)) for start in starts]
            style = {"color": "black", "linewidth": 2.5} if name == "auto" else {"color": shade(index % 20 / 19.0)}
            panel.plot(starts, means, marker=".", label=name, **({"linewidth": 1.0} | style))
        panel.axhline(1.1, color="grey", linewidth=0.5, linestyle=":")
        panel.set(title=task, xscale="log", yscale="log", ylim=(0.7, 21))
        panel.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "≥ 20"])
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="lower center", ncols=6, fontsize="small")
    figure.supylabel("test loss / that of the best tuned peer")
    figure.supxlabel("learning rate at the start / reference", y=0.1)
    figure.tight_layout(rect=(0.02, 0.11, 1, 1))
    figure.savefig(path, dpi=90, metadata={"Software": None})
    pyplot.close(figure)

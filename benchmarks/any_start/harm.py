"""``python -m benchmarks.any_start.harm``: our callback on top of a schedule that is already well tuned.

*Do no harm*: for each task and seed the best tuned schedule among the peers, with our callback against without it, from
the same seed. *False actions*: short runs with each schedule at its best start, each beside its twin without us; an
action is false where the run acted and its test loss is worse than its twin's by more than the spread of the seeds.

Which schedule and start are the best is read from the results of ``python -m benchmarks.any_start``, on validation.
Twins are pairs only on one machine: another processor adds in another order. The report counts pairs without an action
that differ all the same; where there are any, move the file of results away and run both anew.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from benchmarks.any_start import results, tasks
from benchmarks.any_start.methods import PEERS, method_named
from benchmarks.any_start.missing import Run, run_missing
from benchmarks.any_start.report import number, table
from benchmarks.any_start.score import Record, champions, loss

SCHEDULES = ("cosine", "one-cycle", "wsd", "plateau", "finder+cosine", "finder+one-cycle")
SHORT = ("cosine", "one-cycle", "wsd")
HARM = results.RESULTS.with_name("harm.jsonl")


@dataclass(frozen=True)
class Pair:
    """One run with us, and its twin without."""

    task: str
    schedule: str
    start: float
    seed: int
    ratio: float
    worse_by: float
    actions: int
    identical: bool
    healthy: bool


def planned(
    known: Sequence[Record], chosen: Sequence[tasks.Task], seeds: int, ours: str, share: float
) -> Iterator[Run]:
    """Twins side by side; the tuned runs of one seed first. Where nothing is known yet, cosine from the reference."""
    for seed in range(seeds):
        for task in chosen:
            best = champions([r for r in known if r["task"] == task.name], SCHEDULES)
            record = best.get((task.name, seed)) or best.get((task.name, 0)) or {"method": "cosine", "start": 1.0}
            yield from _twins(task, record["method"], float(record["start"]), seed, ours)
        for task in chosen:
            for schedule in SHORT:
                best = champions([r for r in known if r["task"] == task.name], {schedule})
                start = best.get((task.name, 0), {"start": 1.0})["start"]
                yield from _twins(task.shortened(share), schedule, float(start), seed, ours)


def _twins(task: tasks.Task, schedule: str, start: float, seed: int, ours: str) -> Iterator[Run]:
    for name in (schedule, f"{schedule}+{ours}"):
        yield task, method_named(name), start, seed


def pairs(records: Sequence[Record], ours: str) -> list[Pair]:
    """Those of which both have run."""
    lines = results.latest(records)
    found = []
    for (task, name, start, seed), twin in lines.items():
        with_us = lines.get((task, f"{name}+{ours}", start, seed))
        if name not in PEERS or with_us is None:
            continue
        own, reference = loss(with_us, "test_loss"), loss(twin, "test_loss")
        actions = sum((with_us.get("actions") or {}).values())
        found.append(
            Pair(
                task,
                name,
                start,
                seed,
                own / reference,
                own - reference,
                actions,
                own == reference and with_us.get("val_loss") == twin.get("val_loss"),
                not twin.get("diverged", True),
            )
        )
    return found


def false_actions(found: Sequence[Pair], records: Sequence[Record]) -> list[Pair]:
    """Those of the healthy short runs in which we acted, and lost more than the spread of the seeds."""
    spreads: dict[tuple[str, str, float], list[float]] = {}
    for (task, name, start, _), line in results.latest(records).items():
        spreads.setdefault((task, name, start), []).append(loss(line, "test_loss"))
    return [
        pair
        for pair in found
        if pair.healthy
        and pair.actions
        and len(values := spreads[pair.task, pair.schedule, pair.start]) > 1
        and pair.worse_by > stdev(values)
    ]


def report(records: Sequence[Record], ours: str, command: str) -> str:
    """The text."""
    found = pairs(records, ours)
    tuned = [pair for pair in found if not pair.task.endswith(":short") and pair.healthy]
    short = [pair for pair in found if pair.task.endswith(":short") and pair.healthy]
    false = false_actions(short, records)
    parts = [f"# Do no harm: what was measured\n\nWritten by the command below; do not edit.\n\n```\n{command}\n```\n"]
    parts.append(f"## The best tuned schedule, with `{ours}` on top against without\n")
    if tuned:
        mean, worst = fmean(pair.ratio for pair in tuned), max(pair.ratio for pair in tuned)
        same = sum(pair.identical for pair in tuned)
        strange = sum(not pair.identical and not pair.actions for pair in found)
        parts.append(
            f"{len(tuned)} pairs: mean ratio of the test losses {mean:.4f} (target 1.005), worst {worst:.4f} (target "
            f"1.02); {same} ended bit for bit alike; {strange} of all pairs without an action differ.\n"
        )
        header = ("task", "schedule", "start", "seed", "ratio", "actions")
        parts.append(table(header, (_row(pair) for pair in sorted(tuned, key=lambda pair: -pair.ratio))))
    parts.append("## False actions in short, healthy runs\n")
    parts.append(
        f"{len(short)} pairs, {sum(bool(pair.actions) for pair in short)} with an action, {len(false)} of them "
        "false: the run acted, and its test loss is worse than its twin's by more than the standard deviation over the "
        "seeds (target: at most 1 of 100).\n"
    )
    acted = sorted((pair for pair in short if pair.actions), key=lambda pair: -pair.ratio)
    if acted:
        columns = ("task", "schedule", "start", "seed", "ratio", "actions", "false")
        parts.append(table(columns, ((*_row(pair), "yes" * (pair in false)) for pair in acted)))
    return "\n".join(parts).rstrip() + "\n"


def _row(pair: Pair) -> tuple[str, ...]:
    return pair.task, pair.schedule, f"× {pair.start:g}", str(pair.seed), number(pair.ratio, 4), str(pair.actions)


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.any_start.harm", description=__doc__)
    options.add_argument("--data", type=Path, help="folder with the data sets; without it digits and wine")
    options.add_argument("--tasks", nargs="+", default=[])
    options.add_argument("--ours", default="auto", help="policy, or policy(option=value)")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--share", type=float, default=0.4, help="length of the short runs, of the ordinary budget")
    options.add_argument("--jobs", type=int, default=1)
    options.add_argument("--peers", type=Path, default=results.RESULTS, help="where the best schedules are read from")
    options.add_argument("--results", type=Path, default=HARM)
    options.add_argument("--report", type=Path, help="default: HARM.md beside the results")
    options.add_argument("--report-only", action="store_true")
    chosen = options.parse_args(arguments)
    if not chosen.report_only:
        known = list(results.latest(results.read(chosen.peers)).values())
        of = tasks.available(chosen.data, chosen.tasks)
        runs = list(planned(known, of, chosen.seeds, chosen.ours, chosen.share))
        run_missing(runs, chosen.data, chosen.results, jobs=chosen.jobs)
    given = [word for word in (sys.argv[1:] if arguments is None else arguments) if word != "--report-only"]
    command = shlex.join(["python", "-m", "benchmarks.any_start.harm", *given])
    target = chosen.report or chosen.results.with_name("HARM.md")
    target.write_text(report(results.read(chosen.results), chosen.ours, command))
    print(f"written: {target}")


if __name__ == "__main__":
    main()

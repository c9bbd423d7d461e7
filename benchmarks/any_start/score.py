"""The arithmetic: from lines of results to the figures of the report. Plain numbers, no torch.

For each task and seed, the best peer at its best start is chosen on *validation*, as a user would choose it. Every
method is then compared with that one run on *test*: the ratio of the losses, and the regret, the share of what could
be gained over the untrained model that was not gained.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

Record = dict[str, Any]


def loss(record: Record, name: str) -> float:
    """Infinite where the run failed or ended in no number."""
    value = record.get(name)
    return math.inf if value is None or record.get("error") else float(value)


@dataclass(frozen=True)
class Outcome:
    """One run beside the best tuned peer of its task and seed."""

    task: str
    method: str
    start: float
    seed: int
    ratio: float
    regret: float
    diverged: bool


def champions(records: Iterable[Record], peers: Collection[str], place: int = 1) -> dict[tuple[str, int], Record]:
    """Task and seed → the peer's run with the lowest final validation loss, or with the second lowest, and so on.

    Runs with the same end, as those of a method that ignores the start, are one.
    """
    found: dict[tuple[str, int], dict[float, Record]] = {}
    for record in records:
        if record["method"] in peers and math.isfinite(loss(record, "val_loss")):
            found.setdefault((record["task"], record["seed"]), {}).setdefault(loss(record, "val_loss"), record)
    return {at: runs[sorted(runs)[place - 1]] for at, runs in found.items() if len(runs) >= place}


def outcomes(records: Sequence[Record], peers: Collection[str]) -> list[Outcome]:
    """Every run for which there is a champion to compare it with."""
    return compared_with(champions(records, peers), records)


def compared_with(best: Mapping[tuple[str, int], Record], records: Iterable[Record]) -> list[Outcome]:
    """Each run beside the one that its task and seed are held against."""
    found = []
    for record in records:
        champion = best.get((record["task"], record["seed"]))
        if champion is None:
            continue
        own, reference = loss(record, "test_loss"), loss(champion, "test_loss")
        untrained = loss(champion, "untrained_test")
        regret = (own - reference) / (untrained - reference) if untrained > reference else math.nan
        diverged = bool(record.get("diverged", True))
        found.append(
            Outcome(
                record["task"], record["method"], record["start"], record["seed"], own / reference, regret, diverged
            )
        )
    return found


def quantile(values: Iterable[float], share: float) -> float:
    """Linear between the order statistics, as numpy's, and right where some are infinite."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    place = share * (len(ordered) - 1)
    low, weight = int(place), place - int(place)
    if weight == 0 or ordered[low] == ordered[min(low + 1, len(ordered) - 1)]:
        return ordered[low]
    return ordered[low] + weight * (ordered[low + 1] - ordered[low])


@dataclass(frozen=True)
class Summary:
    """One method over many runs.

    Attributes:
        runs: how many.
        tasks: over how many tasks.
        median: of the ratio of the test losses; so are the next three.
        p90: nine of ten runs are below.
        worst: of them all.
        close: share of runs with a ratio of 1.1 at most.
        diverged: how many ended in no number, or above the untrained loss.
        regret: mean regret, each run counted as 1 at most: a run that exploded lost all there was to gain.
        interval: 95 % bootstrap interval of that mean over seeds; ``None`` with one seed.
    """

    runs: int
    tasks: int
    median: float
    p90: float
    worst: float
    close: float
    diverged: int
    regret: float
    interval: tuple[float, float] | None


def summary(chosen: Sequence[Outcome]) -> Summary:
    """The figures of these runs."""
    ratios = [outcome.ratio for outcome in chosen]
    return Summary(
        runs=len(chosen),
        tasks=len({outcome.task for outcome in chosen}),
        median=quantile(ratios, 0.5),
        p90=quantile(ratios, 0.9),
        worst=max(ratios, default=math.nan),
        close=fmean(ratio <= 1.1 for ratio in ratios) if ratios else math.nan,
        diverged=sum(outcome.diverged for outcome in chosen),
        regret=mean_regret(chosen),
        interval=bootstrap(chosen),
    )


def mean_regret(chosen: Iterable[Outcome]) -> float:
    """Each run counts as 1 at most."""
    regrets = [min(1.0, outcome.regret) for outcome in chosen if not math.isnan(outcome.regret)]
    return fmean(regrets) if regrets else math.nan


def bootstrap(chosen: Sequence[Outcome], draws: int = 1000) -> tuple[float, float] | None:
    """Seeds are drawn with replacement, for each task anew; the starts of one seed stay together."""
    by_place: dict[str, dict[int, list[Outcome]]] = {}
    for outcome in chosen:
        by_place.setdefault(outcome.task, {}).setdefault(outcome.seed, []).append(outcome)
    if not by_place or max(map(len, by_place.values())) < 2:
        return None
    generator = random.Random(0)
    means = []
    for _ in range(draws):
        drawn: list[Outcome] = []
        for seeds in by_place.values():
            for runs in generator.choices(list(seeds.values()), k=len(seeds)):
                drawn += runs
        means.append(mean_regret(drawn))
    return quantile(means, 0.025), quantile(means, 0.975)


def without(chosen: Sequence[Outcome], task: str) -> Summary:
    """All tasks but one."""
    return summary([outcome for outcome in chosen if outcome.task != task])

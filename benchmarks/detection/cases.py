"""The labelled curves of the benchmark, in pools: synthetic, recorded and public, each in short and long runs."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, median

from benchmarks.detection.labels import label, numbers, smoothed
from benchmarks.detection.record import RECORDED
from lightning_lr.engine.vocabulary import Condition
from lightning_lr.offline import curves
from lightning_lr.offline.curves import MONITOR, Curve, readings_of

PUBLIC = "public_logs_dev.jsonl.gz"
"""File of the public logs in the data folder; its format stands in :func:`public`."""

SHORT = 30
"""Checks of a short run at most."""

SHORT_FAMILIES: dict[str, Callable[[int, int], Curve]] = {
    "short-healthy": partial(curves.healthy, noise=0.01),
    "short-healthy-noisy": partial(curves.healthy, noise=0.05),
    "short-healthy-power": partial(curves.healthy, shape="power", noise=0.01),
    "short-plateau": partial(curves.plateau, noise=0.01),
    "short-plateau-noisy": partial(curves.plateau, noise=0.05),
    "short-overfitting": partial(curves.overfitting, rise=0.05, noise=0.02),
    "short-overfitting-noisy": partial(curves.overfitting, rise=0.1, noise=0.08),
}
"""Seed and number of checks → a curve of 8 to 30 checks; the number is drawn from the seed."""


@dataclass(frozen=True)
class Case:
    """One labelled curve.

    Attributes:
        curve: readings, condition and onset.
        family: line of the table by family.
        group: curves that may be of one origin share it: what is fitted is judged on other groups.
        slack: by how many checks an alarm may come before the onset, since a label by eye is no sharper.
        rest: what is still to be gained after each check, as a share of the whole gain, in hindsight.
        over: at each check, whether next to nothing is still to be gained; what a stated probability is compared with.
    """

    curve: Curve
    family: str
    group: str
    slack: int
    rest: tuple[float, ...]
    over: tuple[bool, ...]


def made(
    curve: Curve,
    family: str,
    group: str = "",
    slack: int = 0,
    level: Sequence[float] = (),
    start: float = math.nan,
    by_label: bool = False,
) -> Case:
    """A case with its hindsight.

    Args:
        curve: the curve.
        family: see :class:`Case`.
        group: see :class:`Case`.
        slack: see :class:`Case`.
        level: the values without their noise, as far as is known; else the monitor is smoothed.
        start: value before training; it enters the first reading too.
        by_label: whether the onset tells where the run is over; else less than 1 % of the gain, and less than 3 % of
            what was gained after the first twentieth of the run, is still to come.
    """
    values = list(level) or smoothed(curve.values)
    rest = [max(0.0, low - least) for low, least in zip(_lowest(values), _lowest_after(values), strict=True)]
    gain = (values[0] if math.isnan(start) else max(start, values[0])) - min(values)
    late = max(values[len(values) // 20 :]) - min(values)
    if by_label:
        over = [curve.onset is not None and check >= curve.onset for check in range(len(values))]
    else:
        over = [left < 0.01 * gain and left < 0.03 * late for left in rest]
    if not math.isnan(start):
        first = replace(curve.readings[0], untrained={MONITOR: start})
        curve = replace(curve, readings=(first, *curve.readings[1:]))
    return Case(curve, family, group, slack, tuple(left / gain if gain else 0.0 for left in rest), tuple(over))


def synthetic(seeds: Sequence[int]) -> list[Case]:
    """The families of ``lightning_lr.offline.curves``."""
    return [made(make(seed), name, by_label=True) for name, make in curves.FAMILIES.items() for seed in seeds]


def short_synthetic(seeds: Sequence[int]) -> list[Case]:
    """The same shapes in 8 to 30 checks."""
    return [
        made(make(seed, 8 + 7 * seed % 23), name, by_label=True)
        for name, make in SHORT_FAMILIES.items()
        for seed in seeds
    ]


def recorded(odd: int, every: int = 1) -> list[Case]:
    """The recorded runs whose seed is odd or even; with ``every``, as if validated that much less often."""
    cases = []
    for line in _lines(RECORDED):
        val, test = numbers(line["val"]), numbers(line["test"])
        blocks = [numbers(block) for block in line["blocks"]]
        found = label(test, [fmean(block) for block in blocks], line["start"])
        if int(line["run"]["seed"]) % 2 != odd or found is None:
            continue
        condition, onset = found
        kept = range(every - 1, len(val), every)
        joined = [[b for block in blocks[check - every + 1 : check + 1] for b in block] for check in kept]
        onset = None if onset is None else -(-onset // every)
        curve = Curve(line["name"], condition, onset, readings_of([val[check] for check in kept], joined))
        task = line["run"]["task"]
        finite = all(map(math.isfinite, test))
        level = [smoothed(test)[check] for check in kept] if finite else [1.0] * len(kept)
        family = f"recorded-{condition}" + (f"-{len(kept)}" if every > 1 else "")
        cases.append(made(curve, family, task, level=level, start=line["start"], by_label=not finite))
    return sorted(cases, key=lambda case: case.family)


def public(folder: Path) -> list[Case]:
    """Training curves of public repositories, labelled by eye; one JSON object a line.

    ``val`` and ``train`` hold a value a check, ``label`` is healthy, plateau, overfit or ambiguous (left out here),
    ``onset`` is a check, ± 2. The repositories are not named: curves of one length and of about one level are taken to
    be of one group.
    """
    names = {"healthy": Condition.HEALTHY, "plateau": Condition.PLATEAU, "overfit": Condition.OVERFITTING}
    cases: list[Case] = []
    for line in _lines(folder / PUBLIC):
        if line["label"] not in names:
            continue
        sign = 1 if line["mode"] == "min" else -1
        val = [sign * value for value in numbers(line["val"])]
        blocks = None if line["train"] is None else [[value] for value in numbers(line["train"])]
        curve = Curve(line["id"], names[line["label"]], line["onset"], readings_of(val, blocks))
        group = next((case.group for case in cases if _alike(case.curve.values, val)), line["id"])
        slack = max(2, math.ceil(0.05 * len(val)))
        cases.append(made(curve, f"public-{curve.condition}", group, slack, by_label=True))
    return cases


def _alike(values: Sequence[float], others: Sequence[float]) -> bool:
    levels = [abs(median(filter(math.isfinite, series))) + 1e-9 for series in (values, others)]
    return len(values) == len(others) and abs(math.log(levels[0] / levels[1])) < 1


def _lines(path: Path) -> Iterator[dict[str, object]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def _lowest(values: Sequence[float]) -> list[float]:
    lowest, found = math.inf, []
    for value in values:
        lowest = min(lowest, value)
        found.append(lowest)
    return found


def _lowest_after(values: Sequence[float]) -> list[float]:
    return [*_lowest(values[::-1])[-2::-1], math.inf]

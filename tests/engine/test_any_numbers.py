"""No number that a metric can hold stops a run: 1e308, the smallest above zero, exact zeros, NaN and infinity.

The class: arithmetic that raises where numbers overflow, vanish, or are all the same (a squared value, a quotient of
two scatters, a logarithm of a ratio, a rounding of infinity). Each stream goes through the whole engine, and what it
says is written as the live side would write it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.journal import entry_line, read_line
from lightning_lr.engine.policies import PRESETS
from lightning_lr.engine.records import Adjustment, Rate, Reading
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Event, Mode
from tests.helpers.readings import PROBED, window

STREAMS = 5000
CHECKS = 12
HUGE, TINY = 1.7976931348623157e308, 5e-324

Draw = Callable[[random.Random, int], float]

KINDS: dict[str, Draw] = {
    "huge": lambda r, at: r.choice([-1, 1]) * HUGE * r.random(),
    "the largest": lambda r, at: HUGE,
    "from the lowest to the largest": lambda r, at: HUGE if at % 2 else -HUGE,
    "grows to the largest": lambda r, at: math.exp(min(709, 60 * at + r.random())),
    "falls from the largest": lambda r, at: HUGE * 10.0 ** (-40 * at),
    "tiny": lambda r, at: TINY * r.randint(-40, 40),
    "falls to nothing": lambda r, at: 10.0 ** (-25 * at),
    "nothing": lambda r, at: 0.0 if r.random() < 0.9 else -0.0,
    "at last nothing": lambda r, at: 1.0 / (1 + at) if at < 5 else 0.0,
    "once huge": lambda r, at: HUGE if at == 7 else 1.0 + 0.1 * r.random(),
    "once tiny": lambda r, at: TINY if at == 7 else 1.0 + 0.1 * r.random(),
    "any power": lambda r, at: r.choice([-1, 1]) * 10.0 ** r.uniform(-323, 308),
    "anything": lambda r, at: r.choice(
        [HUGE, -HUGE, TINY, -TINY, 0.0, 1.0, 1e154, 1e-154, math.nan, math.inf, -math.inf]
    ),
    "plain": lambda r, at: 1.0 / (1 + at) + 0.01 * r.gauss(0, 1),
}


def stream(seed: int) -> tuple[DecisionEngine, list[Reading]]:
    """Settings and readings of one run, of kinds drawn at random."""
    r = random.Random(seed)
    monitors = ("val_loss", "val_acc")[: r.randint(1, 2)]
    settings = Settings(
        monitors=monitors,
        mode=r.choice(list(Mode)),
        policy=r.choice(list(PRESETS.values())),
        train_monitor=r.choice([None, "train_loss"]),
    )
    of = {name: KINDS[r.choice(list(KINDS))] for name in (*monitors, "train", "metric", "probe")}
    readings = [
        Reading(
            check=at,
            epoch=at,
            step=10 * (at + 1),
            metrics={name: of[name](r, at) for name in monitors},
            train=window(*(of["train"](r, at) for _ in range(r.randint(1, 6)))) if r.random() < 0.8 else None,
            train_metric=of["metric"](r, at) if settings.train_monitor else None,
            rates={"lr-SGD": Rate(0.1, 1.0, 0.1)},
            snapshot_check=at - 1,
            progress=(at + 1) / CHECKS,
            budget=10 * CHECKS,
            probes={name: of["probe"](r, at) for name in PROBED} if r.random() < 0.3 else {},
        )
        for at in range(CHECKS)
    ]
    return DecisionEngine(settings), readings


@pytest.mark.parametrize("part", range(10))
def test_no_stream_of_numbers_raises(part: int) -> None:
    for seed in range(part * STREAMS // 10, (part + 1) * STREAMS // 10):
        engine, readings = stream(seed)
        for reading in readings:
            try:
                decision = engine.check(reading)
                entry = engine.entry(Event.CHECK, reading, decision, Adjustment(reading.rates))
                said = f"{decision}{engine.diagnosis}{engine.views}"
                line = read_line(entry_line(entry))
            except Exception as error:
                raise AssertionError(f"stream {seed} at check {reading.check}: {error!r}") from error
            assert said
            assert line.decision.action is decision.action

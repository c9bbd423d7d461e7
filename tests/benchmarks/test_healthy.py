"""The benchmark of the healthy logs: what counts as healthy, what is counted, and one short real run."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace

import pytest

from benchmarks.healthy.judge import POLICIES, judge, share
from benchmarks.healthy.logs import Log, read_logs
from benchmarks.healthy.plan import BUDGETS, SCHEDULES, TUNING_SEED, Run, plan
from benchmarks.healthy.record import RECORDED, record
from benchmarks.healthy.report import report

RUN = Run("digits-adamw", "sgd", "cosine", 0.5, 0.25, seed=0)
FALLING = tuple(2.0 * 0.9**check for check in range(40))
FLAT = (*FALLING[:10], *(FALLING[9],) * 30)


def log(val=FALLING, start=2.5, held=False):
    """A run whose rate falls linearly, or is held."""
    blocks = tuple((value, 0.98 * value) for value in FALLING[: len(val)])
    return Log(RUN, start, tuple(val), blocks, tuple(0.1 * (held or 1 - at / len(val)) for at in range(len(val))))


@pytest.mark.parametrize(
    ("why", "made", "healthy"),
    [
        ("it falls to its end", log(), True),
        ("it ends 4 % above its best", log((*FALLING, 1.04 * FALLING[-1])), True),
        ("it ends 6 % above its best", log((*FALLING, 1.06 * FALLING[-1])), False),
        ("it learned nothing", log((2.4, 2.3)), False),
        ("it lost its weights in between", log((*FALLING[:5], float("nan"), *FALLING[6:])), False),
    ],
)
def test_what_is_healthy(why, made, healthy):
    if len(made.blocks) < len(made.val):
        made = replace(made, blocks=(*made.blocks, made.blocks[-1]))
    assert made.healthy is healthy, why


@pytest.mark.parametrize("policy", POLICIES)
def test_a_descent_is_left_alone_and_a_plateau_is_not(policy):
    assert not judge(log(), policy).reductions
    assert not judge(log(FLAT), policy).reductions, "its schedule moves the rate by itself"
    lowered = judge(log(FLAT, held=True), policy)
    assert str(lowered.reductions[0].condition) == "plateau"
    assert lowered.gained_after == 0.0
    assert share([judge(log(), policy), lowered]) == "50.0 % (1 of 2)"


def test_the_report_counts_healthy_runs_alone():
    text = report([log(), log(FLAT, held=True), log((2.4, 2.3))])
    assert "3 runs were recorded, and all of them are in the file; 2 are healthy." in text
    assert "| healthy, any reduction | 50.0 % (1 of 2) | 50.0 % (1 of 2) |" in text
    assert "| plateau | 1 | 1 |" in text


def test_each_kind_has_as_many_runs():
    runs = list(plan(seeds=2))
    assert len(set(runs)) == len(runs)
    assert {run.schedule for run in runs} == set(SCHEDULES)
    assert {run.budget for run in runs} == set(BUDGETS)
    assert len(set(Counter((run.task, run.optimizer) for run in runs).values())) == 1
    assert TUNING_SEED not in {run.seed for run in runs}


def test_a_run_is_recorded_as_it_was(tmp_path):
    short = replace(RUN, budget=0.1)
    line = record(short, 0.1, None)
    assert json.loads(json.dumps(line)) == record(short, 0.1, None)
    assert line["run"] == asdict(short)
    assert len(line["val"]) == len(line["blocks"]) == len(line["rates"]) == short.epochs == 4
    assert line["val"][-1] < line["start"]
    assert line["rates"] == sorted(line["rates"], reverse=True)


def test_what_was_recorded_is_all_of_the_plan():
    logs = list(read_logs(RECORDED))
    assert [log.run for log in logs] == list(plan(seeds=5))
    assert sum(log.healthy for log in logs) >= 1000
    assert all(len(log.val) == log.run.epochs for log in logs)

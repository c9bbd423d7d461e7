"""The benchmark of the layers: its arithmetic on made-up lines, what is not run twice, and one short real run."""

from __future__ import annotations

import math

import pytest
import torch

from benchmarks.any_start.data import digits
from benchmarks.layerwise import report, tasks
from benchmarks.layerwise.training import METHODS, train

BAD = next(task for task in tasks.TASKS if task.name == "badly-scaled-mlp-sgd")


def line(method="without", seed=0, test=1.0, start=1.0, val=1.0, task=BAD.name):
    return {"task": task, "method": method, "start": start, "seed": seed, "val_loss": val, "test_loss": test}


def shown(*ratios):
    rows = [line("layerwise", seed, ratio) for seed, ratio in enumerate(ratios)]
    text = report.report(rows + [line(seed=seed) for seed in range(len(ratios))])
    return next(row for row in text.splitlines() if row.startswith(f"| {BAD.name}")).split(" | ")[3]


SHOWN = [
    ("2 and 1/2 make 1", (2.0, 0.5), "1.000 (0.50 … 2.00)"),
    ("one that diverged", (0.5, None), "∞ (0.50 … ∞)"),
    ("many are an interval", (1.1, 0.9) * 5, "0.995 (95 %: 0.932 … 1.062; 10 seeds)"),
]


@pytest.mark.parametrize(("ratios", "text"), [row[1:] for row in SHOWN], ids=[row[0] for row in SHOWN])
def test_how_ratios_are_shown(ratios, text):
    assert shown(*ratios) == text


def test_only_seeds_that_both_have_are_compared():
    rows = [line(seed=0, test=2.0), line("layerwise", 0, 1.0), line("layerwise", 1, 9.0)]
    assert report._ratios(rows, BAD.name, "layerwise", 1.0) == [0.5]


def test_each_method_has_the_rate_that_is_best_on_validation():
    rows = [line(start=1.0, val=0.5, test=1.0), line(start=3.0, val=0.6, test=0.1)]
    assert f"| {BAD.name} | 1, 3 | without | 1 | 1.0000 |" in report.report(rows)


def test_the_badly_scaled_net_computes_what_the_well_scaled_one_does():
    """Only its training suffers."""
    data = digits(None)
    nets = []
    for make in (tasks.scaled_perceptron, tasks.well_scaled_perceptron):
        torch.manual_seed(0)
        nets.append(make(data))
    inputs = data.validation[torch.arange(20)][0]
    assert torch.allclose(nets[0](inputs), nets[1](inputs), rtol=1e-3, atol=1e-4)
    assert nets[0][2].weight.norm() < 0.05 * nets[0][0].weight.norm()


@pytest.mark.parametrize("method", METHODS)
def test_one_short_run(method):
    record = train(BAD.shortened(0.1), method, 1.0, 0, None)
    assert math.isfinite(record["test_loss"])
    logs = [math.log(value) for value in record["multipliers"].values()]
    assert bool(logs) == any(abs(log) > 0.02 for log in logs) == (method != "without")
    assert sum(logs) / max(1, len(logs)) == pytest.approx(0.0, abs=0.02)  # their geometric mean is 1

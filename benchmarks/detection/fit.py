"""``python -m benchmarks.detection.fit --data FOLDER``: fit the weights of the ages on the public logs.

A logistic regression with a small ridge; each run counts once, however long it is. It is repeated with each group left
out: that is what the table judges the public logs with.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.cases import public
from benchmarks.detection.judge import Judged, judge
from lightning_lr.engine.history.stall import WEIGHTS

RIDGE = 0.3
Weights = tuple[float, ...]


def fit(runs: Sequence[Judged]) -> Weights:
    """The weights that describe these runs best."""
    rows = np.array([ages for run in runs for ages in run.ages])
    over = np.array([over for run in runs for over in run.case.over[len(run.case.over) - len(run.ages) :]], dtype=float)
    share = np.array([1 / len(run.ages) for run in runs for _ in run.ages])
    ridge = RIDGE * np.diag([0.0, *[1.0] * (rows.shape[1] - 1)])
    weights: NDArray[np.float64] = np.zeros(rows.shape[1])
    for _ in range(50):
        odds = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
        slope = rows.T @ (share * (over - odds)) - ridge @ weights
        curvature = (rows.T * (share * odds * (1 - odds))) @ rows + ridge
        weights = weights + np.linalg.solve(curvature, slope)
    return tuple(map(float, weights))


def left_out(runs: Sequence[Judged]) -> dict[str, Weights]:
    """Group → the weights that the other groups give."""
    groups = dict.fromkeys(run.case.group for run in runs)
    return {group: fit([run for run in runs if run.case.group != group]) for group in groups}


def main() -> None:
    """Print the weights, how they vary, and those in use."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection.fit", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public logs")
    runs = [judge(case) for case in public(parser.parse_args().data)]
    others = left_out(runs)
    print("fitted ", np.round(fit(runs), 2))
    print("spread ", np.round(np.std(list(others.values()), axis=0), 2), f"over {len(others)} groups left out")
    print("in use ", np.array(WEIGHTS))


if __name__ == "__main__":
    main()

"""Ways to tell overfitting, each a function from a recorded run to the checks at which it raises an alarm."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from statistics import fmean
from typing import Any

from lightning_lr.engine.detectors.gradient_disparity import GradientDisparityDetector
from lightning_lr.engine.detectors.overfitting import OverfittingDetector
from lightning_lr.engine.history.run_history import TRAIN_LOSS
from lightning_lr.engine.records import Reading
from lightning_lr.offline.curves import readings_of
from lightning_lr.offline.evaluate import alarms_of

Judge = Callable[[dict[str, Any]], list[int]]


def readings(line: dict[str, Any], scale: Callable[[float], float] = lambda loss: 1.0) -> list[Reading]:
    """A recorded run, with its probes; the disparity divided by a function of the training loss."""
    found = []
    for reading, probes in zip(readings_of(line["val"], line["blocks"]), line["probes"], strict=True):
        loss = reading.train.mean if reading.train else math.nan
        scaled = {**probes}
        if "gradient_disparity" in probes and loss > 0:
            scaled["gradient_disparity"] = probes["gradient_disparity"] / scale(loss)
        found.append(replace(reading, probes=scaled))
    return found


def with_validation(line: dict[str, Any]) -> list[int]:
    """The detector that sees both sides: gap, GL, PQ, rising strips."""
    return alarms_of(OverfittingDetector(), readings(line), ("val_loss",))


def disparity(line: dict[str, Any], scale: Callable[[float], float] = lambda loss: 1.0) -> list[int]:
    """Our detector without a validation set: the training loss and the disparity alone."""
    alone = [
        replace(reading, metrics={TRAIN_LOSS: reading.train.mean}) if reading.train else reading
        for reading in readings(line, scale)
    ]
    return alarms_of(GradientDisparityDetector(), alone, (TRAIN_LOSS,))


def scaled_disparity(line: dict[str, Any]) -> list[int]:
    """The same, divided by the root of the training loss, which stands in for the paper's scaling by sample losses."""
    return disparity(line, math.sqrt)


def paper(line: dict[str, Any], patience: int = 5) -> list[int]:
    """The paper's rule: the disparity has risen five times since the last stop, not in a row; alarms from then on."""
    series = [probes.get("gradient_disparity") for probes in line["probes"]]
    rises = 0
    for check in range(1, len(series)):
        before, now = series[check - 1], series[check]
        rises += before is not None and now is not None and now > before
        if rises == patience:
            return list(range(check, len(series)))
    return []


def early_stopping(line: dict[str, Any], patience: int = 5) -> list[int]:
    """The rule of EarlyStopping: no new best of the validation loss for five checks."""
    best, since = math.inf, 0
    alarms = []
    for check, value in enumerate(line["val"]):
        since = 0 if value is not None and value < best else since + 1
        best = value if since == 0 else best
        if since >= patience:
            alarms.append(check)
    return alarms


JUDGES: dict[str, Judge] = {
    "gap, GL, PQ, strips (validation)": with_validation,
    "EarlyStopping, patience 5 (validation)": early_stopping,
    "gradient disparity (none)": disparity,
    "the same / √loss (none)": scaled_disparity,
    "the paper's rule (none)": paper,
}
"""Name, and in brackets what it needs beside the training data."""


def mean_of(line: dict[str, Any], name: str, first: int, last: int) -> float:
    """Mean of what a probe measured over some checks."""
    return fmean(probes[name] for probes in line["probes"][first:last] if probes.get(name) is not None)

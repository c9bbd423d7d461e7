"""What the report says became of a run: on curves with a known end, and on public ones with labels made by eye.

The kinds of fault: an end that still improves is claimed of a flat run, or of one that overfits; overfitting is not named;
something is said of rates that nobody recorded, or concluded from a rate that a schedule or a search moved.
"""

# ruff: noqa: E501  (the rows of tables)

from __future__ import annotations

import gzip
import json
import math
from dataclasses import replace

import pytest

from lightning_lr.engine.journal import JournalLine
from lightning_lr.engine.records import Adjustment, Decision
from lightning_lr.engine.settings import settings_from
from lightning_lr.engine.vocabulary import Action, Condition
from lightning_lr.offline import curves
from lightning_lr.offline.cli import main
from lightning_lr.offline.report.conclusion import Kind, conclusion_of, found_by_detectors
from lightning_lr.offline.report.run_summary import summarize
from tests.helpers.logs import write_csv
from tests.offline.test_formats import DATA


def concluded(readings, mode="min"):
    hold = Decision(0, 0, 0, Action.HOLD, Condition.HEALTHY, 1.0, {}, {}, "")
    lines = [JournalLine(reading, replace(hold, check=reading.check), Adjustment({})) for reading in readings]
    summary = summarize(lines, settings_from(mode=mode))
    return conclusion_of(summary, found_by_detectors(summary))


ENDS = [
    # curve, what may be said of it
    (curves.healthy, {Kind.IMPROVING, Kind.UNCLEAR}),
    (curves.annealed, {Kind.IMPROVING, Kind.UNCLEAR}),
    (curves.plateau, {Kind.FLAT}),
    (lambda seed: curves.overfitting(seed, rise=0.03), {Kind.OVERFITTING}),
    (curves.divergence, {Kind.DIVERGED}),
    (curves.non_finite, {Kind.NON_FINITE}),
]


@pytest.mark.parametrize(
    ("curve", "kinds"), ENDS, ids=["healthy", "annealed", "plateau", "overfitting", "divergence", "non_finite"]
)
def test_curves_with_a_known_end(curve, kinds):
    said = [concluded(curve(seed).readings).kind for seed in range(20)]
    assert sum(kind in kinds for kind in said) >= 19, said


@pytest.mark.parametrize("curve", [curves.plateau, lambda seed: curves.overfitting(seed, rise=0.03)])
def test_it_began_where_it_began(curve):
    """Within a tenth of the run of the onset, for most seeds."""
    off = [abs(concluded(c.readings).since - c.onset) / len(c.readings) for c in map(curve, range(20))]
    assert sorted(off)[14] <= 0.1


def shifted(readings, shift, scale):
    def changed(value):
        return shift + scale * value

    for reading in readings:
        window = replace(
            reading.train, mean=changed(reading.train.mean), blocks=tuple(map(changed, reading.train.blocks))
        )
        yield replace(reading, metrics={name: changed(value) for name, value in reading.metrics.items()}, train=window)


@pytest.mark.parametrize("curve", [curves.healthy, curves.plateau, curves.overfitting])
@pytest.mark.parametrize(("shift", "scale", "mode"), [(0.0, 100.0, "min"), (0.0, -1.0, "max")])
def test_the_scale_and_the_direction_say_nothing(curve, shift, scale, mode):
    for seed in range(5):
        readings = curve(seed).readings
        if mode == "max":  # the training loss stays one
            turned = [replace(r, metrics={n: -v for n, v in r.metrics.items()}) for r in readings]
        else:
            turned = list(shifted(readings, shift, scale))
        one, other = concluded(readings), concluded(turned, mode)
        assert (one.kind, one.since) == (other.kind, other.since)


def table(folder, columns):
    rows = zip(*columns.values(), strict=True)
    write_csv(folder, [(i, {"epoch": float(i), **dict(zip(columns, row, strict=True))}) for i, row in enumerate(rows)])
    return folder


def said(folder, capsys):
    assert main(["report", str(folder)]) == 0
    return " ".join(capsys.readouterr().out.split())


FALLS = [1 / (1 + 0.3 * epoch) for epoch in range(20)]
FLAT = [max(0.4, 1 - 0.1 * epoch) + 0.002 * (-1) ** epoch for epoch in range(25)]
RISES = [1 - 0.1 * min(epoch, 8) + 0.03 * max(0, epoch - 8) for epoch in range(22)]

SENTENCES = [
    (
        {"val_loss": RISES, "train_loss": [1 / (1 + e) for e in range(22)]},
        "val_loss began to overfit about epoch 8; 13 of 22 epochs brought nothing.",
    ),
    ({"val_loss": FALLS}, "val_loss was still improving at the end (new best in the last 3 checks)"),
    ({"val_loss": FLAT}, "val_loss has been flat since epoch 6; 18 of 25 epochs brought nothing beyond noise."),
    (
        {"val_loss": RISES},
        "val_loss rose after epoch 8; 13 of 22 epochs brought nothing. Whether it overfits cannot be told without a training loss.",
    ),
    ({"val_acc": [1 - value for value in FALLS]}, "val_acc was still improving at the end"),
    (
        {"val_loss": RISES, "train_loss": [1 / (1 + e) for e in range(22)]},
        "At the last check a stall is 99 % likely, overfitting 99 %.",
    ),
    ({"val_loss": FLAT}, "At the last check a stall is 92 % likely."),
    ({"val_loss": FALLS}, "At the last check a stall is 2 % likely."),
    ({"val_loss": [1.0, math.nan, math.nan, math.nan]}, "val_loss was not finite any more after epoch 0."),
]


@pytest.mark.parametrize(("columns", "sentence"), SENTENCES)
def test_the_sentence(tmp_path, capsys, columns, sentence):
    assert sentence in said(table(tmp_path, columns), capsys)


RATES = [
    # the rates of a healthy run → what is said of them, and what is not
    (
        [],
        "No learning rate was recorded: nothing can be said of it.",
        ["never changed", "times too", "good start", "schedule"],
    ),
    ([0.1] * 20, "The learning rate was never changed.", ["times too", "good start"]),
    (
        [0.001 * 2 ** min(e, 7) for e in range(20)],
        "changed by its schedule",
        ["times too low", "never changed", "good start"],
    ),  # a warm-up
    (
        [0.1 * 0.9**e for e in range(20)],
        "A schedule moved the learning rate from 0.1 to 0.0135, without a jump.",
        ["times too", "never changed"],
    ),
]


@pytest.mark.parametrize(("rates", "sentence", "unsaid"), RATES, ids=["none", "constant", "warm-up", "decay"])
def test_no_claim_about_rates_that_the_log_does_not_bear_out(tmp_path, capsys, rates, sentence, unsaid):
    text = said(table(tmp_path, {"val_loss": FALLS, **({"lr": rates} if rates else {})}), capsys)
    assert sentence in text
    assert [claim for claim in unsaid if claim in text] == []


def test_the_report_as_one_document(tmp_path, capsys):
    assert main(["report", str(table(tmp_path, {"val_loss": RISES, "train_loss": FALLS + FALLS[-2:]})), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    probabilities = document["conclusion"].pop("probabilities")
    assert document["conclusion"] == {"kind": "overfitting", "since_check": 8, "since_epoch": 8}
    assert min(probabilities["plateau"], probabilities["overfitting"]) > 0.9
    assert document["best"] == {"value": pytest.approx(0.2), "check": 8, "epoch": 8}
    assert document["advice"][0].startswith("val_loss began to overfit")


@pytest.mark.skipif(not DATA.is_file(), reason="LIGHTNING_LR_DATA names no folder with public_logs_dev.jsonl.gz")
def test_public_curves_with_labels():
    with gzip.open(DATA, "rt") as file:
        labelled = [json.loads(line) for line in file]
    kinds: dict[str, list[Kind]] = {}
    for curve in labelled:
        train = curve["train"] or [None] * len(curve["val"])
        values = [math.nan if value is None else value for value in curve["val"]]
        readings = curves.readings_of(values)
        windows = [None if value is None else curves.window_of([value]) for value in train]
        readings = [replace(reading, train=window) for reading, window in zip(readings, windows, strict=True)]
        kinds.setdefault(curve["label"], []).append(concluded(readings).kind)
    assert kinds["overfit"].count(Kind.OVERFITTING) >= 8
    assert Kind.IMPROVING not in kinds["overfit"] + kinds["plateau"]
    assert Kind.OVERFITTING not in kinds["healthy"]
    assert Kind.FLAT not in kinds["healthy"]

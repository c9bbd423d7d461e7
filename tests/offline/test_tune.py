"""Many settings over runs that are there already: each decides as a replay with it, for a fraction of the time."""

from __future__ import annotations

import json
import time

import pytest

from lightning_lr.engine.settings import settings_from
from lightning_lr.engine.vocabulary import Action
from lightning_lr.offline import curves
from lightning_lr.offline.cli import main
from lightning_lr.offline.demo import decided
from lightning_lr.offline.replay.grid import replay_grid
from lightning_lr.offline.replay.replay import Replayer
from tests.helpers.logs import plain_run, write_csv

SETTINGS = [
    settings_from(patience=patience, factor=factor, min_delta=delta, cooldown=cooldown)
    for patience in (2, 5, 9)
    for factor in (0.01, 0.5)
    for delta, cooldown in ((0.0, 0), (0.05, 3))
]


def replayed(lines, settings):
    replayer = Replayer(settings, as_recorded=False)
    found = [replayer.step(line.reading, line.event, line.search) for line in lines]
    return [decision for decision in found if decision.action is not Action.HOLD]


@pytest.mark.parametrize("family", [name for name in curves.FAMILIES if not name.startswith("healthy")])
def test_each_setting_decides_as_a_replay_with_it(family):
    lines = decided(curves.FAMILIES[family](1), settings_from())
    found = replay_grid(lines, SETTINGS)
    for settings, decisions in zip(SETTINGS, found, strict=True):
        assert [str(decision) for decision in decisions] == [str(decision) for decision in replayed(lines, settings)]
    if family.startswith(("plateau", "overfitting")):  # the others are answered at once, whatever the patience
        assert len({tuple(d.check for d in decisions) for decisions in found}) > 1


def test_it_takes_half_the_time_of_the_replays():
    """Processor time; twenty settings that differ in patience and factor."""
    lines = decided(curves.plateau(0, checks=100), settings_from())
    settings = [settings_from(patience=p, factor=f) for p in (2, 3, 5, 8, 12) for f in (0.1, 0.2, 0.3, 0.5)]

    def taken(work):
        began = time.process_time()
        work()
        return time.process_time() - began

    each = min(taken(lambda: [replayed(lines, one) for one in settings]) for _ in range(2))
    assert min(taken(lambda: replay_grid(lines, settings)) for _ in range(2)) < each / 2


FLAT = [1.0, 0.8, 0.7] + [0.7] * 17
RISES = [1.0, 0.8, 0.6, 0.5, *(0.5 + 0.05 * i for i in range(1, 17))]


def runs(folder):
    write_csv(folder / "flat", plain_run(FLAT))
    write_csv(folder / "rises", plain_run(RISES))
    write_csv(folder / "other", [(0, {"nothing": 1.0, "epoch": 0.0, "loss": 1.0}), (1, {"acc": 0.1, "epoch": 1.0})])
    return folder


def test_a_row_for_each_setting(tmp_path, capsys):
    assert main(["tune", str(runs(tmp_path)), "--grid", "patience=2,8", "--monitor", "val_loss"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "not read: Expected a metric 'val_loss' in" in out
    rows = [out.split(f"patience={patience} ")[1] for patience in (2, 8)]
    assert all(row.startswith("2 of 2 runs ") for row in rows)
    soon, late = (float(row.split("runs ")[1].split(" checks after the best")[0]) for row in rows)
    assert 0 < soon < late
    assert "What replay cannot know" in out


def test_of_one_run_the_changes_are_named(tmp_path, capsys):
    assert main(["tune", str(runs(tmp_path) / "flat"), "--grid", "patience=2,6", "--grid", "factor=0.5"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "patience=2, factor=0.5 check 11 plateau: restore × 0.5" in out
    assert "patience=6, factor=0.5 check 12 plateau: restore × 0.5" in out


def test_as_json_it_is_what_a_replay_says(tmp_path, capsys):
    assert main(["tune", str(runs(tmp_path) / "rises"), "--grid", "patience=2,6", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [setting["name"] for setting in document["settings"]] == ["policy auto", "patience=2", "patience=6"]
    assert main(["replay", str(tmp_path / "rises"), "--set", "patience=6", "--json"]) == 0
    (replay,) = json.loads(capsys.readouterr().out)["replays"]
    changes = document["settings"][2]["runs"][0]["changes"]
    assert changes == [{name: decision[name] for name in changes[0]} for decision in replay["decisions"]]
    assert changes


def test_the_picture(tmp_path):
    pytest.importorskip("matplotlib")
    assert main(["tune", str(runs(tmp_path)), "--png", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


WRONG = [
    (["--grid", "patience"], "Expected NAME=VALUE,VALUE, as in patience=3,5,8, but got 'patience'."),
    (["--grid", "patience=2,,3"], "Expected NAME=VALUE,VALUE, as in patience=3,5,8, but got 'patience=2,,3'."),
    (["--grid", "patience=0"], "Expected `patience` to be an integer ≥ 1 but got 0."),
    (["--grid", "monitor=a,b"], "Expected --monitor to say what is watched but got 'monitor=a'."),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_options(tmp_path, capsys, arguments, message):
    assert main(["tune", str(runs(tmp_path) / "flat"), *arguments]) == 2
    assert capsys.readouterr().err == f"lightning-lr: {message}\n"

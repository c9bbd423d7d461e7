"""Any run → readings: files of other people's runs, restarts, gaps, NaN, and whatever is no run."""

# ruff: noqa: E501  (the rows of tables)

from __future__ import annotations

import json
import math

import pytest

from lightning_lr.engine.journal import header_line
from lightning_lr.engine.settings import settings_from
from lightning_lr.engine.vocabulary import Action, Condition
from lightning_lr.offline.cli import main
from lightning_lr.offline.logs.run import Watch
from lightning_lr.offline.logs.sources import open_run
from lightning_lr.offline.report import report
from tests.helpers.logs import framed, plain_run, write_csv, write_events

VALUES = [1.0, 0.8, 0.7, 0.65]


def readings(path, **watch):
    return [line.reading for line in open_run(path, Watch(**watch)).lines()]


@pytest.mark.parametrize("write", [write_events, write_csv])
def test_a_plain_run(tmp_path, write):
    write(tmp_path / "version_0", plain_run(VALUES, "val/loss"))
    found = readings(tmp_path)
    assert [r.metrics for r in found] == [{"val/loss": pytest.approx(value)} for value in VALUES]
    assert [(r.check, r.epoch, r.step) for r in found] == [(0, 0, 9), (1, 1, 19), (2, 2, 29), (3, 3, 39)]
    assert found[0].rates["lr-SGD"].applied == pytest.approx(0.1)
    assert (found[1].train.mean, found[1].train.blocks, found[1].train.steps) == (1.0, (1.0,), 10)


def test_both_loggers_tell_the_same(tmp_path):
    write_events(tmp_path / "events", plain_run(VALUES, lr=0.5))
    write_csv(tmp_path / "csv", plain_run(VALUES, lr=0.5))
    events, table = readings(tmp_path / "events"), readings(tmp_path / "csv")
    assert [r.train.blocks for r in events] == [pytest.approx(r.train.blocks) for r in table]
    assert [(r.check, r.epoch, r.step, r.rates) for r in events] == [(r.check, r.epoch, r.step, r.rates) for r in table]


def test_a_restarted_run_in_two_files(tmp_path):
    """Killed in epoch 3, resumed from the end of epoch 1: epochs 2 and 3 are those of the second file."""
    write_events(tmp_path, plain_run([1.0, 0.8, 0.7, 9.0]), second=1)
    second = [entry for entry in plain_run([1.0, 0.8, 0.6, 0.5, 0.4]) if entry[0] >= 20]
    write_events(tmp_path, [(0, {"hp_metric": -1.0}), *second], second=2)
    run = open_run(tmp_path)
    assert [line.reading.metrics["val_loss"] for line in run.lines()] == pytest.approx([1.0, 0.8, 0.6, 0.5, 0.4])
    assert run.chosen[-1] == "the run was resumed 1 time; the steps logged last count"


def test_gaps_and_values_that_are_not_finite(tmp_path):
    log = [
        (9, {"val_loss": 1.0, "epoch": 0.0}),
        (39, {"val_loss": math.nan, "epoch": 3.0}),
        (99, {"val_loss": 0.5, "epoch": 9.0}),
    ]
    write_csv(tmp_path, [*log, (119, {"train_loss": 0.1}), (129, {"val_loss": math.inf, "epoch": 12.0})])
    found = readings(tmp_path)
    assert [r.epoch for r in found] == [0, 3, 9, 12]
    assert [r.metrics["val_loss"] for r in found] == pytest.approx([1.0, math.nan, 0.5, math.inf], nan_ok=True)
    assert [r.train is not None for r in found] == [False, False, False, True]


def test_a_training_loss_that_is_not_finite(tmp_path):
    losses = [1.0, math.nan, 1.0, math.nan]
    log = [(step, {"train_loss_step": loss}) for step, loss in enumerate(losses)]
    write_events(tmp_path, [*log, (3, {"val_loss": 1.0})])
    (reading,) = readings(tmp_path)
    assert (reading.train.blocks, reading.train.non_finite, reading.train.ends_non_finite) == ((1.0, 1.0), 2, True)


def test_without_an_epoch_each_check_counts_as_one(tmp_path):
    write_csv(tmp_path, [(9, {"val_loss": 1.0}), (19, {"val_loss": 0.5})])
    run = open_run(tmp_path)
    assert [line.reading.epoch for line in run.lines()] == [0, 1]
    assert run.chosen[-1] == "no epoch was logged: each check counts as one epoch"


def test_several_loaders_are_several_monitors(tmp_path):
    names = ("val_loss/dataloader_idx_0", "val_loss/dataloader_idx_1")
    write_csv(tmp_path, [(9, dict.fromkeys(names, 1.0)), (19, {names[0]: 0.5})])
    assert open_run(tmp_path).settings.monitors == names
    assert [set(r.metrics) for r in readings(tmp_path)] == [set(names), {names[0]}]


def test_train_monitor(tmp_path):
    write_csv(tmp_path, [(9, {"val_acc": 0.5, "train_acc": 0.6, "val_loss": 1.0})])
    (reading,) = readings(tmp_path, monitors=("val_acc",), mode="max", train_monitor="train_acc")
    assert (reading.metrics, reading.train_metric) == ({"val_acc": 0.5, "val_loss": 1.0}, 0.6)


@pytest.mark.parametrize(
    ("mode", "said"), [(None, "max, as its name says; --mode min otherwise"), ("min", "min, as asked for")]
)
def test_a_mode_that_was_forgotten(tmp_path, mode, said):
    write_csv(tmp_path, [(9, {"val_acc": 0.5})])
    run = open_run(tmp_path, Watch(monitors=("val_acc",), mode=mode))
    assert run.chosen[1] == f"mode {said}"


def test_the_newest_journal_of_a_folder_comes_first(tmp_path):
    write_events(tmp_path, plain_run(VALUES))
    journal(tmp_path / "lr_journal.jsonl")
    run = open_run(tmp_path)
    assert (run.kind, run.decided, run.settings.monitors) == ("journal", True, ("val_loss",))


def test_a_journal_that_begins_in_mid_run_says_so(tmp_path):
    """A resumed run that was told to write elsewhere: what came before is not in it."""
    journal(tmp_path / "whole.jsonl")
    header, *checks = (tmp_path / "whole.jsonl").read_text().splitlines()
    (tmp_path / "lr_journal.jsonl").write_text("\n".join([header, *checks[6:]]) + "\n")
    chosen = open_run(tmp_path / "lr_journal.jsonl").chosen
    assert chosen[1:] == ("it begins at check 6: a replay does not know what came before, and may differ at first",)
    assert len(open_run(tmp_path / "whole.jsonl").chosen) == 1


def journal(path, lines=()):
    from lightning_lr.offline.curves import plateau
    from tests.equivalence.test_live_is_replay import journal_of

    path.write_text(journal_of(plateau(0, checks=20), settings_from()) + "".join(lines), encoding="utf-8")


def write_files(**files):
    """Files of a folder: name → its bytes; dots are written as two underscores."""

    def make(folder):
        for name, content in files.items():
            (folder / name.replace("__", ".")).write_bytes(content)
        return folder

    return make


def two_runs(folder):
    for version in ("version_0", "version_1"):
        write_csv(folder / version, plain_run(VALUES))
    return folder


def cut_events(folder):
    path = write_events(folder, plain_run(VALUES))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return folder


def damaged_events(folder):
    path = write_events(folder, plain_run(VALUES))
    path.write_bytes(path.read_bytes() + framed(b"\xff" * 20))
    return folder


def cut_journal(folder):
    journal(folder / "lr_journal.jsonl", ['{"schema": 1, "ki'])
    return folder


def no_loss(folder):
    write_csv(folder, [(9, {"acc": 0.5, "score": 0.5})])
    return folder


BINARY, EVENTS = bytes(range(256)), "events__out__tfevents__1__host"
HEADER = header_line(settings_from(), {})
LATER = json.dumps(json.loads(HEADER) | {"schema": 99})

FORMATS = (
    "journal (lr_journal*.jsonl), TensorBoard event files (*tfevents* …), Hugging Face trainer state (trainer_state.json …), "
    "W&B run (*.wandb …), MLflow run (meta.yaml), table of metrics (*.csv …)"
)

BAD = [
    (lambda folder: folder / "nowhere", "Expected a run at {0}/nowhere but there is nothing."),
    (write_files(), f"Expected one of {FORMATS} in {{0}} but it holds none."),
    (lambda folder: write_files(model__ckpt=BINARY)(folder) / "model.ckpt", f"Expected one of {FORMATS} but got {{0}}/model.ckpt."),
    (cut_events, "Expected whole records in {0}/events.out.tfevents.1.host.1.0 but it breaks off after 12 of them. "
                      "If the run goes on, try again; else --partial reads what is there."),
    (write_files(**{EVENTS: BINARY * 9}), "Expected a TensorBoard event file but {0}/events.out.tfevents.1.host is none, or was cut off at once."),
    (write_files(**{EVENTS: framed(b"") * 3}), "Expected a TensorBoard event file but {0}/events.out.tfevents.1.host is none."),
    (damaged_events, "Expected events in {0}/events.out.tfevents.1.host.1.0 but record 25 is none; the file is damaged."),
    (write_files(lr_journal__jsonl=b""), "Expected a journal in {0}/lr_journal.jsonl but the file is empty."),
    (write_files(lr_journal__jsonl=f"{HEADER}\n".encode()), "Expected checks in {0}/lr_journal.jsonl but it holds none: there is nothing to replay."),
    (write_files(lr_journal__jsonl=LATER.encode()), "{0}/lr_journal.jsonl, line 1: Expected a journal of schema 1 or earlier but got schema 99. "
                         "Update lightning-lr."),
    (write_files(lr_journal__jsonl=BINARY), "Expected a journal in {0}/lr_journal.jsonl but it is no text."),
    (cut_journal, "{0}/lr_journal.jsonl, line 22: Expected one JSON object a line but got '{{\"schema\": 1, \"ki'. "
                       "The line may have been cut off."),
    (lambda folder: write_files(metrics__csv=BINARY)(folder) / "metrics.csv",
     "Expected a table of metrics in {0}/metrics.csv but it is no text table (it holds NUL bytes; a text in UTF-16 without its "
     "mark is to be saved as UTF-8)."),
    (lambda folder: write_files(metrics__csv=b"a,b\n1,2\n")(folder) / "metrics.csv",
     "Expected a metric with a name like val_loss in {0}/metrics.csv but it logged a, b. Pass --monitor NAME."),
    (lambda folder: write_files(metrics__csv=b"")(folder) / "metrics.csv",
     "Expected a table of metrics in {0}/metrics.csv but it has no numbers under names."),
    (lambda folder: write_files(metrics__csv=b"1,2\n3,4\n")(folder) / "metrics.csv",
     "Expected a line of names in {0}/metrics.csv but its first line holds numbers."),
    (no_loss, "Expected a metric with a name like val_loss in {0}/metrics.csv but it logged acc, score. Pass --monitor NAME."),
]  # fmt: skip


@pytest.mark.parametrize("make", [cut_events, cut_journal])
def test_partial_reads_what_is_there(tmp_path, make):
    assert readings(make(tmp_path), partial=True)


def run_with_ours():
    """What a logger keeps of a run with our callback and no journal: a cut at check 2, then the curve over the budget."""
    scales = [1.0, 1.0, 0.3, 0.3, 0.25]
    for check, scale in enumerate(scales):
        ours = {"scale": scale, "lr/lr-SGD": 0.1 * scale, "train": 0.5 - 0.01 * check, "flip_rate": 0.03}
        ours[f"condition/{'plateau' if check == 2 else 'healthy'}"] = 1.0
        logged = {f"lr_controller/a/{name}": value for name, value in ours.items()}
        yield check * 10 + 9, {"val_loss": 1.0 - 0.1 * check, "epoch": float(check), **logged}


@pytest.mark.parametrize("write", [write_events, write_csv])
def test_a_log_of_a_run_that_had_our_callback_tells_what_it_can(tmp_path, write):
    """The scale, the condition, the probes and the training loss stand in it; the policy and the sentences do not."""
    write(tmp_path, run_with_ours())
    run = open_run(tmp_path)
    lines = list(run.lines())
    assert (run.decided, run.present) == (False, True)
    assert [line.reading.rates["lr-SGD"].applied for line in lines] == pytest.approx([0.1, 0.1, 0.1, 0.03, 0.03])
    acted = [(line.reading.check, line.decision) for line in lines if line.decision.action is not Action.HOLD]
    ((check, decision),) = acted  # the step of its curve from 0.3 to 0.25 is no decision
    assert (check, decision.action, decision.condition) == (2, Action.REDUCE, Condition.PLATEAU)
    assert (decision.factor, decision.new_lr["lr-SGD"]) == pytest.approx((0.3, 0.03))
    assert lines[1].reading.probes == {"flip_rate": pytest.approx(0.03)}
    assert lines[1].reading.train.mean == pytest.approx(0.49)


def test_the_report_and_the_replay_of_such_a_log_say_who_changed_the_rate(tmp_path, capsys, monkeypatch):
    write_csv(tmp_path, run_with_ours())
    monkeypatch.setattr(report, "WIDE", 500)
    assert main(["report", str(tmp_path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "lightning_lr was in this run, but the log does not hold its policy and its reasons" in out
    assert "check 2 · epoch 2 · plateau: reduce × 0.3 · 0.1 → 0.03" in out
    assert "without lightning_lr" not in out
    assert main(["replay", str(tmp_path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "2 2 plateau: reduce × 0.3" in out
    assert "learning rate 0.1 → 0.03" not in out  # seen in the log one check later

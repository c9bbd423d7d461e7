"""What else may lie between a checkpoint and the run that goes on from it."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback, LearningRateFinder
from torch.optim import lr_scheduler

from lightning_lr import LearningRateController, Snapshots
from lightning_lr.engine.journal import read_line
from tests.helpers import resume
from tests.helpers.resume import (
    FIRM,
    Model,
    Recorder,
    Run,
    Trace,
    When,
    in_fork,
    journal_lines,
    killed,
    resumed,
    train,
    unkilled,
)
from tests.helpers.schedulers import CASES, SchedulerCase

MID_EPOCH, EPOCH_END = (next(w for w in resume.WHENS if w.name == name) for name in ("mid-epoch", "end of the epoch"))
# A schedule that changes nothing is one of the user's own all the same: rates are the engine's cuts and no more.


class Flat(lr_scheduler.LambdaLR):
    """A schedule of the user's own, of which nobody can tell that it never moves: the controller anneals nothing."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__(optimizer, lambda epoch: 1.0)


FLAT = SchedulerCase("Flat", lambda optimizer, total: Flat(optimizer))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """A run with StepLR that is never killed."""
    return unkilled(Run(tmp_path_factory.mktemp("alone"), case=CASES[0]))


def edited(path: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """The checkpoint after a user's hand was at it."""
    checkpoint = torch.load(path, weights_only=True)
    edit(checkpoint)
    torch.save(checkpoint, path)
    return path


# The journal.


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BEFORE_A_CHECK = When("before the first check", 3, {"every_n_train_steps": 3})


@pytest.mark.parametrize("arguments", [{}, {"find_lr": False}, {"policy": "conservative"}], ids=str)
def test_killed_before_its_first_check_the_journal_begins_alike(arguments: dict[str, Any], tmp_path: Path) -> None:
    """Nothing was written yet, so the run that goes on writes the header: that of the whole run."""
    whole, cut = (Run(tmp_path / name, arguments=arguments) for name in ("whole", "cut"))
    checkpoint = killed(cut, BEFORE_A_CHECK)
    assert resumed(cut, BEFORE_A_CHECK, checkpoint).journal == unkilled(whole).journal


@pytest.mark.damages_journal
@pytest.mark.parametrize(
    ("what", "sentence", "checks", "name"),
    [
        (cut_short, "had lost its end; it was repaired to its last whole line", None, "lr_journal.jsonl"),
        (Path.unlink, "cannot be continued ([Errno 2] No such file or directory", range(8, 14), "lr_journal.jsonl"),
        (make_folder, "cannot be continued ([Errno 21] Is a directory", range(8, 14), "lr_journal-2.jsonl"),
    ],
    ids=["cut in the middle of a line", "deleted", "not a file any more"],
)
def test_a_damaged_journal_is_repaired_and_said(
    what: Callable[[Path], None], sentence: str, checks: range | None, name: str, tmp_path: Path, expected: Trace
) -> None:
    run = Run(tmp_path, case=CASES[0])
    checkpoint = killed(run, EPOCH_END, survive=6)
    what(run.journal)

    got = resumed(run, EPOCH_END, checkpoint)

    assert [s for s in got.sentences if sentence in s], got.sentences
    assert [path.name for path in tmp_path.glob("*.jsonl") if path.is_file()] == [name]
    lines = [read_line(line).decision.check for line in got.journal[1:]]
    assert got.journal[0] == expected.journal[0]
    assert lines[-6:] == [*range(8, 14)]
    assert lines == [*checks] if checks else lines[0] == 0 and len({*lines}) == len(lines)
    assert got.decisions == expected.decisions
    assert got.weights == expected.weights


def test_a_run_in_another_folder_goes_on_in_the_same_journal(tmp_path: Path, expected: Trace) -> None:
    run = Run(tmp_path / "first", case=CASES[0])
    checkpoint = killed(run, EPOCH_END, survive=6)

    got = resumed(replace(run, folder=tmp_path / "second"), EPOCH_END, checkpoint)

    assert journal_lines(run.journal) == expected.journal
    assert not [*(tmp_path / "second").glob("*.jsonl")]
    assert got.decisions == expected.decisions


# What a user changes between the two runs.


def halve_rates(checkpoint: dict[str, Any]) -> None:
    for group in checkpoint["optimizer_states"][0]["param_groups"]:
        group["lr"] = 0.01


def test_a_rate_changed_in_the_checkpoint_is_the_users_own(tmp_path: Path) -> None:
    run = Run(tmp_path, case=FLAT)
    checkpoint = edited(killed(run, EPOCH_END), halve_rates)

    got = resumed(run, EPOCH_END, checkpoint)

    assert got.rates[32] == [0.01, 0.01]
    assert got.sentences[0] == (
        "The learning rate of parameter groups 0, 1 is not the one of the checkpoint (group 0: 0.01; saved 0.006, "
        "schedule 0.02); it is taken as your own choice, with a scale of 1."
    )
    since = [d["factor"] for d in got.decisions if d["check"] > 7]
    assert len(since) == 2
    assert got.scale == pytest.approx(dict.fromkeys(got.scale, math.prod(since)))


@pytest.mark.damages_journal  # its header tells of the first part alone
def test_another_patience_is_followed(tmp_path: Path) -> None:
    #  check     2     7     8     9    10    11
    #          best  flat  flat  flat  flat  flat
    #                  1     2 ▼                   stalled, patience 2
    #           resumed │    2     3     4 ▼       patience 4
    losses = [1.0, 0.9, *([0.8] * 12)]
    run = Run(tmp_path, case=FLAT, losses=losses, offsets=[0.0])
    checkpoint = killed(run, EPOCH_END)

    got = resumed(replace(run, arguments={"patience": 4}), EPOCH_END, checkpoint)

    assert unkilled(replace(run, folder=tmp_path / "two")).acts[0] == (8, "restore", "plateau")
    assert got.acts[0] == (10, "restore", "plateau")


def forget(checkpoint: dict[str, Any]) -> None:
    checkpoint["callbacks"] = {k: v for k, v in checkpoint["callbacks"].items() if not k.startswith("LearningRate")}
    for key in [key for key in checkpoint if key.startswith("lightning_lr/")]:
        del checkpoint[key]


def test_a_checkpoint_without_our_state_starts_afresh_at_its_rates(tmp_path: Path) -> None:
    run = Run(tmp_path, case=FLAT)
    checkpoint = edited(killed(run, EPOCH_END), forget)
    run.journal.unlink()

    got = resumed(run, EPOCH_END, checkpoint)

    assert got.rates[32] == pytest.approx([0.006, 0.015])  # the optimizer's own state holds what was applied
    assert [read_line(line).decision.check for line in got.journal[1:]] == [*range(6)]


def test_without_the_snapshot_it_cuts_and_says_so(tmp_path: Path, expected: Trace) -> None:
    run = Run(tmp_path, case=CASES[0], arguments={"snapshots": Snapshots(in_checkpoint=False)})
    checkpoint = killed(run, EPOCH_END)
    assert [v["snapshot"] for k, v in torch.load(checkpoint, weights_only=True).items() if "lightning_lr" in k] == [
        None
    ]

    got = resumed(run, EPOCH_END, checkpoint)

    warned = "The checkpoint carries no snapshot: until the next best, a restore will be a cut without restore."
    assert got.sentences[0] == warned
    cut = next(d for d in got.decisions if d["condition"] == "non_finite")
    assert cut["action"] == "reduce"
    assert "; no snapshot: cut without restore → learning rate × 0.3" in cut["reason"]
    assert [what for _, *what in got.acts] == [
        ["restore", "plateau"],
        ["reduce", "non_finite"],
        ["restore", "non_finite"],
    ]


def test_where_lightning_leaves_out_a_validation_there_is_one_check_fewer_and_no_gap(tmp_path: Path) -> None:
    # Resumed from a checkpoint that ``every_n_train_steps`` wrote after an epoch's last batch, Lightning goes on with
    # the next epoch: that epoch's validation never runs, with this callback or without.
    when = When("last batch", 32, {"every_n_train_steps": 32})
    run = Run(tmp_path, case=FLAT)

    got = resumed(run, when, killed(run, when, survive=6))

    readings = [read_line(line).reading for line in got.journal[1:]]
    assert [reading.check for reading in readings] == [*range(13)]
    assert [reading.epoch for reading in readings] == [*range(7), *range(8, 14)]


# Other ways to come to a fit.


def _fit(run: Run, controller: LearningRateController, *others: Callback, **how: Any) -> tuple[list[str], Any]:
    recorder = Recorder(None)
    resume.trainer_of(run, [recorder, controller, *others]).fit(Model(run), **how)
    return [str(decision) for decision in controller.decisions], recorder.rates


def test_evaluating_a_checkpoint_before_a_fit_leaves_no_trace(tmp_path: Path, expected: Trace) -> None:
    run = Run(tmp_path / "run", case=CASES[0])
    checkpoint = killed(run, EPOCH_END)

    def validate_then_fit() -> Any:
        controller, again = (
            LearningRateController("val_loss", patience=2, policy=FIRM),
            replace(run, folder=tmp_path / "again"),
        )
        trainer = resume.trainer_of(again, [controller, *EPOCH_END.callbacks(run.folder)])
        trainer.validate(Model(again), ckpt_path=checkpoint, verbose=False)
        return controller.decisions, _fit(again, controller)

    before, (decisions, rates) = in_fork(validate_then_fit)
    assert before == []
    assert rates == expected.rates
    assert len(decisions) == len(expected.decisions)


def test_evaluating_a_checkpoint_after_the_fit_keeps_what_the_fit_came_to(tmp_path: Path, expected: Trace) -> None:
    run = Run(tmp_path, case=CASES[0])

    def fit_then_validate() -> Any:
        controller = LearningRateController("val_loss", patience=2, policy=FIRM)
        trainer = resume.trainer_of(run, [controller, *EPOCH_END.callbacks(tmp_path)])
        model = Model(run)
        trainer.fit(model)
        trainer.validate(model, ckpt_path=EPOCH_END.path(tmp_path), verbose=False)
        return len(controller.decisions), controller.scale, controller.state_dict()["checks"]

    assert in_fork(fit_then_validate) == (3, expected.scale, 14)


def test_a_checkpoint_written_after_the_fit_goes_on_with_its_snapshot(tmp_path: Path, expected: Trace) -> None:
    run = Run(tmp_path, case=CASES[0])

    def fit_and_save() -> None:
        short = replace(run, options={"max_epochs": 8})
        trainer = resume.trainer_of(short, [LearningRateController("val_loss", patience=2, policy=FIRM)])
        trainer.fit(Model(run))
        trainer.save_checkpoint(tmp_path / "after.ckpt")

    in_fork(fit_and_save)
    got = resumed(run, EPOCH_END, tmp_path / "after.ckpt")
    assert got.acts == expected.acts
    assert got.weights == expected.weights
    assert got.rates == {step: rates for step, rates in expected.rates.items() if step >= 32}


def test_a_learning_rate_finder_saves_and_loads_before_the_first_step(tmp_path: Path) -> None:
    # (A *resumed* run with Lightning's finder begins again at step 0, with this callback or without.)
    run = Run(tmp_path / "plain", case=FLAT, stateful=False)
    plain = unkilled(run)
    finder = LearningRateFinder(num_training_steps=5, update_attr=False)

    found = in_fork(lambda: train(replace(run, folder=tmp_path / "found"), callbacks=[finder]))

    assert found.rates == plain.rates
    assert found.decisions == plain.decisions
    assert found.journal == plain.journal


# What a checkpoint holds.


def size(state: dict[str, Any]) -> int:
    file = io.BytesIO()
    torch.save(state, file)
    return file.tell()


def test_a_long_run_with_many_decisions_stays_under_64_kb(tmp_path: Path) -> None:
    run = Run(tmp_path, arguments={"policy": "exponential", "patience": None}, options={"max_epochs": 100})
    got = in_fork(lambda: train(run))
    assert len(got.decisions) == 100
    assert size(got.state) < 64 * 1024

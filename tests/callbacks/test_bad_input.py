"""Metrics that are missing, arguments that cannot work, and Trainers with half of their loops."""

from __future__ import annotations

import inspect
import math
import re
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_lr import LearningRateController
from lightning_lr.callbacks import controller
from lightning_lr.engine.policies import PRESETS, Policy, Response
from lightning_lr.errors import ArgumentError, MissingMetricError
from tests.helpers.scripted import Endless, Scripted, data, eager, trainer

HALF = {"val_check_interval": 0.5}
FALLS = [1.0 - 0.05 * i for i in range(20)]
NAN, INF = math.nan, math.inf

# --- a monitor that was never logged ----------------------------------------------------------------------------------

HOW = "Pass one of these as `monitor`, or log it in `validation_step` or `training_step`"
NOT = "among the logged metrics but"
# monitor, what validation logs, what the sentence begins with
MISSING = [
    pytest.param(
        "val_los",
        {"val_loss": FALLS, "acc": FALLS},
        f"Expected `val_los` {NOT} it was not logged. Logged: `acc`, `val_loss`. Did you mean `val_loss`? {HOW}",
        id="typo",
    ),
    pytest.param(
        ["val_loss", "val_mae"],
        {"val_loss": FALLS},
        f"Expected `val_mae` {NOT} it was not logged. Logged: `val_loss`. ",
        id="one-of-two",
    ),
    pytest.param(
        ["zz", "qq"],
        {"val_loss": FALLS},
        f"Expected `zz`, `qq` {NOT} they were not logged. Logged: `val_loss`. {HOW}",
        id="both",
    ),
    pytest.param("val_loss", {}, f"Expected `val_loss` {NOT} it was not logged. Logged: nothing. {HOW}", id="none"),
]


@pytest.mark.parametrize("options", [{}, HALF], ids=["each-epoch", "half"])
@pytest.mark.parametrize(("monitor", "script", "said"), MISSING)
def test_missing_metric(monitor, script, said, options):
    """At the first validation, not after the night."""
    model = Scripted(script)
    with pytest.raises(MissingMetricError) as error:
        trainer(LearningRateController(monitor, verbose=False), max_epochs=3, **options).fit(model, data(), data())
    assert str(error.value).startswith(said)
    assert model.validations == 1


@pytest.mark.parametrize("options", [{}, HALF], ids=["each-epoch", "half"])
def test_several_loaders(options):
    """Lightning puts the loader's number behind the name: the sentence shows the names there are."""
    with pytest.raises(
        MissingMetricError, match=r"Logged: `val_loss/dataloader_idx_0`, `val_loss/dataloader_idx_1`\. Did"
    ):
        trainer(LearningRateController("val_loss", verbose=False), max_epochs=1, **options).fit(
            Scripted(), data(), [data(), data()]
        )
    control = eager("val_loss/dataloader_idx_1")
    trainer(control, max_epochs=2, **options).fit(Scripted(), data(), [data(), data()])
    assert control.state_dict()["checks"] == (4 if options else 2)


# --- arguments --------------------------------------------------------------------------------------------------------

CHOICE = "Expected `param_groups` to be a list of indices of optimizers and names of parameter groups"
# arguments → the sentence, or its beginning
ARGUMENTS = [
    ({"monitor": ""}, "Expected `monitor` to be a metric name or a list of them but got ''."),
    ({"monitor": []}, "Expected `monitor` to be a metric name or a list of them but got []."),
    ({"monitor": 3}, "Expected `monitor` to be a metric name or a list of them but got 3."),
    ({"monitor": ["a", "a"]}, "Expected `monitor` to name each metric once but got ['a', 'a']."),
    ({"mode": "minimum"}, "Expected `mode` to be one of 'min', 'max' but got 'minimum'. Did you mean 'min'?"),
    ({"mode": None}, "Expected `mode` to be one of 'min', 'max' but got None."),
    (
        {"policy": "autos"},
        f"Expected `policy` to be a Policy or one of {', '.join(map(repr, PRESETS))} but got 'autos'. "
        "Did you mean 'auto'?",
    ),
    ({"policy": None}, "Expected `policy` to be a Policy or one of"),
    ({"patience": 0}, "Expected `patience` to be an integer ≥ 1 but got 0."),
    ({"patience": 2.5}, "Expected `patience` to be an integer ≥ 1 but got 2.5."),
    ({"patience": True}, "Expected `patience` to be an integer ≥ 1 but got True."),
    ({"cooldown": -1}, "Expected `cooldown` to be an integer ≥ 0 but got -1."),
    ({"factor": 1.0}, "Expected `factor` to be a number above 0 and below 1 but got 1.0."),
    ({"factor": 0}, "Expected `factor` to be a number above 0 and below 1 but got 0."),
    ({"factor": NAN}, "Expected `factor` to be a number above 0 and below 1 but got nan."),
    ({"factor": "0.1"}, "Expected `factor` to be a number above 0 and below 1 but got '0.1'."),
    ({"min_delta": -1e-4}, "Expected `min_delta` to be a finite number ≥ 0 but got -0.0001."),
    ({"min_lr": -1.0}, "Expected `min_lr` to be a finite number ≥ 0, or one for each group, but got -1.0."),
    ({"min_lr": []}, "Expected `min_lr` to be a finite number ≥ 0, or one for each group, but got []."),
    ({"min_lr": "1e-5"}, "Expected `min_lr` to be a finite number ≥ 0, or one for each group, but got '1e-5'."),
    ({"max_lr": 0.0}, "Expected `max_lr` to be a finite number > 0, or one for each group, but got 0.0."),
    ({"max_lr": [0.1, NAN]}, "Expected `max_lr` to be a finite number > 0, or one for each group, but got [0.1, nan]."),
    ({"min_lr": 0.1, "max_lr": 0.01}, "Expected `min_lr` ≤ `max_lr` but got min_lr=0.1 and max_lr=0.01."),
    ({"train_monitor": ""}, "Expected `train_monitor` to be a metric name but got ''."),
    ({"train_monitor": 1}, "Expected `train_monitor` to be a metric name but got 1."),
    ({"vote": "most"}, "Expected `vote` to be one of 'any', 'majority', 'all' but got 'most'."),
    ({"restore_best": 1}, "Expected `restore_best` to be True, False or None (the policy decides) but got 1."),
    ({"check_every_n_steps": 1.5}, "Expected `check_every_n_steps` to be an integer ≥ 0 but got 1.5."),
    (
        {"policy": "halving", "factor": 0.3},
        "Expected no `factor` with policy 'halving' but got 0.3. A recipe multiplies by `ratio`: say that.",
    ),
    (
        {"policy": "exponential", "patience": 3},
        "Expected no `patience` with policy 'exponential' but got 3. A recipe moves after a fixed time: say `epochs`.",
    ),
    ({"policy": "halving", "cooldown": 2}, "Expected no `cooldown` with policy 'halving' but got 2. A recipe"),
    (
        {"policy": "halving", "restore_best": True},
        "Expected no `restore_best` with policy 'halving' but got True. A recipe",
    ),
    (
        {"policy": "halving", "check_every_n_steps": 50},
        "Expected no `check_every_n_steps` with policy 'halving' but got 50. "
        "A recipe moves at the ends of epochs: leave it out.",
    ),
    (
        {"policy": Policy("mine", {"plateau": Response("raise", 2.0)}), "factor": 0.3},
        "Expected no `factor` with policy 'mine' but got 0.3. None of its responses takes it: leave it out, or",
    ),
    (
        {"policy": Policy("mine", {"divergence": Response("reduce", 0.5)}), "patience": 3},
        "Expected no `patience` with policy 'mine' but got 3. None of its responses takes it: leave it out, or",
    ),
    (
        {"policy": Policy("mine", {"plateau": Response("reduce", 0.5)}), "restore_best": True},
        "Expected no `restore_best` with policy 'mine' but got True. None of its responses",
    ),
    (
        {"dry_run": True, "find_lr": True},
        "Expected no `find_lr=True` with `dry_run=True`, which changes no learning rate. Leave one of them out.",
    ),
    ({"dry_run": True, "anneal": True}, "Expected no `anneal=True` with `dry_run=True`, which"),
    ({"objective_changes": 3}, "Expected `objective_changes` to be a list of epochs, from 0, but got 3."),
    ({"objective_changes": [-1]}, "Expected `objective_changes` to be a list of epochs, from 0, but got [-1]."),
    ({"objective_changes": [True]}, "Expected `objective_changes` to be a list of epochs, from 0, but got [True]."),
    ({"param_groups": "body"}, f"{CHOICE} but got 'body'."),
    ({"param_groups": []}, f"{CHOICE} but got []."),
    ({"param_groups": 0}, f"{CHOICE} but got 0."),
    ({"param_groups": [1.5]}, f"{CHOICE} but got [1.5]."),
    ({"detectors": "plateau"}, "Expected `detectors` to be a list of detectors but got 'plateau'."),
    ({"detectors": [1]}, "Expected `detectors` to be a list of detectors but got 1 in it. Derive it from"),
    ({"dry_run": "yes"}, "Expected `dry_run` to be True or False but got 'yes'."),
    ({"verbose": None}, "Expected `verbose` to be True or False but got None."),
    ({"snapshots": 1}, "Expected `snapshots` to be True, False or Snapshots(...) but got 1."),
    (
        {"snapshots": False, "restore_best": True},
        "Expected snapshots with `restore_best=True` but got snapshots=False: without a snapshot nothing can be",
    ),
    (
        {"snapshots": False, "find_lr": True},
        "Expected snapshots with `find_lr=True` but got snapshots=False: without a snapshot nothing can be restored.",
    ),
    ({"probes": 1}, "Expected `probes` to be a list of NeuronCoherence(), UpdateRatio(), GradientDisparity() and "),
    ({"journal": ""}, "Expected `journal` to be a path, False or None but got ''."),
    ({"journal": True}, "Expected `journal` to be a path, False or None but got True."),
    ({"name": ""}, "Expected `name` to be a word without slashes or None but got ''."),
    ({"name": "a/b"}, "Expected `name` to be a word without slashes or None but got 'a/b'."),
    ({"name": 1}, "Expected `name` to be a word without slashes or None but got 1."),
    ({"find_lr": "yes"}, "Expected `find_lr` to be True, False or 'auto' but got 'yes'."),
    ({"anneal": None}, "Expected `anneal` to be True, False or 'auto' but got None."),
]


HEARD: list[dict[str, Any]] = [
    {"policy": "halving", "restore_best": False, "cooldown": 0, "check_every_n_steps": 0},
    {"policy": "halving", "patience": None, "factor": None},
    {"policy": "conservative", "restore_best": True, "patience": 3, "factor": 0.3, "cooldown": 1},
    {"policy": Policy("mine", {"plateau": Response("reduce", 0.5, patience=2)}), "patience": 3, "factor": 0.3},
    {"dry_run": True, "find_lr": False, "anneal": "auto", "restore_best": True},
]


@pytest.mark.parametrize("arguments", HEARD)
def test_arguments_that_are_heard(arguments):
    LearningRateController(**arguments)


@pytest.mark.parametrize(("arguments", "said"), ARGUMENTS, ids=[repr(arguments) for arguments, _ in ARGUMENTS])
def test_arguments(arguments, said):
    """At construction, before anything is loaded or trained."""
    with pytest.raises(ArgumentError) as error:
        LearningRateController(**arguments)
    assert str(error.value).startswith(said)


def test_every_argument_is_in_the_table():
    """An argument that is added later needs its row."""
    signature = inspect.signature(LearningRateController.__init__).parameters
    assert {name for arguments, _ in ARGUMENTS for name in arguments} == {*signature} - {"self"}


# --- values -----------------------------------------------------------------------------------------------------------

# values of val_loss → conditions that must, and must not, be among the decisions
VALUES = [
    pytest.param([NAN, *FALLS], set(), {"non_finite", "plateau"}, id="nan-first-then-fine"),
    pytest.param([1.0, 0.9, NAN, NAN, NAN], set(), {"non_finite"}, id="nan-and-stays"),  # training is sound
    pytest.param([INF] * 6, set(), {"non_finite"}, id="infinite"),
    pytest.param([-INF] * 6, set(), {"non_finite"}, id="minus-infinite"),
    pytest.param([-1.0] * 12, {"plateau"}, set(), id="constant-and-negative"),
    pytest.param([0.0] * 12, {"plateau"}, set(), id="constant-zero"),
    pytest.param([-1.0 - 0.1 * i for i in range(12)], set(), {"plateau", "divergence"}, id="negative-and-falling"),
    pytest.param([1e30 / 2**i for i in range(12)], set(), {"plateau", "divergence"}, id="huge-and-falling"),
]


@pytest.mark.parametrize("sign", [1, -1], ids=["min", "max"])
@pytest.mark.parametrize(("values", "must", "must_not"), VALUES)
def test_values(values, must, must_not, sign):
    """The direction is all that the mode changes: ``max`` on the mirrored values says the same."""
    control = LearningRateController(
        mode="min" if sign > 0 else "max", policy="conservative", verbose=False, patience=2
    )
    model = Scripted({"val_loss": [sign * value for value in values]}, lr=1e-9)
    trainer(control, max_epochs=min(len(values), 12)).fit(model, data(), data())
    conditions = {str(decision.condition) for decision in control.decisions}
    assert must <= conditions
    assert not must_not & conditions


# --- Trainers ---------------------------------------------------------------------------------------------------------

TRAIN_ONLY = "No validation runs that logs `val_loss`: monitoring the training loss instead."


class NoValidation(Scripted):
    """A model whose author never wrote a validation loop."""

    validation_step = None


class Bare(Scripted):
    """Logs nothing at all; ``barebones`` forbids it."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.layer(batch[0]).pow(2).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass


def endless() -> DataLoader:
    return DataLoader(Endless(), batch_size=None)


# model, training data, validation data, options → checks, and whether they rest on the training loss alone
ALL = {"max_epochs": 4}
NO_VAL_DATA = pytest.mark.filterwarnings("ignore:You .*val")
OVERFIT = pytest.mark.filterwarnings("ignore:.*overfit_batches")
BY_STEPS = {"val_check_interval": 3, "check_val_every_n_epoch": None}
TRAINERS = [
    pytest.param(Scripted, data, data, {"fast_dev_run": True}, 0, False, id="fast-dev-run"),
    pytest.param(Scripted, data, data, {**ALL, "num_sanity_val_steps": -1}, 4, False, id="sanity-check"),
    pytest.param(Scripted, data, data, {**ALL, "overfit_batches": 1}, 4, False, id="overfit-batches", marks=OVERFIT),
    pytest.param(Bare, data, data, {**ALL, "barebones": True}, 4, True, id="barebones"),
    pytest.param(Bare, data, data, {**ALL, **HALF, "barebones": True}, 8, True, id="barebones-half"),
    pytest.param(Scripted, data, data, {**ALL, "limit_val_batches": 0}, 4, True, id="limit-val-batches-0"),
    pytest.param(Scripted, data, data, {**ALL, "limit_val_batches": 0, **HALF}, 4, True, id="limit-val-batches-0-half"),
    pytest.param(NoValidation, data, None, ALL, 4, True, id="no-validation-step"),
    pytest.param(Scripted, data, None, ALL, 4, True, id="no-validation-data", marks=NO_VAL_DATA),
    pytest.param(Scripted, endless, data, {**ALL, "limit_train_batches": 3}, 4, False, id="no-length"),
    pytest.param(Scripted, endless, data, {"max_steps": 9, **BY_STEPS}, 3, False, id="no-length-by-steps"),
    pytest.param(Scripted, data, data, {"max_steps": 5}, 2, False, id="max-steps-mid-epoch"),
    pytest.param(Scripted, data, data, {**ALL, "check_val_every_n_epoch": 2}, 2, False, id="every-2-epochs"),
    pytest.param(Scripted, data, data, {**ALL, **HALF}, 8, False, id="half"),
    # An integer 1 means each batch, but to EarlyStopping it equals 1.0; ours must count as it does.
    pytest.param(Scripted, data, data, {**ALL, "val_check_interval": 1}, 4, False, id="each-batch"),
    pytest.param(Scripted, data, data, {**ALL, **BY_STEPS}, 2, False, id="each-3-batches"),
]


@pytest.mark.parametrize(("model", "train", "val", "options", "checks", "alone"), TRAINERS)
def test_trainers(monkeypatch, model, train, val, options, checks, alone):
    """One check a validation, no more and no fewer; where no metric can come it says that the training loss is used."""
    said: list[str] = []
    monkeypatch.setattr(controller, "say", lambda _, sentence: said.append(sentence))
    control = eager(verbose=True)
    trainer(control, None, **options).fit(model(), train(), val and val())
    assert control.state_dict().get("checks", 0) == checks
    assert len(control.decisions) >= min(checks, 1)
    assert said.count(TRAIN_ONLY) == alone
    assert control._fit_run is None


@NO_VAL_DATA
@pytest.mark.parametrize(("validates", "options", "checks"), [(False, {}, 4), (True, {}, 4), (True, HALF, 3)])
def test_a_metric_of_training_alone(validates, options, checks):
    """Logged in ``training_step`` once an epoch; within an epoch the first validation comes before its first value."""
    control = eager("train_acc", mode="max")
    model = Scripted({}, training={"train_acc": [0.1, 0.2, 0.3, 0.4, 0.5]})
    trainer(control, max_epochs=4, **options).fit(model, data(), data() if validates else None)
    assert control.state_dict()["checks"] == checks


def test_validate_in_between():
    """``trainer.validate`` and a validation of another kind before, between and after fits are not checks."""
    control, model = eager(), Scripted()
    fit = trainer(control, max_epochs=2)
    fit.validate(model, data(), verbose=False)
    assert control.decisions == []
    fit.fit(model, data(), data())
    decided, rate = control.decisions, fit.optimizers[0].param_groups[0]["lr"]
    fit.validate(model, data(), verbose=False)
    assert control.decisions == decided
    assert len(decided) == 2
    assert rate == 0.025


@NO_VAL_DATA
@pytest.mark.parametrize(
    ("monitor", "mode", "said"),
    [
        ("train_acc", "min", [r"Less of `train_acc` counts as better \(mode='min'\). .* say mode='max'."]),
        ("train_loss", "max", []),
        ("train_acc", "max", []),
        ("train_score", "min", []),
    ],
)
def test_a_mode_that_does_not_go_with_the_name(recwarn, monitor, mode, said):
    """EarlyStopping says nothing, and a user learns of it hours later. The mode stays what it was told to be."""
    control = eager(monitor, mode=mode)
    trainer(control, max_epochs=2).fit(Scripted({}, training={monitor: [0.1, 0.2]}), data())
    found = [str(warning.message) for warning in recwarn if "counts as better" in str(warning.message)]
    assert len(found) == len(said)
    assert all(re.search(pattern, sentence) for pattern, sentence in zip(said, found, strict=True))
    assert control.options.settings.mode == mode


def test_overfit_batches_is_said():
    """The gap to the very same data means nothing."""
    with pytest.warns(UserWarning, match="With `overfit_batches` validation sees the training data"):
        trainer(eager(), max_epochs=1, overfit_batches=1).fit(Scripted(), data(), data())

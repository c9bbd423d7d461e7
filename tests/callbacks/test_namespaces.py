"""One class for the Trainers of both packages, for command lines, configuration files, copies and pickles."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_lr import LearningRateController, Policy, Snapshots
from lightning_lr.engine.policies import PRESETS, Response
from lightning_lr.engine.vocabulary import Action, Condition
from tests.helpers.scripted import QUIET, data, eager

# Lightning 2.6 calls jsonargparse by names that it has since renamed.
pytestmark = [
    pytest.mark.filterwarnings(r"ignore:\s*By default only one JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings(r"ignore:[\s\S]*deprecated in v4"),
]

PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def module_of(package: str) -> Any:
    """A model and its data, as a user of that package writes them."""
    base = importlib.import_module(package)

    class Model(base.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return self.layer(batch[0]).pow(2).mean()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", 1.0 - 0.1 * self.current_epoch)

        def train_dataloader(self) -> Any:
            return data()

        def val_dataloader(self) -> Any:
            return data()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Model


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("wrapped", [True, False], ids=["in-a-list", "alone"])
def test_both_trainers(tmp_path, package, wrapped):
    """The same decisions, with loggers and monitors of the same package beside it."""
    base = importlib.import_module(package)
    loggers = importlib.import_module(f"{package}.loggers")
    control = eager()
    assert isinstance(control, base.Callback)
    logger = loggers.TensorBoardLogger(tmp_path)
    fit = base.Trainer(max_epochs=3, callbacks=[control] if wrapped else control, **{**QUIET, "logger": logger})
    fit.fit(module_of(package)())
    assert [decision.factor for decision in control.decisions] == [0.5, 0.5, 0.5]
    assert fit.optimizers[0].param_groups[0]["lr"] == 0.0125
    assert len(list(tmp_path.rglob("lr_journal.jsonl"))) == 1


@pytest.mark.parametrize("package", PACKAGES)
def test_the_state_of_one_package_serves_the_other(tmp_path, package):
    """A checkpoint has the same key in both, so a project may move from one to the other."""
    (other,) = set(PACKAGES) - {package}
    kept = {**QUIET, "enable_checkpointing": True, "default_root_dir": tmp_path}
    first = importlib.import_module(package).Trainer(max_epochs=2, callbacks=[eager()], **kept)
    first.fit(module_of(package)())
    control = eager()
    second = importlib.import_module(other).Trainer(max_epochs=3, callbacks=[control], **kept)
    second.fit(module_of(other)(), ckpt_path=first.checkpoint_callback.best_model_path)
    assert [decision.check for decision in control.decisions] == [0, 1, 2]
    assert second.optimizers[0].param_groups[0]["lr"] == 0.0125


# --- command lines ----------------------------------------------------------------------------------------------------

RUN = ["--seed_everything=1", *(f"--trainer.{name}={str(value).lower()}" for name, value in QUIET.items())]
CONTROL = ["--trainer.callbacks+=lightning_lr.LearningRateController"]
OWN = """
trainer:
  callbacks:
  - class_path: lightning_lr.LearningRateController
    init_args:
      monitor: [val_loss, val_acc]
      mode: max
      min_lr: [1.0e-5, 1.0e-6]
      policy:
        class_path: lightning_lr.Policy
        init_args:
          name: mine
          responses:
            plateau: {action: REDUCE, factor: 0.25, patience: 4}
"""

# what stands on the command line → what the callback is
LINES = [
    pytest.param(CONTROL, "(monitor=['val_loss'], mode='min', policy='auto'", id="by-name"),
    pytest.param(
        [*CONTROL, "--trainer.callbacks.patience=3", "--trainer.callbacks.mode=max"],
        "mode='max', policy='auto', patience=3 checks)",
        id="with-arguments",
    ),
    pytest.param(
        [*CONTROL, "--trainer.callbacks.policy=HalvingPolicy", "--trainer.callbacks.policy.epochs=4"],
        "policy='halving')",
        id="recipe",
    ),
    pytest.param(
        [*CONTROL, "--trainer.callbacks.monitor=[a,b]", "--trainer.callbacks.param_groups=[0,body]"],
        "(monitor=['a', 'b'], ",
        id="lists",
    ),
    pytest.param(
        ["--config=own.yaml"],
        "(monitor=['val_loss', 'val_acc'], mode='max', policy='mine', patience=4 checks)",
        id="policy-in-yaml",
    ),
]


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize(("line", "shown"), LINES)
def test_command_line(tmp_path, monkeypatch, package, line, shown):
    """`LightningCLI` of either package, by options and by file."""
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text(OWN)
    cli = importlib.import_module(f"{package}.cli").LightningCLI
    monkeypatch.setattr("sys.argv", ["train.py", *line, *RUN])
    made = cli(module_of(package), run=False, save_config_callback=None)
    (control,) = [one for one in made.trainer.callbacks if isinstance(one, LearningRateController)]
    assert shown in repr(control)


# option on the command line → attribute of the options, its value
OPTIONS = [
    pytest.param("journal=false", "journal", False, id="no-journal"),
    pytest.param("journal=lr.jsonl", "journal", "lr.jsonl", id="journal"),
    pytest.param("snapshots=false", "snapshots", None, id="no-snapshots"),
    pytest.param("snapshots.in_checkpoint=false", "snapshots", Snapshots(in_checkpoint=False), id="snapshots"),
    pytest.param("snapshots={folder: kept}", "snapshots", Snapshots("kept"), id="snapshots-in-a-folder"),
    pytest.param("param_groups=[0,body]", "param_groups", [0, "body"], id="param-groups"),
]


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize(("option", "name", "value"), OPTIONS)
def test_options_of_the_command_line(tmp_path, monkeypatch, package, option, name, value):
    """Each kind of value arrives as what it means, not as its text."""
    monkeypatch.chdir(tmp_path)
    cli = importlib.import_module(f"{package}.cli").LightningCLI
    monkeypatch.setattr("sys.argv", ["train.py", *CONTROL, f"--trainer.callbacks.{option}", *RUN])
    made = cli(module_of(package), run=False, save_config_callback=None)
    (control,) = [one for one in made.trainer.callbacks if isinstance(one, LearningRateController)]
    assert getattr(control.options, name) == value


@pytest.mark.parametrize("package", PACKAGES)
def test_command_line_runs(tmp_path, monkeypatch, package):
    """`fit`, with the configuration saved beside the log: what was parsed can be parsed again."""
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text(OWN.replace("[val_loss, val_acc]", "val_loss"))
    cli = importlib.import_module(f"{package}.cli").LightningCLI
    options = [option for option in RUN if "logger" not in option]
    line = ["fit", "--config=own.yaml", *options, "--trainer.max_epochs=2", "--trainer.logger=CSVLogger"]
    monkeypatch.setattr("sys.argv", ["train.py", *line, "--trainer.logger.save_dir=logs"])
    cli(module_of(package))
    (saved,) = Path("logs").rglob("config.yaml")
    assert "class_path: lightning_lr." in saved.read_text()
    monkeypatch.setattr("sys.argv", ["train.py", "fit", f"--config={saved}"])
    made = cli(module_of(package), save_config_callback=None)
    (control,) = [one for one in made.trainer.callbacks if isinstance(one, LearningRateController)]
    assert "policy='mine', patience=4 checks" in repr(control)


def test_command_line_refuses(tmp_path, monkeypatch, capsys):
    """A wrong word is refused by the parser, a wrong number by us; both name the argument."""
    monkeypatch.chdir(tmp_path)
    cli = importlib.import_module("lightning.pytorch.cli").LightningCLI
    for option, said in (
        ("mode=minimum", "minimum"),
        ("patience=0", "Expected `patience` to be an integer ≥ 1 but got 0"),
    ):
        monkeypatch.setattr("sys.argv", ["train.py", *CONTROL, f"--trainer.callbacks.{option}", *RUN])
        with pytest.raises((SystemExit, ValueError)) as refused:
            cli(module_of(PACKAGES[0]), run=False)
        assert said in capsys.readouterr().err + str(refused.value)


# --- dictionaries -----------------------------------------------------------------------------------------------------

CONFIG = {
    "_target_": "lightning_lr.LearningRateController",
    "monitor": ["val_loss", "val_acc"],
    "min_lr": [1e-5, 1e-6],
    "param_groups": [0, "body"],
    "patience": 2,
    "policy": {
        "_target_": "lightning_lr.Policy",
        "_convert_": "all",  # else Hydra makes a configuration of its own of the responses
        "name": "mine",
        "responses": {
            "plateau": {
                "_target_": "lightning_lr.engine.policies.policy.Response",
                "action": "reduce",
                "factor": 0.2,
                "patience": 3,
            }
        },
    },
}


def test_hydra():
    """Its lists and dicts are no lists and dicts; what comes out is as if written in Python."""
    hydra = pytest.importorskip("hydra.utils")
    control = hydra.instantiate(CONFIG)
    written = LearningRateController(
        ["val_loss", "val_acc"],
        min_lr=[1e-5, 1e-6],
        param_groups=[0, "body"],
        patience=2,
        policy=Policy("mine", {Condition.PLATEAU: Response(Action.REDUCE, 0.2, 3)}),
    )
    assert repr(control) == repr(written)
    assert control.options.settings == written.options.settings
    assert list(control.options.param_groups) == [0, "body"]
    assert type(control.options.settings.min_lr) is tuple
    assert pickle.loads(pickle.dumps(control)).options.settings == written.options.settings


def test_words_of_a_policy_may_be_plain_strings():
    """Files know no enumerations: the policy built from strings acts as the one built from words."""
    assert Policy("p", {"divergence": Response("restore", 0.25)}).restores
    told = []
    for policy in (
        Policy("p", {"plateau": Response("reduce", 0.25, 2)}),
        Policy("p", {Condition.PLATEAU: Response(Action.REDUCE, 0.25, 2)}),
    ):
        control = LearningRateController(policy=policy, verbose=False)
        from lightning.pytorch import Trainer

        model = module_of(PACKAGES[0])()
        model.validation_step = lambda batch, batch_idx, model=model: model.log("val_loss", 1.0)
        Trainer(max_epochs=8, callbacks=[control], **QUIET).fit(model)
        told.append([str(decision) for decision in control.decisions])
    assert told[0] == told[1] != []


# --- copies -----------------------------------------------------------------------------------------------------------

COPIES = [
    pytest.param(copy.deepcopy, id="deepcopy"),
    pytest.param(lambda c: pickle.loads(pickle.dumps(c)), id="pickle"),
]


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("when", ["new", "after", "during"])
def test_copies(copied, when):
    """Before, within and after a fit: nothing of the Trainer or the model comes along, and the copy can be used."""
    from lightning.pytorch import Callback, Trainer

    copies: list[LearningRateController] = []

    class Copies(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            copies.append(copied(control))

    control = eager()
    if when != "new":
        callbacks = [control, Copies()] if when == "during" else [control]
        Trainer(max_epochs=3, callbacks=callbacks, **QUIET).fit(module_of(PACKAGES[0])())
    if when != "during":
        copies.append(copied(control))
    twin = copies[-1]
    assert repr(twin) == repr(control)
    assert twin.options.settings == control.options.settings
    assert len(pickle.dumps(twin)) < 40_000
    assert [d.check for d in twin.decisions] == {"new": [], "during": [0, 1], "after": [0, 1, 2]}[when]
    Trainer(max_epochs=2, callbacks=[twin], **QUIET).fit(module_of(PACKAGES[0])())
    assert [decision.check for decision in twin.decisions] == [0, 1]


def test_shown():
    """One line that says what matters."""
    assert repr(LearningRateController()).startswith(
        "LearningRateController(monitor=['val_loss'], mode='min', policy='auto'"
    )
    assert (
        repr(eager(["a", "b"], mode="max"))
        == "LearningRateController(monitor=['a', 'b'], mode='max', policy='exponential')"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "policy='auto', patience=1 check)"),
        ({"policy": "conservative"}, "policy='conservative', patience=1 check)"),
        ({"patience": 4}, "policy='auto', patience=4 checks)"),
        ({"policy": Policy("mine", {"non_finite": Response("reduce", 0.5, 3)})}, "policy='mine')"),
        (
            {"policy": Policy("mine", {"plateau": Response("reduce", 0.5, 3), "overfitting": Response("reduce", 0.1)})},
            "policy='mine', patience=3 checks (plateau), 1 check (overfitting))",
        ),
    ],
)
def test_the_patience_shown_is_that_of_plateau_and_overfitting(arguments, said):
    assert repr(LearningRateController(**arguments)).endswith(said)


def test_the_default_of_patience_is_told_as_it_is():
    told = " ".join(
        inspect.getdoc(LearningRateController).partition("patience: ")[2].partition("cooldown: ")[0].split()
    )
    waits = {
        name: {str(c): r.patience for c, r in PRESETS[name].responses.items()} for name in ("auto", "conservative")
    }
    assert {waits[name][c] for name in waits for c in ("plateau", "overfitting")} == {1}
    others = [{patience for patience in waits[name].values() if patience > 1} for name in waits]
    assert others == [{3}, {5}]
    assert "1 for both" in told
    assert "3 for each of them, 5 with ``conservative``" in told
    waiting = {condition for name in waits for condition, patience in waits[name].items() if patience > 1}
    assert all(condition in told for condition in waiting)

"""What every class that saves a state promises outside the engine: it takes its state back, through a file."""

from __future__ import annotations

import importlib
import inspect
import io
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

import lightning_lr
from lightning_lr import FabricLearningRateController, LearningRateController
from lightning_lr.callbacks.layerwise import LayerwiseLearningRate
from lightning_lr.engine.records import Decision
from lightning_lr.engine.schedule import AnnealCurve
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition
from lightning_lr.layerwise.layerwise_run import LayerwiseRun
from lightning_lr.layerwise.probe import LayerProbe
from lightning_lr.loggers.decision_history import DecisionHistory
from lightning_lr.loggers.journal_file import JournalFile
from lightning_lr.optim.controlled_groups import ControlledGroups
from lightning_lr.optim.lr_scale import LRScale
from lightning_lr.run.distributed import Ranks
from lightning_lr.run.fit_run import FitRun
from lightning_lr.run.lr_schedule import LRSchedule
from lightning_lr.run.readings.check_reader import CheckReader
from lightning_lr.run.readings.fresh_metrics import FreshMetrics
from lightning_lr.run.readings.loss_window import LossWindow
from lightning_lr.run.trainer.step_budget import StepBudget
from lightning_lr.run.trainer.time_budget import TimeBudget
from lightning_lr.snapshot.snapshot import Snapshot
from tests.callbacks.test_fabric import FLAT, Loop
from tests.contracts.test_known_faults import controller, plain_sgd
from tests.helpers.recorded import Small, fit
from tests.helpers.scripted import Scripted, data, trainer


@dataclass(frozen=True)
class RoundTrip:
    """How a class is fed, what it saves, and how a fresh one takes it back."""

    make: Callable[[Path], Any]
    save: Callable[[Any], Any]
    load: Callable[[Any, Path], Any]


def cut_groups(folder: Path) -> ControlledGroups:
    groups = ControlledGroups("us")
    groups.scan([an_adam()], [])
    groups.multiply(0.5)
    return groups


def groups_from(state: Any, folder: Path) -> ControlledGroups:
    groups = ControlledGroups("us")
    groups.scan([an_adam(0.05)], [])  # as the optimizer's own state brings it back
    assert groups.load_state_dict(state) == []
    return groups


def an_adam(lr: float = 0.1) -> torch.optim.Adam:
    torch.manual_seed(1)
    return torch.optim.Adam(torch.nn.Linear(2, 1).parameters(), lr=lr)


def cut_control(folder: Path) -> LRScale:
    # Kept alive by the attribute below: the control knows the optimizer only weakly.
    optimizer = an_adam()
    control = LRScale.of(optimizer)
    control.multiply("us", 0.5)
    optimizer.param_groups[0]["lr"] = 0.099  # a habit shows
    control.take_notes()
    control.keep_alive = optimizer  # type: ignore[attr-defined]
    return control


def control_from(state: Any, folder: Path) -> LRScale:
    optimizer = an_adam(0.0495)
    control = LRScale.of(optimizer)
    assert control.load("us", state) == []
    control.keep_alive = optimizer  # type: ignore[attr-defined]
    return control


def fed_window(folder: Path) -> LossWindow:
    window = LossWindow()
    for loss in (1.0, 0.5, float("nan"), 0.25):
        window.append(torch.tensor(loss), 2)
    return window


def fed_metrics(folder: Path) -> FreshMetrics:
    fresh_metrics = FreshMetrics(["val_loss", "acc"])
    fresh_metrics.note({"val_loss": torch.tensor(0.5)})
    return fresh_metrics


def loaded(fresh: Callable[[], Any]) -> Callable[[Any, Path], Any]:
    def load(state: Any, folder: Path) -> Any:
        made = fresh()
        made.load_state_dict(state)
        return made

    return load


def some_history(folder: Path) -> DecisionHistory:
    history = DecisionHistory(forgotten=3)
    history.add(
        Decision(
            1, 1, 9, Action.REDUCE, Condition.PLATEAU, 0.5, {"lr-SGD": 0.1}, {"lr-SGD": 0.05}, "flat", {"score": 3.0}
        )
    )
    return history


def written_journal(folder: Path) -> JournalFile:
    journal = JournalFile.begun(folder / "lr_journal.jsonl", "{}", lambda warning: pytest.fail(warning))
    journal.write('{"check": 0}')
    return journal


def journal_from(state: Any, folder: Path) -> JournalFile:
    return JournalFile.resumed(state, folder / "other.jsonl", "{}", lambda warning: pytest.fail(warning))


def trained(folder: Path) -> LearningRateController:
    ours = controller(policy="auto")
    fit(Small(plain_sgd), [ours], max_epochs=3)
    return ours


def fabric_controller(_: Path) -> FabricLearningRateController:
    return Loop(FabricLearningRateController(policy="auto", max_steps=20), FLAT).run(range(4)).controller


def fabric_controller_from(state: Any, _: Path) -> FabricLearningRateController:
    loop = Loop(FabricLearningRateController(policy="auto", max_steps=20), FLAT)
    loop.controller.load_state_dict(state)
    return loop.run(range(0)).controller


def caught(ours: Any, module: Any, folder: Path, **options: Any) -> Any:
    """The state of a run, caught when a third epoch is about to begin; a checkpoint of that moment in the folder."""
    states: list[Any] = []

    class Catch(Callback):
        def on_train_epoch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.current_epoch == 2 and not states:
                states.append(ours._fit_run.state_dict())
                trainer.save_checkpoint(folder / "at.ckpt")
                trainer.should_stop = True

    fit(module, [ours, Catch()], **options)
    return states[0]


def fit_run_state(folder: Path, **options: Any) -> Any:
    return caught(controller(), Small(plain_sgd), folder, **options)


def layerwise_run_state(folder: Path, **options: Any) -> Any:
    return caught(layerwise(), TwoLayers(), folder, **options)


def resumed(run: Callable[..., Any]) -> Callable[[Any, Path], Any]:
    return lambda state, folder: run(folder, ckpt_path=str(folder / "at.ckpt"))


def a_snapshot(folder: Path) -> Snapshot:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return Snapshot.now(model, [optimizer]).copied()


def fed_probe(_: Path) -> LayerProbe:
    layer = torch.nn.Parameter(torch.tensor([2.0]))
    probe = LayerProbe({"one": [layer]})
    probe.open()
    layer.data, layer.grad = torch.tensor([1.5]), torch.tensor([3.0])
    probe.close()
    probe.read()
    return probe


def probe_from(state: Any, folder: Path) -> LayerProbe:
    probe = LayerProbe({"one": [torch.nn.Parameter(torch.zeros(1))]})
    probe.load(state)
    return probe


class TwoLayers(Small):
    """The same with a second layer."""

    def __init__(self) -> None:
        super().__init__(plain_sgd)
        self.last = torch.nn.Linear(1, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.last(self.layer(batch[0])).pow(2).mean()


def layerwise() -> LayerwiseLearningRate:
    return LayerwiseLearningRate(every_n_steps=2)


def tuned_layers(_: Path) -> LayerwiseLearningRate:
    ours = layerwise()
    fit(TwoLayers(), [ours], max_epochs=3)
    return ours


def used_time_budget(_: Path) -> TimeBudget:
    time_budget = TimeBudget(lambda: 1.5, 60.0)
    for number in range(12):
        time_budget.stepped()
        if number % 5 == 0:
            time_budget.pauses()
    return time_budget


def fed_step_budget(_: Path) -> StepBudget:
    model = Scripted()
    made = trainer((), max_epochs=3, num_sanity_val_steps=0)
    made.fit(model, data(3), data(1))
    step_budget = StepBudget(made)
    step_budget.epoch_begins(9)
    step_budget.epoch_ends(12)
    step_budget.epoch_begins(12)
    return step_budget


def annealing_schedule(folder: Path) -> LRSchedule:
    lr_schedule = LRSchedule(cut_groups(folder), Ranks(), curve=AnnealCurve(first=0, budget=10))
    for _ in range(8):
        lr_schedule.steps += 1
        lr_schedule.after_batch(stepped=True)
    lr_schedule.adopt_budget(20)
    assert lr_schedule.annealing
    return lr_schedule


def fed_reader(folder: Path) -> CheckReader:
    reader = CheckReader(Settings(), Ranks())
    reader.window, reader.fresh_metrics = fed_window(folder), FreshMetrics(reader.names)
    reader.fresh_metrics.load_state_dict({"val_loss": 0.5})
    reader.carried, reader.validated, reader.seen = (3.5, 2), True, {"val_loss"}
    return reader


def state_of(made: Any) -> Any:
    return made.state_dict()


TRIPS: dict[type, RoundTrip] = {
    ControlledGroups: RoundTrip(cut_groups, state_of, groups_from),
    LRSchedule: RoundTrip(
        annealing_schedule, state_of, lambda state, at: loaded(lambda: LRSchedule(cut_groups(at), Ranks()))(state, at)
    ),
    DecisionHistory: RoundTrip(some_history, state_of, lambda state, _: DecisionHistory.from_state(state)),
    JournalFile: RoundTrip(written_journal, state_of, journal_from),
    LayerProbe: RoundTrip(fed_probe, lambda made: made.state(), probe_from),
    LayerwiseRun: RoundTrip(layerwise_run_state, lambda state: state, resumed(layerwise_run_state)),
    LayerwiseLearningRate: RoundTrip(tuned_layers, state_of, loaded(layerwise)),
    LRScale: RoundTrip(cut_control, lambda made: made.state("us"), control_from),
    LearningRateController: RoundTrip(trained, state_of, loaded(lambda: controller(policy="auto"))),
    LossWindow: RoundTrip(fed_window, state_of, loaded(LossWindow)),
    FabricLearningRateController: RoundTrip(fabric_controller, state_of, fabric_controller_from),
    FreshMetrics: RoundTrip(fed_metrics, state_of, loaded(lambda: FreshMetrics(["val_loss", "acc"]))),
    StepBudget: RoundTrip(fed_step_budget, state_of, lambda state, at: loaded(lambda: fed_step_budget(at))(state, at)),
    TimeBudget: RoundTrip(used_time_budget, state_of, loaded(lambda: TimeBudget(lambda: 0.0, 60.0))),
    CheckReader: RoundTrip(fed_reader, state_of, loaded(lambda: CheckReader(Settings(), Ranks()))),
    FitRun: RoundTrip(fit_run_state, lambda state: state, resumed(fit_run_state)),
    Snapshot: RoundTrip(a_snapshot, lambda made: made.payload(), lambda state, _: Snapshot.from_payload(state)),
}


ROOMS = ("callbacks", "run", "optim", "snapshot", "loggers", "layerwise")


def stateful_classes() -> Iterator[type]:
    for found in pkgutil.walk_packages(lightning_lr.__path__, "lightning_lr."):
        if not found.name.startswith(tuple(f"lightning_lr.{room}." for room in ROOMS)):
            continue
        module = importlib.import_module(found.name)
        for cls in vars(module).values():
            own = inspect.isclass(cls) and cls.__module__ == module.__name__
            own = own and found.name != "lightning_lr.layerwise.rule"  # pure: tests/contracts has it
            if own and any(name in vars(cls) for name in ("state_dict", "state", "payload")):
                yield cls


@pytest.mark.parametrize("cls", list(stateful_classes()), ids=lambda cls: cls.__name__)
def test_a_class_that_saves_a_state_takes_it_back(cls: type, tmp_path: Path) -> None:
    """Through a file with ``weights_only=True``, into a fresh object, which then saves the very same."""
    assert cls in TRIPS, f"Tell TRIPS how a {cls.__name__} is made and loaded."
    trip = TRIPS[cls]
    saved = trip.save(trip.make(tmp_path))
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    again = trip.save(trip.load(torch.load(file, weights_only=True), tmp_path))
    assert repr(again) == repr(saved)

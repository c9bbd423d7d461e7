"""``LayerwiseLearningRate`` in a Trainer: what it does, what it leaves alone, and that it goes on where it stopped."""

from __future__ import annotations

import copy
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, seed_everything
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_lr import LayerwiseLearningRate, LearningRateController
from lightning_lr.errors import ArgumentError, UnsupportedError
from tests.helpers.ranks import run_on_ranks
from tests.helpers.scripted import eager, trainer
from tests.helpers.versions import needs_fsdp2_on_cpu

STEPS_AN_EPOCH = 8


class Net(LightningModule):
    """Three layers, of which the last is a hundred times too large; notes the rates of each step."""

    def __init__(self, schedule: bool = True, groups: int = 1, manual: bool = False) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 8), nn.Linear(8, 1))
        with torch.no_grad():
            self.net[4].weight.mul_(100)
        self.schedule, self.groups, self.automatic_optimization = schedule, groups, not manual
        self.used: list[list[float]] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", nn.functional.mse_loss(self.net(batch[0]), batch[1]))

    def on_train_batch_end(self, *_: Any) -> None:
        self.used.append([group["lr"] for group in self.trainer.optimizers[0].param_groups])

    def configure_optimizers(self) -> Any:
        parameters = list(self.parameters())
        groups = (
            [{"params": parameters}] if self.groups == 1 else [{"params": p} for p in (parameters[:4], parameters[4:])]
        )
        optimizer = torch.optim.SGD(groups, lr=1e-4, momentum=0.9)
        if not self.schedule:
            return optimizer
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, [lambda step: 1 / (1 + 0.01 * step)] * self.groups)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def loader(rank: int = 0) -> DataLoader:
    generator = torch.Generator().manual_seed(rank)
    inputs = torch.randn(8 * STEPS_AN_EPOCH, 4, generator=generator)
    return DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True).sin()), batch_size=8)


def quick(**arguments: Any) -> LayerwiseLearningRate:
    return LayerwiseLearningRate(**{"every_n_steps": 2, "step": 0.5, "limit": 3.0, **arguments})


def fit(callbacks: Any, folder: Path, epochs: int = 6, module: Net | None = None, **options: Any) -> Any:
    seed_everything(1, verbose=False)
    module = module or Net()
    path = options.pop("ckpt_path", None)
    one = trainer(callbacks, folder, max_epochs=epochs, **options)
    one.fit(module, loader(), loader(1), ckpt_path=path)
    return one, module


def multipliers_used(module: Net) -> list[list[float]]:
    return [[rate / (1e-4 / (1 + 0.01 * (step + 1))) for rate in row] for step, row in enumerate(module.used)]


def test_learns_applies_and_leaves_the_level_alone(tmp_path):
    layerwise = quick()
    one, module = fit([layerwise], tmp_path)
    found = layerwise.multipliers
    assert list(found) == ["net.0", "net.3", "net.4"]
    assert found["net.4"] > 2 > 1 > min(found.values()), "its weights are large, and so may its steps be"
    assert math.prod(found.values()) == pytest.approx(1.0)
    groups = one.optimizers[0].param_groups
    assert [group["name"] for group in groups] == list(found), "groups stay split"
    used = multipliers_used(module)
    assert used[-1] == pytest.approx(list(found.values()))
    assert used[0] == pytest.approx([1.0] * 3)
    assert str(layerwise.changes["net.4"]).startswith("× ")


def test_record_and_tensorboard_tell_each_window(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    layerwise = quick()
    fit([layerwise], tmp_path, logger=logger)
    lines = [json.loads(line) for line in (Path(logger.log_dir) / "layerwise_lr.jsonl").read_text().splitlines()]
    assert (lines[0]["kind"], lines[0]["layers"]) == ("layerwise", ["net.0", "net.3", "net.4"])
    assert lines[-1]["multipliers"] == layerwise.multipliers
    assert set(lines[-1]["changes"]["net.0"]) == {"multiplier", "before", "alignment", "excess", "trust"}

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(logger.log_dir).Reload()
    scalars = events.Scalars("layerwise/multiplier/net.4")
    assert [(event.step, event.value) for event in scalars] == [
        (line["step"], pytest.approx(line["multipliers"]["net.4"])) for line in lines[1:]
    ]
    assert events.Tags()["images"] == ["layerwise/multipliers"]


@pytest.mark.parametrize("schedule", [True, False])
def test_dry_run_is_bit_identical_and_yet_records(tmp_path, schedule):
    dry = quick(dry_run=True, record=str(tmp_path / "record.jsonl"))
    runs = []
    for callbacks in ([], [dry]):
        seed_everything(2, verbose=False)
        runs.append(fit(callbacks, tmp_path, module=Net(schedule)))
    for (one, plain), (other, watched) in [runs]:
        assert plain.used == watched.used
        assert all(
            torch.equal(a, b) for a, b in zip(plain.state_dict().values(), watched.state_dict().values(), strict=True)
        )
        assert len(other.optimizers[0].param_groups) == len(one.optimizers[0].param_groups) == 1
    assert dry.multipliers["net.4"] > 2
    assert len((tmp_path / "record.jsonl").read_text().splitlines()) > 3


def test_splitting_alone_changes_no_weight(tmp_path):
    """With a band that nothing leaves and no hypergradient, the run is the plain one."""
    still = quick(step=0.0, trust=None)
    (_, plain), (_, split) = fit([], tmp_path), fit([still], tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), split.state_dict().values(), strict=True))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
def test_beside_a_controller_both_scales_multiply(tmp_path, first, groups):
    layerwise, controller = quick(), eager(ratio=0.5)
    callbacks = [layerwise, controller] if first else [controller, layerwise]
    one, module = fit(
        [*callbacks, LearningRateMonitor()], tmp_path, module=Net(groups=groups), logger=CSVLogger(tmp_path)
    )
    cuts = sum(decision.action == "reduce" for decision in controller.decisions)
    assert cuts > 3
    of_group = [layerwise.multipliers[group["layer"]] for group in one.optimizers[0].param_groups]
    expected = [m * 0.5**cuts for m in of_group]
    assert multipliers_used(module)[-1] == pytest.approx([e * 2 for e in expected]), (
        "the last cut comes after the last step"
    )
    rates = [group["lr"] for group in one.optimizers[0].param_groups]
    assert rates == pytest.approx([e * 1e-4 / (1 + 0.01 * len(module.used)) for e in expected])


def test_controller_knows_a_split_group_by_its_name(tmp_path):
    class Named(Net):
        def configure_optimizers(self) -> Any:
            groups = [
                {"params": self.net[:4].parameters(), "name": "body"},
                {"params": self.net[4].parameters(), "name": "head"},
            ]
            return torch.optim.SGD(groups, lr=1e-4)

    layerwise, controller = quick(step=0.0, trust=None), eager(ratio=0.5, param_groups=["body"])
    one, _ = fit([layerwise, controller], tmp_path, epochs=3, module=Named())
    rates = {group["name"]: group["lr"] for group in one.optimizers[0].param_groups}
    cut = rates["body/net.0"]
    assert cut < 1e-4
    assert rates == {"body/net.0": cut, "body/net.3": cut, "head/net.4": 1e-4}


@pytest.mark.parametrize(
    "options",
    [
        {"accumulate_grad_batches": 3},
        {"gradient_clip_val": 0.1},
        {"precision": "bf16-mixed"},
        {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5, "gradient_clip_algorithm": "value"},
    ],
    ids=str,
)
def test_respects_what_the_trainer_does_with_gradients(tmp_path, options):
    layerwise = quick()
    one, _ = fit([layerwise], tmp_path, epochs=12, **options)
    assert layerwise.multipliers["net.4"] > 1.5
    steps = one.global_step
    assert layerwise.state_dict()["steps"] == steps, "one look a step of the optimizer, not a batch"


# --- resume -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_controller", [None, "before", "after"])
def test_resumed_run_is_the_one_that_never_stopped(tmp_path, with_controller):
    def callbacks() -> list[Any]:
        saver = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_epochs=1)
        ours, theirs = quick(record=str(tmp_path / "record.jsonl")), eager(ratio=0.8)
        return {None: [ours], "before": [theirs, ours], "after": [ours, theirs]}[with_controller] + [saver]

    whole = callbacks()
    _, module = fit(whole, tmp_path / "a", enable_checkpointing=True)
    first = next(c for c in whole if isinstance(c, LayerwiseLearningRate))
    header, *record = (tmp_path / "record.jsonl").read_text().splitlines()
    assert '"run_state": "done"' in header
    again = callbacks()
    _, resumed = fit(
        again, tmp_path / "b", enable_checkpointing=True, ckpt_path=str(tmp_path / f"step={3 * STEPS_AN_EPOCH}.ckpt")
    )
    second = next(c for c in again if isinstance(c, LayerwiseLearningRate))
    assert resumed.used == module.used[3 * STEPS_AN_EPOCH :]
    assert second.multipliers == first.multipliers
    assert (tmp_path / "record.jsonl").read_text().splitlines() == [header, *record]
    assert (tmp_path / "record-2.jsonl").read_text().splitlines()[1:] == record
    assert all(
        torch.equal(a, b) for a, b in zip(module.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


def test_checkpoint_of_an_unsplit_run_loads(tmp_path):
    plain, _ = fit([eager(ratio=0.5)], tmp_path, epochs=3)
    plain.save_checkpoint(tmp_path / "plain.ckpt")
    layerwise = quick()
    one, module = fit([eager(ratio=0.5), layerwise], tmp_path, ckpt_path=str(tmp_path / "plain.ckpt"))
    assert module.used[0] == pytest.approx([1e-4 * 0.125 / (1 + 0.01 * (3 * STEPS_AN_EPOCH + 1))] * 3), (
        "rate, cuts and schedule go on"
    )
    assert layerwise.multipliers["net.4"] > 2
    assert all("momentum_buffer" in state for state in one.optimizers[0].state.values())


def test_other_layers_than_those_of_the_checkpoint_are_refused(tmp_path):
    one, _ = fit([quick()], tmp_path, epochs=2)
    one.save_checkpoint(tmp_path / "split.ckpt")
    with pytest.raises(
        ArgumentError, match=r"Expected the layers of the checkpoint \(net.0, net.3, net.4, … 3 in all\)"
    ):
        fit([quick(layers=["net"])], tmp_path, ckpt_path=str(tmp_path / "split.ckpt"))


def test_fit_twice_begins_anew(tmp_path):
    layerwise = quick()
    fit([layerwise], tmp_path)
    first = layerwise.multipliers
    _, module = fit([layerwise], tmp_path)
    assert multipliers_used(module)[0] == pytest.approx([1.0] * 3)
    assert layerwise.multipliers == first
    copy.deepcopy(layerwise)


# --- what cannot work -------------------------------------------------------------------------------------------------


class Manual(Net):
    def __init__(self) -> None:
        super().__init__(manual=True)


class Quasi(Net):
    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters())


class Nothing(Net):
    def configure_optimizers(self) -> None:
        return None


class NoGradient(Net):
    def training_step(self, batch: Any, batch_idx: int) -> None:
        return None


@pytest.mark.filterwarnings("ignore:.*returned `None`:UserWarning")
@pytest.mark.filterwarnings("ignore:.*no optimizer:UserWarning")
@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Manual, "but got manual optimization, where several losses may move one layer"),
        (Quasi, "but got LBFGS, which allows one parameter group"),
        (Nothing, "but got 0 optimizers with parameters"),
        (NoGradient, "Expected gradients in the layers' parameters before a step of the optimizer but found none"),
    ],
)
def test_a_clear_error_where_it_cannot_work(tmp_path, module, message):
    with pytest.raises(UnsupportedError) as caught:
        fit([LayerwiseLearningRate(every_n_steps=2)], tmp_path, epochs=2, module=module())
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every_n_steps": 1}, "Expected `every_n_steps` to be an integer of at least 2 but got 1"),
        ({"layers": "net"}, "Expected `layers` to be a list of names of modules but got the text 'net'"),
        ({"trust": 0.5}, "Expected `trust` to be a number from 1 to 1e+06 but got 0.5"),
    ],
)
def test_bad_arguments_are_refused_at_construction(arguments, message):
    with pytest.raises(ArgumentError) as caught:
        LayerwiseLearningRate(**arguments)
    assert message in str(caught.value)


# --- ranks ------------------------------------------------------------------------------------------------------------


def _on_rank(folder: Path, strategy: str, rank: int) -> Any:
    layerwise = quick(trust=2.0)
    seed_everything(1, verbose=False)
    module = Net(schedule=False)
    if strategy == "fsdp2":
        from lightning.pytorch.strategies import ModelParallelStrategy
        from torch.distributed._composable.fsdp import fully_shard

        module.net[1] = nn.Identity()

        def configure_model() -> None:
            if not hasattr(module, "sharded"):
                module.sharded = True
                for layer in (module.net[0], module.net[3], module.net[4]):
                    fully_shard(layer, mesh=module.device_mesh["data_parallel"])

        module.configure_model = configure_model  # type: ignore[method-assign]
        chosen: Any = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)
    else:
        chosen = strategy
    controller = LearningRateController(policy="conservative", verbose=False)
    one = trainer(
        [controller, layerwise], folder, max_epochs=4, devices=2, strategy=chosen, use_distributed_sampler=False
    )
    one.fit(module, loader(rank), loader(1))
    return module.used, layerwise.multipliers


@pytest.mark.ranks
@pytest.mark.filterwarnings("ignore:It is recommended to use .*sync_dist")
def test_all_ranks_hold_the_same_rates_and_they_are_those_of_one_process(tmp_path):
    """Each rank has data of its own: gradients agree after the all-reduce, and so do the multipliers."""
    (used, found), (other, _) = run_on_ranks(partial(_on_rank, tmp_path, "ddp"), init=False)
    assert used == other
    assert used[-1] != used[0]
    assert found["net.4"] > 1.5


@pytest.mark.ranks
@needs_fsdp2_on_cpu
@pytest.mark.filterwarnings("ignore:It is recommended to use .*sync_dist")
def test_sharded_parameters_give_the_multipliers_of_whole_ones(tmp_path):
    (used, _), (other, _) = run_on_ranks(partial(_on_rank, tmp_path, "fsdp2"), init=False)
    assert used == other
    assert used[-1] != used[0]

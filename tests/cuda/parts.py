"""What has to hold on a GPU, each part a function of the device; on the CPU as far as it has a meaning there."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_lr import LearningRateController
from lightning_lr.engine.policies import Policy, Response
from lightning_lr.snapshot.snapshot import Snapshot

RESTORES = Policy("restores", {"non_finite": Response("restore", 0.5)})
BEST, LOST = 3, 4


class NotRunError(Exception):
    """There is nothing to run here; says why."""


class Net(LightningModule):
    """Its best state is that of check 3; the losses of the epoch after it are no numbers, and it comes back."""

    def __init__(self, width: int = 64, lost: int = LOST) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, width), nn.Tanh(), nn.Linear(width, 1))
        self.lost = lost

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = (self.net(batch[0]) - batch[0].sum(1, keepdim=True)).square().mean()
        return loss + (math.nan if self.current_epoch == self.lost else 0.0)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", 0.5 if self.current_epoch > BEST else 1.0 - 0.2 * self.current_epoch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.01)


class States(Callback):
    """Weights, state of the optimizer and of the scaler at the end of each epoch, after the check."""

    def __init__(self) -> None:
        self.at: list[list[Tensor]] = []
        self.scales: list[dict[str, Any]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        (optimizer,) = trainer.optimizers
        held = [*pl_module.parameters()]
        held += [one for state in optimizer.state.values() for one in state.values() if isinstance(one, Tensor)]
        self.at.append([one.detach().float().cpu().clone() for one in held])
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self.scales.append(dict(scaler.state_dict()) if scaler is not None else {})


def controller(**options: Any) -> LearningRateController:
    given = {"policy": RESTORES, "find_lr": False, "anneal": False, "verbose": False, "journal": False, **options}
    return LearningRateController(**given)


def fit(module: LightningModule, *callbacks: Callback, device: str, **options: Any) -> None:
    inputs = torch.linspace(-1, 1, 12 * 16 * 8).sin().reshape(-1, 8)
    given: dict[str, Any] = {
        "accelerator": "gpu" if device == "cuda" else "cpu",
        "devices": 1,
        "max_epochs": LOST + 1,
        "callbacks": list(callbacks),
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        **options,
    }
    batches, environment = DataLoader(TensorDataset(inputs), batch_size=16), dict(os.environ)
    try:
        Trainer(**given).fit(module, batches, DataLoader(TensorDataset(inputs[:16])))
    finally:  # a process group, and what it was made from, are no business of the next part
        if dist.is_initialized():
            dist.destroy_process_group()
        os.environ.clear()
        os.environ.update(environment)


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


# --- the parts --------------------------------------------------------------------------------------------------------


def restore_to_the_last_bit(device: str) -> None:
    """Weights and optimizer state after a restore are those of the best check."""
    ours, states = controller(), States()
    fit(Net(), ours, states, device=device)
    assert [(d.check, d.snapshot_check) for d in ours.decisions] == [(LOST, BEST)]
    assert same(states.at[LOST], states.at[BEST])


def gradient_scaler(device: str) -> None:
    """fp16 with a real GradScaler, whose counter is never at rest: it comes back with the weights."""
    scaler = torch.amp.GradScaler(device, init_scale=2.0**8, growth_interval=7)
    ours, states = controller(), States()
    fit(Net(), ours, states, device=device, plugins=[MixedPrecision("16-mixed", device, scaler)])
    assert [(d.check, d.snapshot_check) for d in ours.decisions] == [(LOST, BEST)]
    assert states.scales[LOST] == states.scales[BEST] != {}
    assert same(states.at[LOST], states.at[BEST])


def search_with_a_scaler(device: str) -> None:
    """The default call in fp16: the rate is searched, and the weights stay finite."""
    scaler = torch.amp.GradScaler(device, init_scale=2.0**8)
    module, ours = Net(lost=-1), LearningRateController(verbose=False, journal=False)
    fit(module, ours, device=device, plugins=[MixedPrecision("16-mixed", device, scaler)], max_epochs=60)
    assert all(torch.isfinite(param).all() for param in module.parameters())
    assert math.isfinite(scaler.get_scale())


def pinned_snapshots(device: str) -> None:
    """A snapshot lies in pinned host memory, takes none of the GPU, and the copy comes back as it was."""
    module = Net(width=4096).to(device)
    held = torch.cuda.memory_allocated() if device == "cuda" else 0
    snapshot = Snapshot.now(module, []).copied()
    assert all(tensor.is_pinned() is (device == "cuda") and tensor.device.type == "cpu" for tensor in snapshot.tensors)
    assert device == "cpu" or torch.cuda.memory_allocated() == held
    then = [param.detach().clone() for param in module.parameters()]
    nn.init.ones_(module.net[0].weight)
    snapshot.restore(module, [])
    assert same(then, [param.detach() for param in module.parameters()])


HOOKS = ("on_train_batch_start", "on_before_optimizer_step", "on_train_batch_end")


def no_synchronization(device: str) -> None:
    """Between two checks no hook of ours waits for the device."""
    ours = controller(check_every_n_steps=0)
    for name in HOOKS:
        setattr(ours, name, _watched(getattr(ours, name), device))
    fit(Net(lost=-1), ours, device=device)


def _watched(hook: Callable[..., None], device: str) -> Callable[..., None]:
    def watched(*arguments: Any, **named: Any) -> None:
        with _synchronizing_is_an_error(device):
            hook(*arguments, **named)

    return watched


@contextmanager
def _synchronizing_is_an_error(device: str) -> Iterator[None]:
    if device == "cpu":
        raise NotRunError("only a GPU can be waited for")
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


class Traced(Net):
    """The same with a step that has no number in it: torch would compile it anew for each epoch."""

    def __init__(self, what: str, device: str) -> None:
        super().__init__(lost=-1)
        self.register_buffer("added", torch.zeros(()), persistent=False)
        self.what, self.backend = what, "inductor" if device == "cuda" else "eager"
        if what == "module":
            self.net = torch.compile(self.net, backend=self.backend)
        elif what == "step":
            self.training_step = torch.compile(self.training_step, backend=self.backend)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return (self.net(batch[0]) - batch[0].sum(1, keepdim=True)).square().mean() + self.added

    def on_train_epoch_start(self) -> None:
        self.added.fill_(math.nan if self.current_epoch == LOST else 0.0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        if self.what != "optimizer":
            return super().configure_optimizers()
        rate = torch.tensor(0.01, device=self.device)  # as torch asks for
        optimizer = torch.optim.AdamW(self.parameters(), lr=rate, capturable=self.device.type == "cuda")
        optimizer.step = torch.compile(optimizer.step, backend=self.backend)
        return optimizer


class Graphs(Callback):
    """How many graphs there are at the end of each epoch."""

    def __init__(self) -> None:
        self.counted: list[int] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.counted.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def compiled(what: str, device: str) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    ours, states, graphs = controller(), States(), Graphs()
    fit(Traced(what, device), ours, states, graphs, device=device, max_epochs=LOST + 3)
    assert [(d.check, d.snapshot_check) for d in ours.decisions] == [(LOST, BEST)]
    assert same(states.at[LOST], states.at[BEST])
    assert graphs.counted[-1] == graphs.counted[0] > 0, graphs.counted


def compiled_module(device: str) -> None:
    """A compiled network is compiled once: neither a cut nor a restore makes it compile again."""
    compiled("module", device)


def compiled_step(device: str) -> None:
    """The same of a compiled ``training_step``."""
    compiled("step", device)


def compiled_optimizer(device: str) -> None:
    """The same of a compiled optimizer, whose rate is a tensor; its step calls our hooks."""
    compiled("optimizer", device)


def fsdp_of_one(device: str) -> None:
    """FSDP1 at world size 1: nothing can be put back there, which is said, and the rate is cut without it."""
    if device == "cpu":
        raise NotRunError("Lightning's FSDPStrategy needs a GPU")
    from lightning.pytorch.strategies import FSDPStrategy

    ours = controller()
    fit(Net(), ours, device=device, strategy=FSDPStrategy())
    assert [(d.factor, d.snapshot_check) for d in ours.decisions] == [(0.5, None)]


def ddp_of_one(device: str) -> None:
    """DDP at world size 1, over the backend of the device."""
    ours, states = controller(), States()
    fit(Net(), ours, states, device=device, strategy="ddp")
    assert same(states.at[LOST], states.at[BEST])


PARTS: dict[str, Callable[[str], None]] = {
    part.__name__.replace("_", " "): part
    for part in (
        restore_to_the_last_bit,
        gradient_scaler,
        search_with_a_scaler,
        pinned_snapshots,
        no_synchronization,
        compiled_module,
        compiled_step,
        compiled_optimizer,
        fsdp_of_one,
        ddp_of_one,
    )
}

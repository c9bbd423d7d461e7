"""Runs on several ranks under one strategy or another, and what came of them on each rank.

The global batch of a step depends on nothing but its number, and each rank takes its share of it. So runs on
1, 2 and 4 ranks train alike, apart from rounding. After every step the ranks compare their learning rates, bit by bit.
"""

from __future__ import annotations

import atexit
import math
import pickle
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint
import torch.distributed.fsdp  # both here, so that forked ranks need not import them one by one
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor, nn

from lightning_lr import LearningRateController
from lightning_lr.engine.journal import plain
from tests.helpers.resume import Plain, as_plain, listening
from tests.helpers.scripted import QUIET

BATCH = 8
STEPS = 12
"""Steps an epoch."""
TIMEOUT = timedelta(seconds=20)

STRATEGIES: dict[str, Callable[[int], Any]] = {
    "ddp": lambda size: DDPStrategy(process_group_backend="gloo", timeout=TIMEOUT),
    "ddp_find_unused_parameters_true": lambda size: DDPStrategy(
        process_group_backend="gloo", timeout=TIMEOUT, find_unused_parameters=True
    ),
    "fsdp2": lambda size: ModelParallelStrategy(
        data_parallel_size=size, tensor_parallel_size=1, process_group_backend="gloo", timeout=TIMEOUT
    ),
    "fsdp2, whole checkpoints": lambda size: ModelParallelStrategy(
        data_parallel_size=size,
        tensor_parallel_size=1,
        process_group_backend="gloo",
        timeout=TIMEOUT,
        save_distributed_checkpoint=False,
    ),
    "ddp_spawn": lambda size: "ddp_spawn",
    "ddp_fork": lambda size: "ddp_fork",
    "one process": lambda size: "auto",
}
"""Name → what the Trainer is given, for so many ranks."""


@dataclass(frozen=True)
class Task:
    """What is trained.

    Attributes:
        losses: what validation logs at each epoch; ``None``: its real loss.
        epochs: of the whole run.
        lr: of the optimizer.
        noise: standard deviation of the training targets' noise; large: the run overfits.
        samples: distinct training samples; ``None``: new ones at each step.
        hidden: width of the hidden layer.
    """

    losses: Sequence[float] | None = None
    epochs: int = 14
    lr: float = 0.02
    noise: float = 0.1
    samples: int | None = None
    hidden: int = 8


class Model(LightningModule):
    """Two layers in float64, without batch norm; sharded where the strategy has a mesh."""

    def __init__(self, task: Task, world_size: int) -> None:
        super().__init__()
        self.task, self.world_size = task, world_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            self.net = nn.Sequential(nn.Linear(4, task.hidden), nn.Tanh(), nn.Linear(task.hidden, 1)).double()
        self.register_buffer("calls", torch.zeros((), dtype=torch.float64))

    def configure_model(self) -> None:
        if "ModelParallel" in type(self.trainer.strategy).__name__ and not hasattr(self.net, "reshard"):
            from torch.distributed.fsdp import fully_shard

            fully_shard(self.net, mesh=self.device_mesh["data_parallel"])

    def training_step(self, _: Any, batch_idx: int) -> Tensor:
        self.calls += 1
        loss = self._loss(*self._share(*samples(self.task, self.trainer.global_step)))
        # Of two checks without a number the first may just be undefined; at the second the weights are lost.
        lost = math.isnan(self._scripted()) and math.isnan(self._scripted(back=1))
        return loss + (math.nan if lost else 0.0)

    def _scripted(self, back: int = 0) -> float:
        losses, epoch = self.task.losses, self.current_epoch - back
        return 0.0 if losses is None or epoch < 0 else losses[min(epoch, len(losses) - 1)]

    def validation_step(self, _: Any, batch_idx: int) -> None:
        loss = self._loss(*self._share(*samples(Task(noise=0.1), 10**6 + batch_idx)))
        if self.task.losses is not None:
            # Not synchronized: each rank has a value of its own.
            scripted = self._scripted() + 0.25 * (self.global_rank - (self.world_size - 1) / 2)
            loss = torch.tensor(scripted, dtype=torch.float64)
        self.log_dict({"val_loss": loss, "val_loss_b": 2 * loss})

    def _share(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return inputs[self.global_rank :: self.world_size], targets[self.global_rank :: self.world_size]

    def _loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.mse_loss(self.net(inputs), targets)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.net.parameters(), lr=self.task.lr)

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(Plain(STEPS))

    def val_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(Plain(2))


def samples(task: Task, step: int) -> tuple[Tensor, Tensor]:
    """The global batch of one step."""
    if task.samples is not None:
        step %= task.samples // BATCH
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(BATCH, 4, generator=generator, dtype=torch.float64)
    noise = torch.randn(BATCH, 1, generator=generator, dtype=torch.float64)
    return inputs, inputs.sin().sum(1, keepdim=True) + task.noise * noise


class Watch(Callback):
    """Compares the ranks' rates around every step; keeps what each step used, and the state at the end of each epoch.

    Attributes:
        rates: optimizer step → the rate of each group that it used.
        states: epoch → weights, buffers and optimizer state of this rank at its end, after the check.
        differences: steps at which the ranks held different rates.
    """

    def __init__(self) -> None:
        self.rates: dict[int, list[float]] = {}
        self.states: dict[int, Any] = {}
        self.differences: list[int] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.rates[trainer.global_step] = _rates(optimizer)
        self._compare(trainer)

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self._compare(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._compare(trainer)
        self.states[trainer.current_epoch] = state_of(pl_module, trainer.optimizers)

    def _compare(self, trainer: Any) -> None:
        if trainer.world_size > 1:
            own = torch.frombuffer(bytearray(_bits(trainer.optimizers[0])), dtype=torch.int64)
            all_of_them = [torch.empty_like(own) for _ in range(trainer.world_size)]
            dist.all_gather(all_of_them, own)
            if any(not torch.equal(one, own) for one in all_of_them):
                self.differences.append(trainer.global_step)


def _rates(optimizer: Any) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


def _bits(optimizer: Any) -> bytes:
    return struct.pack(f"<{len(optimizer.param_groups)}d", *_rates(optimizer))


def state_of(module: nn.Module, optimizers: Sequence[Any]) -> Any:
    """What training changes on this rank, as plain values."""
    for part in module.modules():
        if hasattr(part, "reshard"):
            part.reshard()
    state = [[optimizer.state.get(param) for group in optimizer.param_groups for param in group["params"]]
             for optimizer in optimizers]  # fmt: skip
    return as_plain(_local([dict(module.named_parameters()), dict(module.named_buffers()), state]))


def _local(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _local(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_local(item) for item in value]
    return value.to_local() if hasattr(value, "to_local") else value


@dataclass
class Outcome:
    """What a run came to on one rank, as plain values."""

    decisions: list[dict[str, Any]]
    rates: dict[int, list[float]]
    states: dict[int, Any]
    differences: list[int]
    scale: dict[str, float]
    sentences: list[str] = field(default_factory=list)

    @property
    def acts(self) -> list[tuple[int, str, str, float]]:
        """Check, action, condition and factor of each decision."""
        return [(d["check"], d["action"], d["condition"], d["factor"]) for d in self.decisions]

    @classmethod
    def of(cls, trainer: Any, sentences: Sequence[str] = ()) -> Outcome:
        """What the callbacks of a finished run know."""
        controller, watch = (one(trainer.callbacks, kind) for kind in (LearningRateController, Watch))
        decisions = [plain(decision) for decision in controller.decisions]
        return cls(decisions, watch.rates, watch.states, watch.differences, controller.scale, list(sentences))


def one(things: Sequence[Any], kind: type) -> Any:
    """The one of that class."""
    (found,) = (thing for thing in things if isinstance(thing, kind))
    return found


class Leave(Callback):
    """Writes each rank's outcome to a file: after ``ddp_spawn`` and ``ddp_fork`` the main process knows nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        # A gloo thread that drops the last collective's tensors while Python finalizes aborts the process; Lightning
        # closes the group at exit for NCCL alone (docs/strategies.md).
        atexit.register(dist.destroy_process_group)
        (self.folder / f"outcome-{trainer.global_rank}").write_bytes(pickle.dumps(Outcome.of(trainer)))

    def read(self, world_size: int) -> list[Outcome]:
        """The outcomes by rank."""
        return [pickle.loads((self.folder / f"outcome-{rank}").read_bytes()) for rank in range(world_size)]


def checkpoints(folder: Path, every: int = 1, name: str = "{epoch}") -> ModelCheckpoint:
    """Writes ``epoch=N.ckpt`` (or by another name) at the end of every so many epochs."""
    kept = {"save_top_k": -1, "every_n_epochs": every, "save_on_train_epoch_end": True}
    return ModelCheckpoint(folder / "checkpoints", name, **kept)


def every_steps(folder: Path, steps: int) -> ModelCheckpoint:
    """Writes ``step=N.ckpt`` after every so many steps: mostly in the middle of an epoch."""
    return ModelCheckpoint(folder / "checkpoints", "{step}", save_top_k=-1, every_n_train_steps=steps)


def best_epoch(losses: Sequence[float], before: int) -> int:
    """The epoch of the lowest of the first ``before`` losses."""
    return min((epoch for epoch in range(before) if not math.isnan(losses[epoch])), key=lambda epoch: losses[epoch])


def train(
    task: Task,
    strategy: str,
    world_size: int,
    folder: Path,
    callbacks: Sequence[Callback] = (),
    resume_from: Path | None = None,
    trainer_options: dict[str, Any] | None = None,
    **arguments: Any,
) -> Outcome:
    """Train as one of the ranks (see :func:`~tests.helpers.ranks.run_on_ranks`), and say what came of it.

    Args:
        task: what is trained.
        strategy: one of ``STRATEGIES``.
        world_size: how many ranks.
        folder: ``default_root_dir``.
        callbacks: further ones.
        resume_from: checkpoint.
        trainer_options: of the Trainer.
        arguments: of the controller.
    """
    model, controller = Model(task, world_size), LearningRateController(**{"monitor": "val_loss", **arguments})
    options = {
        **QUIET,
        "strategy": STRATEGIES[strategy](world_size),
        "devices": world_size,
        "max_epochs": task.epochs,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
        "enable_checkpointing": any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        "default_root_dir": folder,
        **(trainer_options or {}),
    }
    with listening() as sentences:
        trainer = Trainer(callbacks=[controller, Watch(), *callbacks], **options)
        trainer.fit(model, ckpt_path=resume_from)
    return Outcome.of(trainer, sentences)

"""Runs that are killed and resumed, and the same runs left alone: everything about both that must be equal.

A run is forked from the test process, where torch and Lightning are imported already (see :mod:`tests.helpers.ranks`
for when that is safe); the killed one ends by SIGKILL, so nothing of it is left but its files. One check is four
optimizer steps long, whether it is an epoch or half of one, so all runs of one script meet the same values at the same
steps.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import re
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint, OnExceptionCheckpoint
from lightning_utilities.core import rank_zero

from lightning_lr import LearningRateController
from lightning_lr.engine.journal import plain
from lightning_lr.engine.policies import PRESETS
from lightning_lr.engine.vocabulary import Condition
from tests.helpers.schedulers import SchedulerCase

T = TypeVar("T")
AUTO = PRESETS["auto"].responses
FIRM = replace(
    PRESETS["auto"],
    responses={**AUTO, Condition.PLATEAU: replace(AUTO[Condition.PLATEAU], defer_to_scheduler=False)},
    min_probability=0.55,
)
"""``auto``, but for its patience with schedules that move: the same decisions under every scheduler; and soon."""

STEPS_A_CHECK = 4
CHECKS = 14
LOSSES = (1.0, 0.8, 0.8, 0.8, 0.8, 0.8, 0.4, math.nan, math.nan, 0.5, 0.35, 0.3, 0.25, 0.22)
"""What validation gives at each check: flat at checks 1 to 5 (a cut), best at 6, then twice no number: undefined at 7,
lost at 8 (a restore).

The plainest conditions there are: what a run does here shall not change with the thresholds of the detectors."""
OFFSETS = (9.0, 8.0, 7.0, 6.0, 5.0, 4.5, 4.0, 3.5, math.nan, 2.5, 2.0, 1.5, math.nan, 1.0)
"""Added to the training loss at each check, without a gradient: it falls, and is not finite at checks 8 and 12."""


@dataclass(frozen=True)
class Run:
    """How to train; two runs that are equal here train alike.

    Attributes:
        folder: ``default_root_dir``: the journal lies there, the checkpoints below.
        halves: checks at each of two validations an epoch; else an epoch is a check.
        case: the scheduler, or none.
        interval: how often it is stepped; ``None``: as the case is meant.
        losses: validation's value at each check.
        offsets: added to the training loss at each check.
        stateful: batches from a loader with a state; else they are a function of the step.
        tensor: learning rates are tensors.
        arguments: of the controller.
        options: of the Trainer.
    """

    folder: Path
    halves: bool = False
    case: SchedulerCase | None = None
    interval: str | None = None
    losses: Sequence[float] = LOSSES
    offsets: Sequence[float] = OFFSETS
    stateful: bool = True
    tensor: bool = False
    arguments: dict[str, Any] = field(default_factory=dict, hash=False)
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def steps_an_epoch(self) -> int:
        return STEPS_A_CHECK * (2 if self.halves else 1)

    @property
    def epochs(self) -> int:
        return CHECKS * STEPS_A_CHECK // self.steps_an_epoch

    @property
    def journal(self) -> Path:
        return self.folder / "lr_journal.jsonl"


@dataclass
class Trace:
    """What a run came to, as plain values.

    Attributes:
        rates: optimizer step → the rate of each group that it used.
        decisions: every field of those that were not "hold".
        scale: parameter group → product of the adjustments.
        weights: name → values.
        optimizer: state of the optimizer.
        scheduler: state of the scheduler.
        journal: the file's lines, without the id of the run.
        sentences: what was printed and warned of.
        state: of the callback.
    """

    rates: dict[int, list[float]]
    decisions: list[Any]
    scale: dict[str, float]
    weights: dict[str, Any]
    optimizer: Any
    scheduler: Any
    journal: list[str]
    sentences: list[str]
    state: dict[str, Any]

    @property
    def restored(self) -> list[int]:
        """The check whose state each restore brought back."""
        return [d["snapshot_check"] for d in self.decisions if d["action"] == "restore"]

    @property
    def acts(self) -> list[tuple[int, str, str]]:
        """Check, action and condition of each decision."""
        return [(d["check"], d["action"], d["condition"]) for d in self.decisions]


class Loader:
    """Batches that depend on epoch and position, and a state that says which comes next."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.epoch = self.position = 0
        self.sampler = self  # Lightning tells a sampler the epoch

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[torch.Tensor]:
        while True:
            number = self.epoch * self.length + self.position
            self.position = (self.position + 1) % self.length
            yield batch(number)
            if self.position == 0:
                return

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]


class Plain(torch.utils.data.Dataset):
    """As many items as an epoch has steps; the module makes its own batches."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.zeros(1)


def batch(number: int) -> torch.Tensor:
    """Eight samples that depend on nothing but the number."""
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(number))


class Model(LightningModule):
    """Two small layers in two parameter groups, batch norm, and losses that follow a script."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            self.first, self.norm, self.last = torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.first(samples)).tanh())

    def training_step(self, samples: torch.Tensor, batch_idx: int) -> torch.Tensor:
        step = self.trainer.global_step
        samples = samples if self.run.stateful else batch(2 * step + self.global_rank)
        return self._loss(samples) + _at(self.run.offsets, step // STEPS_A_CHECK)

    def validation_step(self, _: torch.Tensor, batch_idx: int) -> None:
        scripted = _at(self.run.losses, self.trainer.global_step // STEPS_A_CHECK - 1)
        # Not synchronized: each rank sees a value of its own.
        self.log("val_loss", torch.tensor(scripted + 0.25 * self.global_rank, dtype=torch.float64))

    def _loss(self, samples: torch.Tensor) -> torch.Tensor:
        return (self(samples) - samples.sum(1, keepdim=True).sin()).pow(2).mean()

    def configure_optimizers(self) -> Any:
        low, high = (torch.tensor(0.02), torch.tensor(0.05)) if self.run.tensor else (0.02, 0.05)
        groups = [
            {"params": self.first.parameters(), "lr": low},
            {"params": [*self.norm.parameters(), *self.last.parameters()]},
        ]
        optimizer = torch.optim.AdamW(groups, lr=high, foreach=False)
        case = self.run.case
        if case is None:
            return optimizer
        interval = self.run.interval or case.interval
        total = self.run.epochs * (self.run.steps_an_epoch if interval == "step" else 1)
        config = {"scheduler": case.build(optimizer, total), "interval": interval}
        return {"optimizer": optimizer, "lr_scheduler": config | ({"monitor": "val_loss"} if case.needs_metric else {})}

    def train_dataloader(self) -> Any:
        length = self.run.steps_an_epoch
        return Loader(length) if self.run.stateful else torch.utils.data.DataLoader(Plain(length))

    def val_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(Plain(1))


class Recorder(Callback):
    """The rates that each optimizer step really used; and the end of the process, where a run is to be killed."""

    def __init__(self, die_at: int | None) -> None:
        self.die_at = die_at
        self.rates: dict[int, list[float]] = {}

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.rates[trainer.global_step] = [float(group["lr"]) for group in optimizer.param_groups]

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)


class Failure(Exception):
    """What a run that ends by an exception raises."""


class Failing(Callback):
    """Raises once a step is done; comes before the checkpoints, after the controller."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise Failure


class KeptOnException(OnExceptionCheckpoint):
    """Lightning removes the file at teardown, which an exception never reaches; a later fit does."""

    def teardown(self, trainer: Any, *_: Any, **__: Any) -> None:
        """Keep it."""


@dataclass(frozen=True)
class When:
    """Which checkpoint is resumed from.

    Attributes:
        name: what the test is called.
        step: optimizer step after which it is written.
        arguments: of the ``ModelCheckpoint`` that writes it; ``None``: on an exception.
        halves: whether only runs with two validations an epoch have such a moment.
    """

    name: str
    step: int
    arguments: dict[str, Any] | None
    halves: bool = False

    def __str__(self) -> str:
        return self.name

    def callbacks(self, folder: Path) -> list[Callback]:
        """What writes the checkpoint."""
        if self.arguments is None:
            return [Failing(self.step), KeptOnException(folder / "checkpoints", f"step={self.step}")]
        return [ModelCheckpoint(folder / "checkpoints", "{step}", save_top_k=-1, **self.arguments)]

    def path(self, folder: Path) -> Path:
        """Where it lies."""
        return folder / "checkpoints" / f"step={self.step}.ckpt"


# All fall between the best check, 6, and the restore of its state: the snapshot must come out of the checkpoint.
WHENS = (
    When("mid-epoch", 30, {"every_n_train_steps": 30}),
    When("in validation, mid-epoch", 28, {"every_n_epochs": 1, "save_on_train_epoch_end": False}, halves=True),
    When("in validation, last batch", 32, {"every_n_epochs": 1, "save_on_train_epoch_end": False}),
    When("end of the epoch", 32, {"every_n_epochs": 1, "save_on_train_epoch_end": True}),
    When("on an exception", 30, None),
)


def unkilled(run: Run) -> Trace:
    """The run from beginning to end, without any checkpoint."""
    return in_fork(lambda: train(run))


def without_id(line: str) -> str:
    """A line of a journal; of a header without what tells one run from another."""
    return re.sub(r', "run_id": "\w+", "run_state": "\w+"', "", line)


def journal_lines(path: Path) -> list[str]:
    """The lines of a journal, to be compared with those of another run."""
    return [without_id(line) for line in path.read_text().splitlines()]


def killed(run: Run, when: When, survive: int = 0) -> Path:
    """The checkpoint of a run that lived for a few steps more and was then killed."""
    if when.arguments is None:
        in_fork(lambda: train(run, callbacks=when.callbacks(run.folder)))
    else:
        kill(lambda: train(run, callbacks=when.callbacks(run.folder), die_at=when.step + survive))
    return when.path(run.folder)


def resumed(run: Run, when: When, checkpoint: Path) -> Trace:
    """The run that goes on from a checkpoint."""
    callbacks = when.callbacks(run.folder) if when.arguments is not None else []
    return in_fork(lambda: train(run, callbacks=callbacks, ckpt_path=checkpoint))


def train(
    run: Run, callbacks: Sequence[Callback] = (), die_at: int | None = None, ckpt_path: Path | None = None
) -> Trace:
    """Train in this process, and say what came of it."""
    recorder, model = Recorder(die_at), Model(run)
    controller = LearningRateController("val_loss", **{"patience": 2, "policy": FIRM, **run.arguments})
    with listening() as sentences:
        trainer = trainer_of(run, [recorder, controller, *callbacks])
        with suppress(Failure):
            trainer.fit(model, ckpt_path=ckpt_path)
    return trace_of(run, trainer, model, controller, recorder, sentences)


def trainer_of(run: Run, callbacks: Sequence[Callback]) -> Trainer:
    """A quiet Trainer that checks as the run says."""
    options: dict[str, Any] = {
        "max_epochs": run.epochs,
        "val_check_interval": 0.5 if run.halves else 1.0,
        "num_sanity_val_steps": 0,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in callbacks),
        "default_root_dir": run.folder,
        **run.options,
    }
    return Trainer(callbacks=list(callbacks), **options)


def trace_of(
    run: Run, trainer: Any, model: Any, controller: LearningRateController, recorder: Recorder, sentences: list[str]
) -> Trace:
    journal = Path(controller.state_dict()["journal"]["path"] or run.journal)
    return Trace(
        rates=recorder.rates,
        decisions=[plain(decision) for decision in controller.decisions],
        scale=controller.scale,
        weights=as_plain(model.state_dict()),
        optimizer=as_plain(trainer.optimizers[0].state_dict()),
        scheduler=[as_plain(_numbers(config.scheduler.state_dict())) for config in trainer.lr_scheduler_configs],
        journal=journal_lines(journal) if journal.exists() else [],
        # Not the first line and the last one, which tell of the part that was trained here.
        sentences=[sentence for sentence in sentences if not sentence.startswith(("watches ", "end: "))],
        state=controller.state_dict(),
    )


class listening:
    """Collects the sentences of lightning_lr, printed or warned, while inside."""

    def __enter__(self) -> list[str]:
        self.sentences: list[str] = []
        self.warnings = warnings.catch_warnings()
        self.warnings.__enter__()
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: self._take(str(message))
        self.handler = logging.Handler()
        self.handler.emit = lambda record: self._take(record.getMessage())  # type: ignore[method-assign]
        self.logger = rank_zero.log
        self.level = self.logger.level
        self.logger.setLevel(logging.INFO)
        self.logger.addHandler(self.handler)
        return self.sentences

    def __exit__(self, *error: Any) -> None:
        self.logger.removeHandler(self.handler)
        self.logger.setLevel(self.level)
        self.warnings.__exit__(*error)

    def _take(self, message: str) -> None:
        start, _, sentence = message.partition("lightning_lr: ")
        if sentence and not start:
            self.sentences.append(sentence)


def as_plain(value: Any) -> Any:
    """Tensors as lists, whatever holds them as plain containers; all floats as they are."""
    if isinstance(value, torch.Tensor):
        return [str(value.dtype), value.tolist()]
    if isinstance(value, dict):
        return {key: as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    return value


def _numbers(state: dict[str, Any]) -> dict[str, Any]:
    """A scheduler's state without what it holds of functions and objects."""
    return {key: value for key, value in state.items() if isinstance(value, bool | int | float | list | tuple)}


def _at(values: Sequence[float], index: int) -> float:
    return float(values[max(0, min(index, len(values) - 1))])


# Forks.


def in_fork(fn: Callable[[], T], timeout: float = 100) -> T:
    """What ``fn`` returns in a process of its own; its exception is raised here."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer"
        code = _fork(lambda: answer.write_bytes(pickle.dumps(fn())), Path(folder) / "error", timeout)
        if code:
            raise AssertionError(f"the run ended with {code}\n{_text(Path(folder) / 'error')}")
        return pickle.loads(answer.read_bytes())


def kill(fn: Callable[[], Any], timeout: float = 100) -> None:
    """Run ``fn``, which must end by SIGKILL."""
    with tempfile.TemporaryDirectory() as folder:
        code = _fork(fn, Path(folder) / "error", timeout)
        assert code == -signal.SIGKILL, (
            f"the run was to be killed but ended with {code}\n{_text(Path(folder) / 'error')}"
        )


def _fork(fn: Callable[[], Any], error: Path, timeout: float) -> int | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on: fork beside threads
        process = get_context("fork").Process(target=_inside, args=(fn, error), daemon=True)
        process.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"the run took longer than {timeout} s")
    return process.exitcode


def _inside(fn: Callable[[], Any], error: Path) -> None:
    import traceback

    torch.set_num_threads(1)
    try:
        fn()
    except BaseException:
        error.write_text(traceback.format_exc())
        raise SystemExit(3) from None


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""

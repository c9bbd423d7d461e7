"""The controller in a loop of the user's own, with Lightning Fabric.

Fabric has no Trainer: the loop says when something happens, by ``fabric.call``. :class:`FabricLoop` is what the
controller reads of a Trainer, filled by these calls.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, Literal

import torch

from lightning_lr.callbacks.controller import LearningRateController
from lightning_lr.engine.records import Decision
from lightning_lr.errors import ArgumentError, UnsupportedError
from lightning_lr.run.trainer.strategies import is_sharded

__all__ = ["FabricLearningRateController"]


class FabricLoop:
    """A loop with Fabric, under the names that a Trainer has.

    Args:
        fabric: with its strategy and loggers.
        optimizers: as ``fabric.setup`` returned them, or plain.
        schedulers: that the loop steps.
        max_steps: optimizer steps of the whole run; ``None`` if that is unknown.
    """

    def __init__(
        self, fabric: Any, optimizers: Sequence[Any], schedulers: Sequence[Any], max_steps: int | None
    ) -> None:
        self.strategy, self.world_size = fabric.strategy, fabric.world_size
        self.loggers = list(fabric.loggers)
        self.optimizers = optimizers
        self.lr_scheduler_configs = [
            SimpleNamespace(scheduler=scheduler, interval="step", frequency=1, name=None, monitor=None)
            for scheduler in schedulers
        ]
        self.precision_plugin = SimpleNamespace(
            scaler=getattr(fabric.strategy.precision, "scaler", None), val_step_context=nullcontext
        )
        self.lightning_module = SimpleNamespace(automatic_optimization=True)
        self.state = SimpleNamespace(fn="fit")
        self.callback_metrics: dict[str, Any] = {}
        self.callbacks: list[Any] = []
        self.max_steps = -1 if max_steps is None else max_steps
        self.global_step = self.current_epoch = 0
        # Of the limits of a Trainer none: it is the loop that ends.
        self.max_epochs, self.accumulate_grad_batches, self.num_sanity_val_steps = -1, 1, 0
        self.num_training_batches = self.val_check_batch = math.inf
        self.check_val_every_n_epoch, self.val_check_interval = 1, None
        self.enable_validation = True
        self.fast_dev_run = self.barebones = self.sanity_checking = self.should_stop = False
        self.overfit_batches = 0.0
        self.default_root_dir, self.ckpt_path = ".", None
        self.reload_dataloaders_every_n_epochs = 0
        progress = SimpleNamespace(current=SimpleNamespace(processed=0), is_last_batch=False)
        epoch_loop = SimpleNamespace(total_batch_idx=-1, batch_progress=progress)
        # An unknown budget is not an open one: no plateau begins the end of the run.
        self.fit_loop = SimpleNamespace(epoch_loop=epoch_loop, _can_stop_early=False, _combined_loader=None)


class FabricLearningRateController:
    """:class:`~lightning_lr.LearningRateController` for Lightning Fabric: it watches, reduces, restores, and logs.

    Give it to ``Fabric(callbacks=[...])``, and call its hooks by ``fabric.call``. It takes the arguments of
    ``LearningRateController``, without ``find_lr`` (the learning rate is not searched) and ``probes``. A check is a
    call of ``on_validation_end``; a loop without validation calls ``on_train_epoch_end`` instead.

    Args:
        monitor: name of a metric among those that ``on_validation_end`` receives. Default ``None``: by the same rule.
        mode: ``"min"`` or ``"max"``. Default ``"min"``.
        max_steps: optimizer steps of the whole run. Default ``None``: unknown. Needed for ``anneal=True``.
        options: the other arguments of :class:`~lightning_lr.LearningRateController`.

    Raises:
        ArgumentError: at construction, if an argument cannot work.
        UnsupportedError: at ``on_train_start``, with a strategy that shards the weights.

    Example::

        controller = FabricLearningRateController("val_loss")
        fabric = Fabric(callbacks=[controller], loggers=TensorBoardLogger("logs"))
        model, optimizer = fabric.setup(model, optimizer)
        fabric.call("on_train_start", fabric=fabric, model=model, optimizers=optimizer)
        for epoch in range(epochs):
            for batch in batches:
                ...
                optimizer.step()
                fabric.call("on_train_batch_end", loss=loss)
            fabric.call("on_validation_end", metrics={"val_loss": validate(model)})
        fabric.call("on_train_end")
    """

    def __init__(
        self,
        monitor: str | Sequence[str] | None = None,
        mode: Literal["min", "max"] = "min",
        *,
        max_steps: int | None = None,
        **options: Any,
    ) -> None:
        for name in ("find_lr", "probes"):
            if options.get(name):
                raise ArgumentError(f"Expected no `{name}` with Fabric but got {options[name]!r}. Leave it out.")
        self.controller = LearningRateController(monitor, mode, **{**options, "find_lr": False})
        self.max_steps = max_steps
        self._loop: FabricLoop | None = None
        self._module: Any = None
        self._saved: dict[str, Any] = {}
        self._stepped = self._validated = False

    @property
    def decisions(self) -> list[Decision]:
        """The decisions that were not "hold", oldest first."""
        return self.controller.decisions

    @property
    def scale(self) -> dict[str, float]:
        """Parameter group → product of all adjustments so far."""
        return self.controller.scale

    @property
    def should_stop(self) -> bool:
        """Whether the loop should end: repeated restores did not help."""
        return self._loop is not None and self._loop.should_stop

    # --- hooks, for `fabric.call` -------------------------------------------------------------------------------------

    def on_train_start(self, fabric: Any, model: Any, optimizers: Any, schedulers: Any = ()) -> None:
        """Before the first step, or after ``load_state_dict``: model, optimizers and schedulers of the loop."""
        if is_sharded(fabric.strategy):
            raise UnsupportedError(
                f"Expected a strategy that keeps whole weights on each rank but got {type(fabric.strategy).__name__}. "
                "Use DDPStrategy, or train with a Trainer."
            )
        self._loop = loop = FabricLoop(fabric, _listed(optimizers), _listed(schedulers), self.max_steps)
        self._module = getattr(model, "module", model)  # the weights, under their own names
        saved, self._saved = self._saved, {}
        self._stepped = self._validated = False
        self.controller.setup(loop, self._module, "fit")
        if saved:
            loop.global_step, loop.current_epoch = saved["step"], saved["epoch"]
            self.controller.on_load_checkpoint(loop, self._module, saved["carried"])
            self.controller.load_state_dict(saved["state"])
        self.controller.on_train_start(loop, self._module)
        if self.controller._fit_run is not None:
            self.controller._fit_run.waits = False  # no other callback exchanges the weights for a validation

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Optional: scales a learning rate that the loop wrote since the last step."""
        if self._loop is not None:
            self.controller.on_before_optimizer_step(self._loop, self._module, optimizer)

    def on_after_optimizer_step(self, strategy: Any, optimizer: Any) -> None:
        """Fabric's own call after each step of an optimizer: a batch without one only accumulates gradients."""
        self._stepped = True

    def on_train_batch_end(self, loss: Any = None) -> None:
        """After each batch, with its loss."""
        if self._loop is None:
            return
        self._loop.fit_loop.epoch_loop.total_batch_idx += 1
        self._loop.global_step += self._stepped
        self._stepped = False
        self.controller.on_train_batch_end(self._loop, self._loop.lightning_module, loss, None, 0)

    def on_train_batch_start(self) -> None:
        """Optional, before each batch: a look at the training loss between two validations that are far apart."""
        if self._loop is not None:
            self.controller.on_train_batch_start(self._loop, self._module, None, 1)

    def on_validation_end(self, metrics: Mapping[str, Any]) -> None:
        """A check: metric → value, a number or a tensor of one element; the mean over the ranks counts."""
        if self._loop is not None:
            self._validated = True
            # New objects: a value that is equal to the last one is fresh all the same.
            self._loop.callback_metrics.update({name: torch.tensor(float(metrics[name])) for name in metrics})
            self.controller.on_validation_end(self._loop, self._module)

    def on_train_epoch_end(self) -> None:
        """The end of an epoch, after its validation; without one it is a check of the training loss."""
        loop, fit_run = self._loop, self.controller._fit_run
        if loop is None or fit_run is None:
            return
        if not self._validated:
            loop.enable_validation = fit_run.reader.validates = False
            self.controller.checks_on_train_epoch_end = True
        self.controller.on_train_epoch_end(loop, self._module)
        loop.current_epoch += 1
        self.controller.on_train_epoch_start(loop, self._module)

    def on_train_end(self) -> None:
        """After the last step: nothing of the controller is left on optimizers and schedulers."""
        if self._loop is not None:
            self.controller.on_train_end(self._loop, self._module)
            self._loop = None

    # --- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """For ``fabric.save``: plain values, and the tensors of the snapshot. Every rank has to call it."""
        carried: dict[str, Any] = {}
        self.controller.on_save_checkpoint(self._loop, self._module, carried)
        step, epoch = (self._loop.global_step, self._loop.current_epoch) if self._loop is not None else (0, 0)
        return {"state": self.controller.state_dict(), "carried": carried, "step": step, "epoch": epoch}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Keep the state of :meth:`state_dict` for ``on_train_start``; the optimizer's own is loaded before."""
        self._saved = dict(state_dict)


def _listed(given: Any) -> list[Any]:
    return list(given) if isinstance(given, (list, tuple)) else [given]

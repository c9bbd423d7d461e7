"""The callback that learns a multiplier of the learning rate for each layer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lightning_lr.callbacks._compat import DualCallback, not_traced, say, warn
from lightning_lr.errors import ArgumentError, UnsupportedError
from lightning_lr.layerwise.groups import split_groups
from lightning_lr.layerwise.layers import layers_of
from lightning_lr.layerwise.layerwise_run import LayerwiseRun, record_path
from lightning_lr.layerwise.probe import LayerProbe
from lightning_lr.layerwise.rule import LayerChange, LayerRule, check_rule
from lightning_lr.loggers.journal_file import JournalFile, folders_of_run, journal_path
from lightning_lr.optim.param_group_lrs import innermost
from lightning_lr.run.distributed import Ranks
from lightning_lr.run.patches import patch
from lightning_lr.run.trainer.trainer_adapter import batches_that_stepped, is_finished

__all__ = ["LayerwiseLearningRate"]


class LayerwiseLearningRate(DualCallback):
    r"""Learns, from the training signal alone, how much faster or slower each layer should learn than the others.

    When training starts, the parameter groups of the optimizer are split by layer (they stay split). Every few steps
    each layer's gradient is compared with its last update: where they agree, longer steps would have been better
    (hypergradient descent, Baydin et al. 2018). The multipliers' geometric mean is held at 1, so that the level of the
    learning rate stays with your optimizer, your schedule, or a
    :class:`~lightning_lr.LearningRateController` beside this callback, in either order.

    Args:
        every_n_steps: optimizer steps between two measurements; one takes about as long as a fifth of a step of AdamW.
        step: of the hypergradient, in log m for each measurement; 0 leaves the trust ratios alone.
        limit: the hypergradient moves a multiplier within [1/limit, limit].
        trust: layers whose ‖weight‖/‖update‖ is off that of the others by more than this are moved to that distance;
            ``None`` switches it off.
        layers: names of modules that shall be one layer each, as blocks of a deep network; everything else is divided
            by modules that have a weight.
        dry_run: measure and record, change nothing: the run is bit-identical to one without the callback.
        record: path of the record, one JSON object a line; ``None``: ``layerwise_lr.jsonl`` in the folder of the first
            logger that has one.

    Attributes:
        multipliers: layer → multiplier of its learning rate.
        changes: layer → what the last window came to, as a sentence when printed.

    Raises:
        ArgumentError: at construction, where an argument cannot work.
        UnsupportedError: when training starts: with manual optimization, several optimizers, DeepSpeed, FSDP1 or LBFGS;
            or at the first measurement, where there are no gradients.

    Example::

        from lightning.pytorch import Trainer
        from lightning_lr import LayerwiseLearningRate, LearningRateController

        trainer = Trainer(callbacks=[LearningRateController("val_loss"), LayerwiseLearningRate()])
    """

    def __init__(
        self,
        *,
        every_n_steps: int = 5,
        step: float = 0.1,
        limit: float = 2.0,
        trust: float | None = 4.0,
        layers: Sequence[str] | None = None,
        dry_run: bool = False,
        record: str | None = None,
    ) -> None:
        super().__init__()
        check_rule(step, limit, trust)
        if type(every_n_steps) is not int or every_n_steps < 2:
            raise ArgumentError(
                f"Expected `every_n_steps` to be an integer of at least 2 but got {every_n_steps!r}: a measurement "
                "takes two steps."
            )
        if isinstance(layers, str):
            raise ArgumentError(f"Expected `layers` to be a list of names of modules but got the text {layers!r}.")
        self.every_n_steps = every_n_steps
        self.step, self.limit, self.trust = step, limit, trust
        self.layers = None if layers is None else tuple(layers)
        self.dry_run = dry_run
        self.record = record
        self._fit_run: LayerwiseRun | None = None
        self._state: dict[str, Any] = {}
        self._pending: list[list[float]] = []
        self._resumed = False
        self._undo = ExitStack()
        self._patched = False
        self._last: tuple[dict[str, float], dict[str, LayerChange]] = ({}, {})

    @property
    def multipliers(self) -> dict[str, float]:
        """Layer → multiplier of its learning rate; their geometric mean is 1."""
        return dict(self._last[0]) if self._fit_run is None else self._fit_run.rule.multipliers

    @property
    def changes(self) -> dict[str, LayerChange]:
        """Layer → what the last window came to."""
        return dict(self._last[1] if self._fit_run is None else self._fit_run.changes)

    # --- hooks --------------------------------------------------------------------------------------------------------

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Begin afresh: each ``fit`` is a run of its own, unless a checkpoint says otherwise."""
        if stage == "fit":
            self._fit_run, self._state, self._pending, self._resumed = None, {}, [], False
            self._last = ({}, {})

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Split the groups before they are read; leave them as they are if an unsplit checkpoint is loaded."""
        check_supported(trainer, pl_module)
        if self.dry_run or trainer.fast_dev_run:
            return
        later = trainer.ckpt_path is not None and trainer.strategy.restore_checkpoint_after_setup
        saved = _saved_state(trainer.ckpt_path, self.state_key) if later else self._state
        if saved.get("split") or not (later or self._resumed):
            self._split(trainer, pl_module, saved)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Split what is not split yet, and continue from a checkpoint if there was one."""
        if trainer.fast_dev_run:
            return
        layers = layers_of(pl_module, self.layers)
        if len(layers) < 2:
            warn(f"There is one layer only ({', '.join(layers) or 'none'}): there are no layers to compare.")
            return
        rule = LayerRule(list(layers), self.step, self.limit, self.trust)
        ranks, state = Ranks.of(trainer.strategy), self._state
        self._fit_run = LayerwiseRun(
            optimizer=trainer.optimizers[0],
            layers=layers,
            rule=rule,
            every_n_steps=self.every_n_steps,
            probe=LayerProbe(layers, ranks.world_size, lambda values: ranks.from_rank_zero(ranks.sum(values))),
            loggers=trainer.loggers if ranks.rank == 0 else (),
            record=self._open_record(trainer, ranks, state.get("record"), list(layers)),
            dry_run=self.dry_run,
            warn=warn,
        )
        self._scan(trainer, pl_module)
        if state:
            for note in self._fit_run.load_state_dict(state):
                say(trainer, note)
            if ranks.rank == 0:  # the sums of all ranks: once
                self._fit_run.probe.load(self._pending)
            else:
                self._fit_run.probe.load([[0.0] * len(one) for one in self._pending])
        self._fit_run.apply()

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Look again: other callbacks exchange schedulers and add parameter groups between epochs."""
        if self._fit_run is not None:
            self._scan(trainer, pl_module)
            self._fit_run.apply()

    @not_traced
    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Measure: the gradients are whole, unscaled and not yet clipped (clipping by norm changes no cosine).

        And scale a rate that ``training_step`` wrote.
        """
        if self._fit_run is not None:
            self._fit_run.control.before_step()
            self._fit_run.before_step()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Learn: what is shown from here on is what the next step uses."""
        if self._fit_run is not None:
            self._fit_run.after_step(batches_that_stepped(trainer))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Weights may be exchanged here, by a restore for example: that was no update."""
        if self._fit_run is not None:
            self._fit_run.probe.drop()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Likewise."""
        if self._fit_run is not None:
            self._fit_run.probe.drop()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Leave nothing behind but the groups, which stay split, and the rates in them."""
        if self._fit_run is not None and is_finished(trainer):
            self._fit_run.record.end()
        self._end_run()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Likewise: after an exception no other hook is called."""
        with suppress(Exception):  # the user's own error is the one to see
            self._end_run()
        self._fit_run = None

    def _end_run(self) -> None:
        if self._fit_run is not None:
            self._last = (self._fit_run.rule.multipliers, self._fit_run.changes)
            self._state = self._fit_run.state_dict()
            self._pending = self._fit_run.probe.state()
            self._fit_run.end()
            self._fit_run = None
        self._undo.close()
        self._patched = False

    def _split(self, trainer: Any, module: Any, saved: dict[str, Any]) -> None:
        layers = layers_of(module, self.layers)
        known = list(saved.get("rule", {}).get("layers", layers))
        if known != list(layers):
            raise ArgumentError(
                f"Expected the layers of the checkpoint ({', '.join(known[:4])}, … {len(known)} in all) but the module "
                f"has {', '.join(list(layers)[:4])}, … {len(layers)} in all: its optimizer state is one group a layer. "
                "Resume with the same model and the same `layers`."
            )
        split_groups(trainer.optimizers[0], layers, _schedulers(trainer))

    def _scan(self, trainer: Any, module: Any) -> None:
        assert self._fit_run is not None
        refused = self._fit_run.scan(_schedulers(trainer))
        if refused and not self._patched:
            # Their class cannot be exchanged: the module's own hook steps them while the multipliers are hidden.
            step = self._fit_run.control.around(module.lr_scheduler_step)
            patch(module, "lr_scheduler_step", step, self._undo)
            self._patched = True

    def _open_record(self, trainer: Any, ranks: Ranks, former: Any, layers: list[str]) -> JournalFile:
        """On rank 0 the file; on the others nothing is written."""
        rule = {"every_n_steps": self.every_n_steps, "step": self.step, "limit": self.limit, "trust": self.trust}
        header = json.dumps({"kind": "layerwise", "schema": 1, "layers": layers, "dry_run": self.dry_run, **rule})
        if ranks.rank:
            return JournalFile(None, header, warn)
        path = record_path(self.record, journal_path(None, trainer.loggers, trainer.default_root_dir, None))
        folders = folders_of_run(trainer.loggers, trainer.default_root_dir, trainer.ckpt_path)
        return JournalFile.resumed(former, path, header, warn, folders, partial(say, trainer))

    # --- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next multipliers depend on, as plain values."""
        return dict(self._state) if self._fit_run is None else self._fit_run.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until training starts: the optimizers do not exist yet."""
        self._state = dict(state_dict)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Add what the window holds so far, of all ranks.

        A measurement of which only the first half is done is given up, here as in the run that resumes: it would need
        a copy of the weights in the checkpoint.
        """
        if self._fit_run is not None:
            self._fit_run.probe.drop()
            self._fit_run.probe.collect()
            self._pending = self._fit_run.probe.state()
        checkpoint[self._checkpoint_key] = self._pending

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Take it back, where the checkpoint is loaded to train on."""
        if trainer.state.fn == "fit":
            self._resumed = True
            self._pending = checkpoint.get(self._checkpoint_key, [])

    @property
    def _checkpoint_key(self) -> str:
        return f"lightning_lr/{self.state_key}"

    def __getstate__(self) -> dict[str, Any]:
        ours = ("log", "log_dict", "_fit_run", "_undo", "_patched")
        kept = {key: value for key, value in self.__dict__.items() if key not in ours}
        return {**kept, "_state": self.state_dict(), "_last": (self.multipliers, {})}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _fit_run=None, _undo=ExitStack(), _patched=False)

    def __repr__(self) -> str:
        options = f"every_n_steps={self.every_n_steps}, step={self.step}, limit={self.limit}, trust={self.trust}"
        return f"{type(self).__name__}({options}{', dry_run=True' if self.dry_run else ''})"


def check_supported(trainer: Any, module: Any) -> None:
    """Refuse what cannot work, before the first step.

    Raises:
        UnsupportedError: saying what was found and what to do.
    """
    strategies = {base.__name__ for base in type(trainer.strategy).__mro__}
    optimizers = [one for one in trainer.optimizers if getattr(one, "param_groups", None)]
    found = (
        "manual optimization, where several losses may move one layer"
        if not module.automatic_optimization
        else "DeepSpeed, whose optimizer keeps the parameters in flat buffers of its own"
        if "DeepSpeedStrategy" in strategies
        else "FSDP1, which cuts parameters without regard to layers; ModelParallelStrategy (FSDP2) works"
        if "FSDPStrategy" in strategies
        else f"{len(optimizers)} optimizers with parameters"
        if len(optimizers) != 1
        else "LBFGS, which allows one parameter group"
        if isinstance(innermost(optimizers[0]), torch.optim.LBFGS)
        else "ZeroRedundancyOptimizer, whose groups are not those that it steps with"
        if type(optimizers[0]).__name__ == "ZeroRedundancyOptimizer"
        else None
    )
    if found is not None:
        raise UnsupportedError(
            f"Expected automatic optimization with one optimizer of several groups but got {found}. "
            "Remove LayerwiseLearningRate from the callbacks."
        )


def _schedulers(trainer: Any) -> list[Any]:
    return [config.scheduler for config in trainer.lr_scheduler_configs]


def _saved_state(path: Any, key: str) -> dict[str, Any]:
    """This callback's state in a checkpoint that the strategy will only load later; empty where it has none."""
    with suppress(Exception):  # whatever is wrong with it, the strategy says it better
        file = Path(path)
        file = file / "meta.pt" if file.is_dir() else file
        return dict(torch.load(file, map_location="cpu", weights_only=True)["callbacks"][key])
    return {}

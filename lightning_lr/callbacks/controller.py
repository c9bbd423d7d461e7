"""The callback: each hook reads, asks, applies and writes, through the session of the fit.

What a fit needs is loaded when one begins: a program that only names the callback, or a notebook's first cell, need not
wait for it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from lightning_lr.callbacks._compat import DualCallback, warn
from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.policies import Policy
from lightning_lr.engine.records import Decision
from lightning_lr.engine.settings import check_options, checked_interval, settings_from
from lightning_lr.engine.text import plural
from lightning_lr.errors import ArgumentError
from lightning_lr.loggers.decision_history import DecisionHistory
from lightning_lr.metrics.probe import Probe
from lightning_lr.run.defer_signals import defer_signals
from lightning_lr.run.trainer.strategies import is_sharded
from lightning_lr.run.trainer.trainer_state import TrainerState
from lightning_lr.snapshot.files import keep_beside

if TYPE_CHECKING:
    from lightning_lr.run.fit_run import FitRun

__all__ = ["LearningRateController"]


class LearningRateController(DualCallback):
    r"""Watches training and validation, says what is wrong, and changes the learning rate.

    A *check* is one look at fresh values: at the end of a training epoch where validation runs once an epoch, else
    after each validation (the rule of ``EarlyStopping``). All counts are counts of checks.

    Args:
        monitor: metric to watch, or several, or a pattern such as ``"val_loss*"`` for all that are logged under such
            names (several validation sets, of which ``vote`` says how many must agree). The best state is that of the
            first. Where no validation runs and nothing of that name can come, the training loss alone is watched.
        mode: ``"min"`` or ``"max"``: which direction of the monitor is better.
        policy: ``"auto"`` (reduces, and restores the best state where the run overfits or diverges),
            ``"conservative"`` (only ever lowers), ``"halving"``, ``"exponential"`` (the plain recipes), or a
            :class:`~lightning_lr.engine.policies.policy.Policy`.
        patience: checks in a row before a plateau or overfitting is acted on; acts on the last of them, as
            ``EarlyStopping`` does. ``None``: the policy's own. Not for the recipes: they have ``epochs``.
        cooldown: checks after an adjustment without another. Not for the recipes.
        factor: multiplier of one reduction, above 0 and below 1. ``None``: the policy's own. Not for the recipes: they
            have ``ratio``.
        min_delta: least absolute change that counts as improvement.
        rel_delta: least change relative to \|best\| that counts as improvement.
        min_lr: lower bound of the applied rate, one number or one a group. A warm-up below it is left alone.
        max_lr: upper bound of the applied rate, likewise.
        train_monitor: logged metric to compare the monitor with, in place of the loss of ``training_step``.
        vote: how many monitors must agree: ``"any"``, ``"majority"`` or ``"all"``.
        restore_best: whether the best weights and optimizer state come back on overfitting, and the last good ones on
            divergence. ``None``: the policy decides.
        find_lr: whether the first steps sweep over learning rates, from a snapshot that is restored, and the run goes
            on with the one that was found. ``"auto"``: for ``policy="auto"`` with no scheduler of the user's own.
        anneal: whether the rate falls linearly to zero over the last half of a known budget, and before EarlyStopping
            ends the run. ``"auto"``: likewise; where the budget is unknown, it falls from a plateau on.
        check_every_n_steps: optimizer steps after which the training loss is checked by itself, where the next
            validation is still to come: for what cannot wait (divergence, lost weights). ``None``: a twentieth of the
            budget, 100 to 1000, and none where validations come at least that often; 0: none.
        warmup_checks: checks at the start without an adjustment (divergence is always acted on).
        epochs: for the recipes, epochs between two moves.
        ratio: for the recipes, the multiplier of one move.
        optimizers: which optimizers to control, by index, or which parameter groups, by name. ``None``: all.
        dry_run: decide and record, change nothing: the run is bit-identical to one without the callback.
        verbose: print each decision as a sentence.
        journal: path of the journal; ``None``: ``lr_journal.jsonl`` in the folder of the first logger that has one.
        snapshot_folder: keep the state that a restore would bring back in a file in this folder, one for each rank, and
            not in host memory; the file goes at the end of the fit.
        save_snapshot: whether the checkpoint carries the state that a restore would bring back (it grows by one copy of
            weights and optimizer state); without it a resumed run cuts without restoring.
        probes: metrics that look inside the network at each check: :class:`~lightning_lr.metrics.CriticalRatio`,
            :class:`~lightning_lr.metrics.NeuronCoherence`, :class:`~lightning_lr.metrics.UpdateRatio`,
            :class:`~lightning_lr.metrics.GradientDisparity`. What they measure stands in the journal and the loggers,
            and the policy acts on it.
        detectors: your own, beside the built-in ones; the policy needs a response to their condition to act on it. See
            docs/how-to-add-a-detector.md.
        name: needed where a Trainer has two of these with the same monitor.

    Attributes:
        decisions: the decisions that were not "hold", at most the newest 1000; empty in the main process after
            ``ddp_spawn``, where the journal tells.
        scale: parameter group → product of all adjustments so far.

    Raises:
        ArgumentError: at construction, where an argument cannot work.
        MissingMetricError: after the first validation, where the monitor was not logged.

    Example::

        from lightning.pytorch import Trainer
        from lightning_lr import LearningRateController

        trainer = Trainer(max_epochs=30, callbacks=[LearningRateController(monitor="val_loss")])
    """

    def __init__(
        self,
        monitor: str | Sequence[str] = "val_loss",
        mode: Literal["min", "max"] = "min",
        *,
        policy: Literal["auto", "conservative", "halving", "exponential"] | Policy = "auto",
        patience: int | None = None,
        cooldown: int = 0,
        factor: float | None = None,
        min_delta: float = 0.0,
        rel_delta: float = 1e-3,
        min_lr: float | Sequence[float] = 0.0,
        max_lr: float | Sequence[float] | None = None,
        train_monitor: str | None = None,
        vote: Literal["any", "majority", "all"] = "majority",
        restore_best: bool | None = None,
        find_lr: bool | Literal["auto"] = "auto",
        anneal: bool | Literal["auto"] = "auto",
        check_every_n_steps: int | None = None,
        warmup_checks: int = 0,
        epochs: int | None = None,
        ratio: float | None = None,
        optimizers: Sequence[int | str] | None = None,
        dry_run: bool = False,
        verbose: bool = True,
        journal: str | None = None,
        save_snapshot: bool = True,
        snapshot_folder: str | os.PathLike[str] | None = None,
        probes: Sequence[Probe] = (),
        detectors: Sequence[Detector] = (),
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings_from(
            monitor=monitor,
            mode=mode,
            policy=policy,
            patience=patience,
            cooldown=cooldown,
            factor=factor,
            min_delta=min_delta,
            rel_delta=rel_delta,
            min_lr=min_lr,
            max_lr=max_lr,
            train_monitor=train_monitor,
            vote=vote,
            restore_best=restore_best,
            warmup_checks=warmup_checks,
            epochs=epochs,
            ratio=ratio,
            detectors=detectors,
        )
        check_options(
            optimizers=optimizers,
            journal=journal,
            snapshot_folder=snapshot_folder,
            name=name,
            dry_run=dry_run,
            verbose=verbose,
            save_snapshot=save_snapshot,
        )
        self.restore_best = restore_best
        self.check_every_n_steps = checked_interval(check_every_n_steps, self.settings.policy)
        self.find_lr = _switch("find_lr", find_lr)
        self.anneal = _switch("anneal", anneal)
        for argument, asked in (("find_lr", find_lr), ("anneal", anneal)):
            if dry_run and asked is True:
                raise ArgumentError(
                    f"Expected no `{argument}=True` with `dry_run=True`, which changes no learning rate. "
                    "Leave one of them out."
                )
        self.optimizers = optimizers
        self.dry_run = dry_run
        self.verbose = verbose
        self.journal = journal
        self.save_snapshot = save_snapshot
        self.snapshot_folder = snapshot_folder
        self.probes = _probes(probes)
        self.name = name
        self._stage: str | None = None
        self._fit_run: FitRun | None = None
        self._history = DecisionHistory()
        self._state: dict[str, Any] = {}
        self._checkpointed: dict[str, Any] = {}
        self._owes_check = False
        self.checks_on_train_epoch_end = True

    @property
    def decisions(self) -> list[Decision]:
        """The decisions that were not "hold", oldest first."""
        return list(self._history if self._fit_run is None else self._fit_run.history)

    @property
    def scale(self) -> dict[str, float]:
        """Parameter group → product of all adjustments so far."""
        if self._fit_run is not None:
            return {name: rate.scale for name, rate in self._fit_run.groups.rates().items()}
        return dict(self._state.get("scale", {}))

    def plot(self) -> Any:
        """Draw the run so far, or the last one: curves, learning rate, decisions.

        Returns:
            matplotlib's figure and axes, as :func:`lightning_lr.plot` does; needs ``pip install 'lightning-lr[plot]'``.

        Raises:
            ArgumentError: where there is no journal to draw from, because the run wrote none or this is not rank 0.
        """
        import lightning_lr  # the public name: the live side does not know the offline one

        state = self._fit_run.journal.state_dict() if self._fit_run is not None else self._state.get("journal", {})
        if not state.get("path"):
            raise ArgumentError(
                "Expected a journal to draw but this run wrote none. Pass journal='FILE' to the callback."
            )
        return lightning_lr.plot(state["path"])

    @cached_property
    def state_key(self) -> str:
        """Tells the instances of one Trainer apart; holds no setting that a user may change between two runs.

        Kept, because the Trainer asks for it at each of the six hooks of a step: to make it takes longer than all that
        we do in them.
        """
        return self._generate_state_key(
            monitor=list(self.settings.monitors), mode=str(self.settings.mode), name=self.name
        )

    # --- hooks --------------------------------------------------------------------------------------------------------

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Begin afresh: each ``fit`` is a run of its own, unless a checkpoint says otherwise."""
        self._stage = stage
        if stage == "fit":
            self._fit_run, self._history, self._state, self._checkpointed = None, DecisionHistory(), {}, {}
            if is_sharded(trainer.strategy):
                keep_beside(trainer.strategy, self._checkpoint_key, warn)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Find optimizers, schedulers and loggers; continue from a checkpoint if there was one."""
        from lightning_lr.run.setup import build_run

        # Where validation runs once an epoch, its values and the epoch's training loss belong together.
        once = trainer.val_check_interval == 1.0 and trainer.check_val_every_n_epoch == 1
        self.checks_on_train_epoch_end = once or not trainer.enable_validation
        self._owes_check = bool(self._state) and self.checks_on_train_epoch_end
        if not trainer.fast_dev_run:
            self._fit_run = build_run(self, trainer, pl_module, self._state, self._checkpointed)
            self._checkpointed = {}

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Look again: other callbacks exchange schedulers and add parameter groups between epochs."""
        if self._fit_run is not None:
            self._fit_run.rescan(trainer)
            self._make_up(trainer)
            self._fit_run.lr_schedule.pauses()
            if trainer.check_val_every_n_epoch not in (None, 1):
                # Epochs without a validation must not enter the gap of the one that has it.
                self._fit_run.reader.restart()
            self._fit_run.before_batch()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Look again, for those that did so after our hook at the start of the epoch; set the step's rate.

        A check between validations is made here: a validation that was due after the step before has come by now.
        """
        fit_run = self._fit_run
        if fit_run is not None and (
            batch_idx == 0 or fit_run.lr_schedule.steps >= fit_run.lr_schedule.next_action_step
        ):
            if batch_idx == 0:
                fit_run.rescan(trainer)
            if fit_run.check_is_due:
                self._check(trainer, TrainerState.of(trainer, epoch_over=False), train_only=True)
            fit_run.before_batch()

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Scale a rate that ``training_step`` wrote; let the probes see gradients and weights before the step."""
        if self._fit_run is not None:
            self._fit_run.groups.before_step()
            if self.probes:
                self._fit_run.before_step(optimizer)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Take the step's loss, without waiting for the device; scale a rate that the module wrote after its step."""
        fit_run = self._fit_run
        if fit_run is not None:
            fit_run.groups.before_step()
            # Only automatic optimization divides the loss by the number of accumulated batches.
            divided = trainer.accumulate_grad_batches
            ended = fit_run.after_batch(outputs, divided if divided == 1 or pl_module.automatic_optimization else 1)
            if ended:
                fit_run.go_on(TrainerState.of(trainer, epoch_over=False), ended)
            if fit_run.lr_schedule.steps >= fit_run.lr_schedule.next_action_step:
                fit_run.before_batch()  # here already: whoever looks between two steps sees the next one's rate

    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Let the probes look on at the first batch."""
        if self._fit_run is not None and self.probes and batch_idx == dataloader_idx == 0:
            self._fit_run.reader.probes.begin_batch(batch)

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """That batch is over."""
        if self._fit_run is not None and self.probes and batch_idx == dataloader_idx == 0:
            self._fit_run.reader.probes.end_batch()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Take note of what validation logged; decide on it here where it runs at its own pace."""
        if self._fit_run is None or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self._fit_run.reader.fresh_metrics.look(trainer.callback_metrics)
        self._fit_run.reader.validated = True
        self._fit_run.lr_schedule.pauses()
        if not self.checks_on_train_epoch_end:
            self._check(trainer, TrainerState.of(trainer, epoch_over=False))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Decide where a check is an epoch: before the checkpoint of this epoch is written."""
        if self._fit_run is not None and self.checks_on_train_epoch_end:
            self._fit_run.reader.fresh_metrics.look(trainer.callback_metrics)
            self._check(trainer, TrainerState.of(trainer, epoch_over=True))

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Say how it went, and leave nothing of ours behind."""
        self._keep(together=True)
        self._end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Leave nothing of ours behind either: after an exception no other hook is called."""
        with suppress(Exception):  # a broken device cannot be read, and the user's own error is the one to see
            self._keep(together=False)
        self._end()

    def _check(self, trainer: Any, trainer_state: TrainerState, train_only: bool = False) -> None:
        assert self._fit_run is not None
        self._owes_check = False
        with defer_signals():
            decision = self._fit_run.check(trainer_state, train_only)
            if decision is not None and decision.action == "stop" and not self.dry_run:
                trainer.should_stop = True

    def _make_up(self, trainer: Any) -> None:
        """After a resume: the check of the former epoch, where a callback before ours wrote the checkpoint."""
        assert self._fit_run is not None
        if self._owes_check and not self._fit_run.reader.watches_training:
            trainer_state = TrainerState.of(trainer, epoch_over=True)
            self._check(trainer, replace(trainer_state, epoch=trainer_state.epoch - 1))
        self._owes_check = False

    def _keep(self, together: bool) -> None:
        """What is asked for after the fit: Lightning, or the user, may write one more checkpoint then."""
        if self._fit_run is not None:
            # The whole history: a checkpoint has no room for more than some fifty.
            self._history, self._state = self._fit_run.history, self.state_dict()
            self._checkpointed = self._to_checkpoint(self._fit_run, together)

    def _to_checkpoint(self, fit_run: FitRun, together: bool = True) -> dict[str, Any]:
        from lightning_lr.run.setup import to_checkpoint

        return to_checkpoint(fit_run, self.save_snapshot, together)

    def _end(self) -> None:
        if self._fit_run is not None:
            self._fit_run.end()
            self._fit_run = None

    # --- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next decision depends on, as plain values."""
        return self._fit_run.state_dict() if self._fit_run is not None else dict(self._state)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state for ``on_train_start``: the optimizers do not exist yet."""
        if self._stage not in (None, "fit"):
            return  # a checkpoint that is only evaluated: what the last fit came to stays
        self._state = dict(state_dict)
        self._history = DecisionHistory.from_state(state_dict["history"]) if state_dict else DecisionHistory()

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Add the snapshot that a decision after the resume may need, and the readings of the other ranks."""
        if self._fit_run is not None:
            checkpoint[self._checkpoint_key] = self._to_checkpoint(self._fit_run)
        elif self._checkpointed:  # after the fit, or before it: a learning rate finder saves and loads at its start
            checkpoint[self._checkpoint_key] = self._checkpointed

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Take them back, where the checkpoint is loaded to train on."""
        if trainer.state.fn == "fit":
            self._checkpointed = checkpoint.get(self._checkpoint_key, {})

    @property
    def _checkpoint_key(self) -> str:
        return f"lightning_lr/{self.state_key}"

    def __getstate__(self) -> dict[str, Any]:
        # A session holds hooks into a running Trainer; Lightning hangs bound methods of the module on every callback.
        kept = {key: value for key, value in self.__dict__.items() if key not in ("_fit_run", "log", "log_dict")}
        history = self._history if self._fit_run is None else self._fit_run.history
        return {**kept, "_fit_run": None, "_history": history, "_state": self.state_dict(), "_checkpointed": {}}

    def __repr__(self) -> str:
        settings, policy = self.settings, self.settings.policy
        waits = {r.patience for r in policy.responses.values() if r.patience > 1}
        said = f", patience={'/'.join(map(str, sorted(waits)))} check{plural(max(waits))}" if waits else ""
        watched = f"monitor={list(settings.monitors)}, mode={str(settings.mode)!r}"
        return f"{type(self).__name__}({watched}, policy={policy.name!r}{said})"


def _probes(probes: Any) -> tuple[Probe, ...]:
    given = probes if isinstance(probes, (list, tuple)) else (probes,)
    for probe in given:
        if not isinstance(probe, Probe):
            raise ArgumentError(
                "Expected `probes` to be a list of NeuronCoherence(), UpdateRatio(), GradientDisparity() and "
                f"CriticalRatio() but got {probe!r}."
            )
    if len({type(probe) for probe in given}) < len(given):
        raise ArgumentError(f"Expected `probes` to hold one of each kind at most but got {list(given)!r}.")
    return tuple(given)


def _switch(argument: str, value: Any) -> Any:
    if value in (True, False, "auto"):
        return value
    raise ArgumentError(f"Expected `{argument}` to be True, False or 'auto' but got {value!r}.")

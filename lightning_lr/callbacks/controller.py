"""The callback: its arguments, and hooks that each call the run of this fit.

What a fit needs is imported when one begins, so that a program that only names the callback starts at once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from lightning_lr.callbacks._compat import DualCallback, DummyLogger, not_traced, say, warn
from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.journal import decision_from, plain
from lightning_lr.engine.policies import PolicyOrName
from lightning_lr.engine.policies.policy import STALLED
from lightning_lr.engine.records import Decision
from lightning_lr.engine.settings import settings_from
from lightning_lr.engine.text import plural
from lightning_lr.engine.vocabulary import Mode
from lightning_lr.errors import ArgumentError
from lightning_lr.loggers.decision_history import DecisionHistory
from lightning_lr.metrics.probe import Probe
from lightning_lr.run.defer_signals import defer_signals
from lightning_lr.run.options import ControllerOptions, Snapshots, snapshots_from
from lightning_lr.run.patches import patch
from lightning_lr.run.trainer.strategies import is_sharded
from lightning_lr.run.trainer.trainer_adapter import TrainerState, checks_at_epoch_end, is_finished
from lightning_lr.snapshot.files import keep_beside

if TYPE_CHECKING:
    from lightning_lr.run.fit_run import FitRun
    from lightning_lr.run.lr_search.before_training import BeforeTraining

__all__ = ["LearningRateController"]


class LearningRateController(DualCallback):
    r"""Watches training and validation, diagnoses what is wrong, and changes the learning rate.

    A *check* is one look at new values of the monitor: at the end of a training epoch if validation runs once an epoch,
    otherwise after each validation (as ``EarlyStopping`` does). A *snapshot* is a copy of weights and optimizer state.
    The *budget* is the number of optimizer steps that the Trainer will run, if it is known.

    Args:
        monitor: logged metric to watch, several, or a pattern such as ``"val_loss*"``; the best state is that of the
            first. ``"train_loss"`` means the loss of ``training_step`` if no metric of that name is logged. Default
            ``None``: ``val_loss`` if it is logged, otherwise the one validation loss that is (a name such as
            ``valid/loss``), otherwise the training loss, with a warning. If no validation runs, the training loss.
        mode: ``"min"`` if a lower value of the monitor is better, ``"max"`` if a higher one is. Default ``"min"``.
        policy: what is done about each condition. Default ``"auto"``: finds the learning rate, anneals it, and restores
            the best state on overfitting and divergence. ``"conservative"`` only reduces; ``"halving"`` and
            ``"exponential"`` change the learning rate after a number of epochs. Pass an
            :class:`~lightning_lr.AutoPolicy`, :class:`~lightning_lr.ConservativePolicy`,
            :class:`~lightning_lr.HalvingPolicy` or :class:`~lightning_lr.ExponentialPolicy` to change their numbers, or
            a :class:`~lightning_lr.Policy` with responses of your own.
        patience: checks in a row with a plateau or overfitting before the learning rate is reduced, ≥ 1. Default
            ``None``: the policy's own, 1 for both, as their probability rests on several checks already. A number given
            also replaces that of the conditions that wait anyway (``oscillation``, ``incoherence``, ``improving``: 3
            for each of them, 5 with ``conservative``). Raise it if the monitor is noisy. Not for policies that count
            epochs.
        cooldown: checks after a change of the learning rate without another, ≥ 0. Default 0. Raise it if the monitor
            needs several checks to react.
        factor: multiplier of the learning rate at a reduction, between 0 and 1. Default ``None``: the policy's own for
            each condition (0.1 to 0.5). Raise it for gentler cuts.
        min_delta: least change of the monitor that counts as improvement, in its unit, ≥ 0. Default 0; the policy's
            ``rel_delta`` also applies. Raise it if smaller gains are not worth the time.
        min_lr: lower bound of the learning rate, one number or one for each parameter group. Default 0. A warm-up below
            it is left alone.
        max_lr: upper bound of the learning rate, likewise. Default ``None``: no bound. Set it if the model is known to
            diverge above a learning rate.
        train_monitor: logged metric of training to compare the monitor with. Default ``None``: the loss of
            ``training_step``. Set it if the monitor is another quantity, for example an accuracy.
        vote: how many monitors must agree: ``"any"``, ``"majority"`` or ``"all"``. Default ``"majority"``.
        restore_best: whether the best snapshot is restored on overfitting, and the last good one on divergence. Default
            ``None``: the policy decides.
        find_lr: whether the learning rate is checked after the first step, by forward passes along its update, and
            replaced if it is far from the best. Default ``"auto"``: with a policy that searches, if the model has no
            scheduler of its own.
        anneal: whether the learning rate falls linearly to zero over the last 30 % of the budget, and before
            EarlyStopping ends the run. Default ``"auto"``: likewise, but over a budget only if the rate was checked; if
            the budget is unknown, from a plateau on.
        check_every_n_steps: optimizer steps between two checks of the training loss alone, for divergence between rare
            validations. Default ``None``: a twentieth of the budget, 100 to 1000, and none if validations come as
            often; 0: none.
        objective_changes: epochs, from 0, as of which the loss or the data are other ones: a term that is switched on,
            a curriculum, weights that are unfrozen. Default: none. The best so far is forgotten then, see
            :meth:`reset`.
        param_groups: what to control: indices of optimizers, or names of parameter groups. Default ``None``: all.
        detectors: detectors of your own, beside the built-in ones. Default: none. The policy needs a response to their
            condition to act on it, else it is recorded only; see docs/how-to/add-a-detector.md.
        probes: metrics that measure inside the network at each check, one of each kind at most:
            :class:`~lightning_lr.metrics.CriticalRatio`, :class:`~lightning_lr.metrics.NeuronCoherence`,
            :class:`~lightning_lr.metrics.UpdateRatio`, :class:`~lightning_lr.metrics.GradientDisparity`. Default: none.
            They are logged, and the policy acts on them.
        snapshots: ``True``, ``False``, or :class:`~lightning_lr.Snapshots` with a folder. Default ``True``: in host
            memory and in checkpoints. ``False``: none; nothing is restored, and the learning rate is not searched.
        dry_run: decide and record, change nothing: training is bit-identical to a run without the callback. Default
            ``False``.
        verbose: print each decision. Default ``True``.
        journal: file that records every check, as JSON lines. Default ``None``: ``lr_journal.jsonl`` in the folder of
            the first logger that has one, otherwise in ``default_root_dir`` if that was set. ``False``: no file.
        name: distinguishes callbacks with the same monitor, in the logs as well. Default ``None``; needed only if a
            Trainer has several.

    Attributes:
        decisions: the decisions that were not "hold", at most the newest 1000; empty in the main process after
            ``ddp_spawn`` (the journal has them).
        scale: parameter group → product of all adjustments so far.

    Raises:
        ArgumentError: at construction, if an argument cannot work.
        MissingMetricError: if a monitor that was named is not logged: before the first step if the sanity check shows
            it, otherwise after the first validation.

    Example::

        from lightning.pytorch import Trainer
        from lightning_lr import LearningRateController

        trainer = Trainer(max_epochs=30, callbacks=[LearningRateController(monitor="val_loss")])
    """

    def __init__(
        self,
        monitor: str | Sequence[str] | None = None,
        mode: Literal["min", "max"] = "min",
        *,
        policy: PolicyOrName = "auto",
        patience: int | None = None,
        cooldown: int = 0,
        factor: float | None = None,
        min_delta: float = 0.0,
        min_lr: float | Sequence[float] = 0.0,
        max_lr: float | Sequence[float] | None = None,
        train_monitor: str | None = None,
        vote: Literal["any", "majority", "all"] = "majority",
        restore_best: bool | None = None,
        find_lr: bool | Literal["auto"] = "auto",
        anneal: bool | Literal["auto"] = "auto",
        check_every_n_steps: int | None = None,
        objective_changes: Sequence[int] = (),
        param_groups: Sequence[int | str] | None = None,
        detectors: Sequence[Detector] = (),
        probes: Sequence[Probe] = (),
        snapshots: bool | Snapshots = True,
        dry_run: bool = False,
        verbose: bool = True,
        journal: Literal[False] | str | os.PathLike[str] | None = None,
        name: str | None = None,
    ) -> None:
        self._arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__()
        settings = settings_from(
            monitor=monitor,
            mode=mode,
            policy=policy,
            patience=patience,
            cooldown=cooldown,
            factor=factor,
            min_delta=min_delta,
            min_lr=min_lr,
            max_lr=max_lr,
            train_monitor=train_monitor,
            vote=vote,
            restore_best=restore_best,
            detectors=detectors,
        )
        self.options = ControllerOptions(
            settings=settings,
            monitor_by_rule=monitor is None and settings.mode is Mode.MIN,
            restore_best=restore_best,
            find_lr=find_lr,
            anneal=anneal,
            check_every_n_steps=check_every_n_steps,
            objective_changes=objective_changes,
            param_groups=param_groups,
            probes=probes,
            snapshots=snapshots_from(snapshots),
            dry_run=dry_run,
            verbose=verbose,
            journal=journal,
            name=name,
        )
        self.checks_on_train_epoch_end = True
        self._stage: str | None = None
        self._fit_run: FitRun | None = None
        self._history = DecisionHistory()
        self._state: dict[str, Any] = {}
        self._checkpointed: dict[str, Any] = {}
        self._epoch_check_missing = False
        self._before_training: BeforeTraining | None = None

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

    def reset(self, reason: str) -> None:
        """Say that the objective or the data are other ones from now on: the best is forgotten, detectors begin anew.

        Call it on all ranks, at any time while a fit runs; else it does nothing. A restore returns to the present
        state from then on, until there is a new best.

        Args:
            reason: what has changed, in a few words; it stands in the journal.
        """
        given: Any = reason
        if not isinstance(given, str) or not given:
            raise ArgumentError(f"Expected `reason` to be a few words but got {given!r}. Say what has changed.")
        if self._fit_run is not None:
            self._fit_run.reset(reason)

    def plot(self) -> Any:
        """Draw the run so far, or the last one: curves, learning rate, decisions.

        Returns:
            matplotlib's figure and axes, as :func:`lightning_lr.plot` does; needs ``pip install 'lightning-lr[plot]'``.

        Raises:
            ArgumentError: if there is no journal, because the run wrote none or this is not rank 0.
        """
        from lightning_lr.offline.plot import plot

        state = self._fit_run.journal.state_dict() if self._fit_run is not None else self._state.get("journal", {})
        if not state.get("path"):
            raise ArgumentError(
                "Expected a journal to draw but this run wrote none. Pass journal='FILE' to the callback."
            )
        return plot(state["path"])

    @property
    def state_key(self) -> str:
        """Distinguishes the instances of one Trainer; holds no setting that a user may change between two runs."""
        settings = self.options.settings
        return self._generate_state_key(
            monitor=list(settings.monitors), mode=str(settings.mode), name=self.options.name
        )

    # --- hooks --------------------------------------------------------------------------------------------------------

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Begin afresh: each ``fit`` is a run of its own, unless a checkpoint says otherwise."""
        self._stage = stage
        if stage == "fit":
            self._fit_run, self._history, self._state, self._checkpointed = None, DecisionHistory(), {}, {}
            keep_beside(trainer.strategy, self._checkpoint_key, is_sharded(trainer.strategy), warn)
            self._before_training = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Find optimizers, schedulers and loggers; continue from a checkpoint if there was one."""
        from lightning_lr.run.setup import build_run

        self.checks_on_train_epoch_end = checks_at_epoch_end(trainer)
        self._epoch_check_missing = bool(self._state) and self.checks_on_train_epoch_end
        if not trainer.fast_dev_run:
            self._fit_run = build_run(
                self.options,
                self.state_key,
                trainer,
                pl_module,
                self._state,
                self._checkpointed,
                self._before_training,
                DummyLogger,
                partial(say, trainer),
                warn,
            )
            self._checkpointed, self._before_training = {}, None
            if self._fit_run.reader.waits_for_epoch:
                self._check_after_module_hook(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Look again: other callbacks exchange schedulers and add parameter groups between epochs."""
        if self._fit_run is not None:
            self._fit_run.rescan(trainer)
            self._check_missed_epoch(trainer)
            if self._fit_run.reader.waits_for_epoch and not self.checks_on_train_epoch_end:
                self._fit_run.reader.fresh_metrics.pass_over(trainer.callback_metrics)
            epoch = trainer.current_epoch
            if epoch in self.options.objective_changes and self._fit_run.reset_epoch != epoch:
                self._fit_run.reset_epoch = epoch
                self.reset(f"objective_changes names epoch {epoch}")
            self._fit_run.lr_schedule.epoch_begins()
            self._fit_run.lr_schedule.pauses()
            if trainer.check_val_every_n_epoch not in (None, 1):
                # Epochs without a validation must not enter the gap of the one that has it.
                self._fit_run.reader.restart()
            self._fit_run.lr_schedule.before_batch()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Look again, for those that did so after our hook at the start of the epoch; set the step's rate.

        A check between validations is made here: a validation that was due after the step before has come by now.
        """
        if self._fit_run is not None:
            self._fit_run.finish_postponed()
            if batch_idx == 0:
                self._fit_run.rescan(trainer)
            if self._fit_run.train_check_is_due:
                self._check(trainer, TrainerState.of(trainer, epoch_over=False), train_only=True)
            self._fit_run.before_batch(trainer, batch, batch_idx)

    @not_traced
    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Scale a rate that ``training_step`` wrote; let the probes see gradients and weights before the step."""
        if self._fit_run is not None:
            self._fit_run.before_step(optimizer)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Take the step's loss, without waiting for the device; scale a rate that the module wrote after its step."""
        if self._fit_run is not None:
            # Only automatic optimization divides the loss by the number of accumulated batches.
            divided = trainer.accumulate_grad_batches if pl_module.automatic_optimization else 1
            self._fit_run.after_batch(trainer, outputs, divided, batch_idx)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Remember the plain numbers of the module: what counts validations is not set back by a restore."""
        if self._fit_run is not None and self._fit_run.states is not None:
            self._fit_run.states.validation_begins()

    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Let the probes look on at the first batch; before training, keep the first ones for a search."""
        if trainer.sanity_checking and dataloader_idx == 0:
            self._seen_before_training().see_batch(batch, batch_idx)
        if self._fit_run is not None and batch_idx == dataloader_idx == 0:
            self._fit_run.reader.probes.begin_batch(batch)

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """That batch is over."""
        if self._fit_run is not None and batch_idx == dataloader_idx == 0:
            self._fit_run.reader.probes.end_batch()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Take note of what validation logged; decide on it here where it runs at its own pace."""
        if trainer.sanity_checking:
            self._seen_before_training().see_metrics(trainer.callback_metrics)
        if self._fit_run is None or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        if self._fit_run.states is not None:
            self._fit_run.states.validation_ends()
        self._fit_run.reader.after_validation(trainer.callback_metrics)
        self._fit_run.lr_schedule.pauses()
        if not self.checks_on_train_epoch_end:
            self._check(trainer, TrainerState.of(trainer, epoch_over=False))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Decide where a check is an epoch: before the checkpoint of this epoch is written."""
        if self._fit_run is not None:
            self._fit_run.lr_schedule.epoch_ends()
            if not self._fit_run.reader.waits_for_epoch:
                self._epoch_over(trainer)

    def _check_after_module_hook(self, trainer: Any, module: Any) -> None:
        """Decide once the module's own hook has logged what it logs: Lightning calls it after those of callbacks."""
        assert self._fit_run is not None
        log = module.on_train_epoch_end

        def log_then_check(*arguments: Any, **named: Any) -> Any:
            logged = log(*arguments, **named)
            if self._fit_run is not None:
                self._fit_run.rescan(trainer)  # it may add parameter groups as well
            self._epoch_over(trainer)
            return logged

        patch(module, "on_train_epoch_end", log_then_check, self._fit_run.undo)

    def _epoch_over(self, trainer: Any) -> None:
        if self._fit_run is None:
            return
        # A monitor that no validation logs has its value here, and is looked at here.
        if self.checks_on_train_epoch_end or self._fit_run.reader.comes_at_epoch_end(trainer.callback_metrics):
            self._fit_run.reader.fresh_metrics.note(trainer.callback_metrics)
            self._check(trainer, TrainerState.of(trainer, epoch_over=True))

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Say how it went, and leave nothing of ours behind."""
        if self._fit_run is not None and (is_finished(trainer) or self._fit_run.history.ends_with_stop):
            self._fit_run.journal.end()
        self._keep_result(together=True)
        if self._fit_run is not None:
            self._fit_run.say_how_it_went()
        self._end_run()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Leave nothing of ours behind either: after an exception no other hook is called."""
        with suppress(Exception):  # a broken device cannot be read, and the user's own error is the one to see
            self._keep_result(together=False)
        self._end_run()

    def _seen_before_training(self) -> BeforeTraining:
        from lightning_lr.run.lr_search.before_training import BeforeTraining

        self._before_training = self._before_training or BeforeTraining(self.options.may_search)
        return self._before_training

    def _check(self, trainer: Any, trainer_state: TrainerState, train_only: bool = False) -> None:
        assert self._fit_run is not None
        self._epoch_check_missing = False
        with defer_signals():
            decision = self._fit_run.check(trainer_state, train_only)
            if decision is not None and decision.action == "stop" and not self.options.dry_run:
                trainer.should_stop = True

    def _check_missed_epoch(self, trainer: Any) -> None:
        """After a resume: the check of the former epoch, where a callback before ours wrote the checkpoint."""
        assert self._fit_run is not None
        if self._epoch_check_missing and not self._fit_run.reader.watches_training:
            trainer_state = TrainerState.of(trainer, epoch_over=True)
            self._check(trainer, replace(trainer_state, epoch=trainer_state.epoch - 1))
        self._epoch_check_missing = False

    def _keep_result(self, together: bool) -> None:
        """What is asked for after the fit: Lightning, or the user, may write one more checkpoint then."""
        if self._fit_run is not None:
            # The whole history: a checkpoint has no room for more than some fifty.
            self._history, self._state = self._fit_run.history, self.state_dict()
            self._checkpointed = self._to_checkpoint(self._fit_run, together)

    def _to_checkpoint(self, fit_run: FitRun, together: bool = True) -> dict[str, Any]:
        from lightning_lr.run.setup import to_checkpoint

        return to_checkpoint(fit_run, self.options, together)

    def _end_run(self) -> None:
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
        """The arguments as they were given, and what the last fit came to, as plain values: no class but this one.

        A copy, or what is loaded from a pickle, is a callback of its own: it has no part in a fit that is under way.
        """
        added = {name: value for name, value in vars(self).items() if name not in self._OWN}
        decisions = [plain(decision) for decision in self.decisions]
        return {**added, "_arguments": self._arguments, "_state": self.state_dict(), "_decisions": decisions}

    def __setstate__(self, state: dict[str, Any]) -> None:
        values = dict(state)
        LearningRateController.__init__(self, **values["_arguments"])
        self._history = DecisionHistory([decision_from(record) for record in values.pop("_decisions")])
        vars(self).update(values)

    _OWN = frozenset(
        {"options", "log", "log_dict"}
        | {"_fit_run", "_history", "_checkpointed", "_before_training", "_epoch_check_missing", "_stage"}
    )
    """Attributes that are made anew: by the constructor, or by Lightning, which hangs methods of the module on them."""

    def __repr__(self) -> str:
        settings, policy = self.options.settings, self.options.settings.policy
        waits = {c: policy.responses[c].patience for c in STALLED if c in policy.responses}
        alike = len(set(waits.values())) == 1
        each = [f"{n} check{plural(n)}" + ("" if alike else f" ({c})") for c, n in waits.items()]
        said = f", patience={', '.join(each[:1] if alike else each)}" if waits else ""
        watched = f"monitor={list(settings.monitors)}, mode={str(settings.mode)!r}"
        return f"{type(self).__name__}({watched}, policy={policy.name!r}{said})"

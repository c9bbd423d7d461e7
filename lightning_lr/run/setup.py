"""The beginning of a fit: find what there is, say what was found, and continue from a checkpoint if there was one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lightning_lr.engine.history.direction import doubt
from lightning_lr.engine.history.metric_names import validation_losses
from lightning_lr.engine.journal import header_line
from lightning_lr.engine.log_tags import prefix_of
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Condition
from lightning_lr.errors import UnsupportedError
from lightning_lr.loggers.decision_logger import DecisionLog, set_up_card
from lightning_lr.loggers.journal_file import JournalFile, folders_of_run, journal_path
from lightning_lr.optim.controlled_groups import ControlledGroups
from lightning_lr.optim.lr_scale import LRScale
from lightning_lr.run.console import start_line, unanswered_lines
from lightning_lr.run.distributed import Ranks
from lightning_lr.run.fit_run import FitRun, chosen_by_rule
from lightning_lr.run.lr_schedule import LRSchedule
from lightning_lr.run.lr_search.before_training import BeforeTraining, mean_over_ranks
from lightning_lr.run.options import ControllerOptions, Snapshots
from lightning_lr.run.patches import patch
from lightning_lr.run.plan import NONE, begin_plan, plan_run
from lightning_lr.run.readings.check_reader import CheckReader
from lightning_lr.run.readings.probes import Probes, memory_of_ranks
from lightning_lr.run.run_summary import run_summary
from lightning_lr.run.trainer.other_callbacks import anneal_before_stopping
from lightning_lr.run.trainer.state_keeper import StateKeeper
from lightning_lr.run.trainer.step_budget import StepBudget
from lightning_lr.run.trainer.strategies import against_restoring
from lightning_lr.run.trainer.time_budget import time_budget_of
from lightning_lr.run.trainer.trainer_adapter import (
    batches_that_stepped,
    can_stop_early,
    checks_at_epoch_end,
    knows_sanity_check,
    logs_at_epoch_end,
    may_validate,
)
from lightning_lr.snapshot.files import SnapshotFile

Say = Callable[[str], None]
"""Shows a sentence to the user, on rank 0."""


def build_run(
    options: ControllerOptions,
    owner: str,
    trainer: Any,
    module: Any,
    state: Mapping[str, Any],
    checkpointed: Mapping[str, Any],
    before: BeforeTraining | None,
    no_logger: Callable[[], Any],
    say: Say,
    warn: Say,
) -> FitRun:
    """Everything that a fit works with.

    Args:
        options: of the callback.
        owner: name of the callback among several: its scale in the parameter groups stands under it.
        trainer: the Trainer, at ``on_train_start``: optimizers and their states are there.
        module: the LightningModule.
        state: the callback's state from a checkpoint; empty for a new run.
        checkpointed: what :func:`to_checkpoint` added to that checkpoint.
        before: what the sanity check has shown.
        no_logger: makes a logger that takes any call and does nothing.
        say: prints a sentence.
        warn: warns with a sentence.
    """
    settings = _settings_for(options, trainer, warn)
    ranks = Ranks.of(trainer.strategy)
    checked = not state and trainer.num_sanity_val_steps
    held_out = sorted(ranks.union(before.names if before is not None else ())) if checked else ()
    chosen = validation_losses(held_out, held_out) if options.monitor_by_rule else ()
    if chosen not in ((), settings.monitors):
        settings = replace(settings, monitors=chosen)
        warn(chosen_by_rule(chosen))
    run_plan = plan_run(options, trainer, ranks, state)
    settings = _without_plateaus(settings, warn) if run_plan.plateaus else settings
    summary = run_summary(options, settings, run_plan, trainer)
    shown = say if options.verbose else _silent
    groups = ControlledGroups(owner, options.param_groups, settings.min_lr, settings.max_lr, read_only=options.dry_run)
    fit_run = FitRun(
        options=options,
        settings=settings,
        groups=groups,
        ranks=ranks,
        reader=CheckReader(
            settings,
            ranks,
            options.monitor_by_rule,
            held_out,
            may_validate(trainer),
            logs_at_epoch_end(module),
        ),
        lr_schedule=LRSchedule(
            groups,
            ranks,
            steps=batches_that_stepped(trainer),
            budget=run_plan.budget,
            step_budget=StepBudget(trainer),
            time_budget=time_budget_of(trainer) if run_plan.timed else None,
            # Not before `min_epochs`, nor `min_steps`.
            may_end=lambda: run_plan.open_ended and can_stop_early(trainer),
        ),
        journal=_open_journal(options, trainer, ranks, state, header_line(settings, summary), shown, warn),
        log=DecisionLog(trainer.loggers, prefix_of(options.name), warn, settings.detectors),
        summary=summary,
        say=shown,
        warn=warn,
        validation=run_plan.validation,
        untrained=mean_over_ranks(before.metrics, settings.monitors, ranks) if before is not None and not state else {},
        checked_at=batches_that_stepped(trainer),
        global_step=trainer.global_step,
    )
    if not state and not knows_sanity_check([module, *trainer.callbacks]):
        fit_run.reader.refuse_missing()
    fit_run.rescan(trainer)
    if not fit_run.groups.rates():
        warn("No optimizer has a learning rate that could be changed: decisions are only recorded.")
    off = {"search": run_plan.exploration, "annealing": run_plan.curve}
    off = {what: said.removeprefix(NONE) for what, said in off.items() if said.startswith(NONE)}
    for line in (start_line(settings, off, options.dry_run), *unanswered_lines(settings)):
        fit_run.say(line)
    _hide_scale_in_module(fit_run, module)
    first = fit_run.groups.optimizers[0] if fit_run.groups.optimizers else None
    fit_run.reader.probes = Probes.attached(options.probes, module, first, trainer.precision_plugin.val_step_context)
    if (settings.policy.restores or run_plan.searches) and not options.dry_run:
        given, file = options.snapshots or Snapshots(), None
        if given.folder is not None:
            file = SnapshotFile(given.folder, ranks.rank, warn)
            fit_run.undo.callback(file.remove)
        asked = options.restore_best is True
        fit_run.states = StateKeeper(module, trainer, ranks, file, given.limit, asked, warn)
        # Weights may be swapped during a validation, for an average of them, and are swapped back at its end.
        fit_run.waits = not checks_at_epoch_end(trainer)
        if fit_run.waits:
            _finish_after_validation(fit_run, trainer)
    _continue(fit_run, state, checkpointed, warn)
    if run_plan.ends_early and groups.rates() and not options.dry_run:
        anneal_before_stopping(fit_run, trainer)
    begin_plan(fit_run, run_plan, trainer, module, state, before, no_logger)
    if ranks.rank == 0:
        fit_run.log.card(set_up_card(summary), step=batches_that_stepped(trainer))
    return fit_run


def to_checkpoint(fit_run: FitRun, options: ControllerOptions, together: bool = True) -> dict[str, Any]:
    """What a checkpoint carries beside the callback's own state: tensors, and what differs between ranks.

    Args:
        fit_run: of the fit.
        options: of the callback.
        together: whether all ranks are here; after an exception they are not, and no rank may wait for them.
    """
    carries = options.snapshots is not None and options.snapshots.in_checkpoint
    snapshot = fit_run.snapshot if carries else None
    return {
        "readings": fit_run.reader.of_ranks() if together else [],
        "snapshot": snapshot.payload() if snapshot is not None else None,
        **({"file": str(snapshot.file)} if snapshot is not None and snapshot.file is not None else {}),
        # Which of several files belongs to this checkpoint.
        "token": [fit_run.lr_schedule.steps, fit_run.snapshot_check],
        "probes": memory_of_ranks(fit_run.reader.probes, fit_run.ranks) if together else [],
    }


def _settings_for(options: ControllerOptions, trainer: Any, warn: Say) -> Settings:
    """The settings, without what this Trainer cannot give."""
    settings = options.settings
    against = against_restoring(trainer.strategy, trainer.optimizers)
    if against and options.restore_best:
        raise UnsupportedError(
            f"Expected weights that can be put back for `restore_best=True` but got {against}. Leave it out: then the "
            "learning rate is cut without restoring."
        )
    if against and settings.policy.restores:
        warn(f"Nothing can be put back here ({against}): where {settings.policy.name!r} restores, it only reduces.")
        settings = replace(settings, policy=settings.policy.tuned(restores=False))
    if settings.train_monitor and not checks_at_epoch_end(trainer):
        warn(
            f"Checks are made after each validation, where `{settings.train_monitor}` still holds the value of the "
            "epoch before: the loss of `training_step` is used in its place."
        )
        settings = replace(settings, train_monitor=None)
    for sentence in filter(None, (doubt(name, settings.mode) for name in settings.monitors)):
        warn(sentence)
    if trainer.overfit_batches:
        warn("With `overfit_batches` validation sees the training data: the generalization gap means nothing.")
    return settings


def _without_plateaus(settings: Settings, warn: Say) -> Settings:
    """The settings in which plateaus are left to the scheduler that answers them."""
    policy = settings.policy
    if Condition.PLATEAU not in policy.responses:
        return settings
    warn(f"ReduceLROnPlateau answers plateaus: {policy.name!r} leaves them to it.")
    responses = {one: response for one, response in policy.responses.items() if one is not Condition.PLATEAU}
    return replace(settings, policy=replace(policy, responses=responses))


def _continue(fit_run: FitRun, state: Mapping[str, Any], checkpointed: Mapping[str, Any], warn: Say) -> None:
    """From the checkpoint where there was one, else from the start."""
    if state:
        fit_run.load_state_dict(state)
        fit_run.reader.load_of_ranks(checkpointed.get("readings", ()))
        fit_run.reader.probes.load_memory(checkpointed.get("probes", ()), fit_run.ranks)
        payload = checkpointed.get("snapshot")
        # Where each rank has a file of its own, one may be missing: then none of them restores.
        everywhere = fit_run.ranks.sum([float(payload is not None)])[0] == fit_run.ranks.world_size
        if fit_run.states is None:
            fit_run.snapshot_check = state["snapshot_check"]
        elif payload is not None and (everywhere or fit_run.ranks.alone):
            fit_run.snapshot = fit_run.states.resumed(payload)
            fit_run.snapshot_check = state["snapshot_check"] if fit_run.snapshot is not None else None
        elif state["snapshot_check"] is not None:
            warn("The checkpoint carries no snapshot: until the next best, a restore will be a cut without restore.")
    elif fit_run.settings.policy.restores or fit_run.states is not None:
        fit_run.keep_state()


def _finish_after_validation(fit_run: FitRun, trainer: Any) -> None:
    """Once all hooks of a validation are over, and before any of the training runs: others swap weights there too."""
    loop = getattr(trainer.fit_loop.epoch_loop, "val_loop", None)
    if loop is None:
        return  # of a Fabric loop
    run = loop.run

    def validate_then_finish() -> Any:
        logged = run()
        fit_run.finish_postponed()
        return logged

    patch(loop, "run", validate_then_finish, fit_run.undo)


def _hide_scale_in_module(fit_run: FitRun, module: Any) -> None:
    """For schedulers whose class cannot be exchanged: the scheduled rates are shown while the module steps them."""
    if not fit_run.groups.unhidden:
        return
    step: Callable[..., Any] = module.lr_scheduler_step
    for optimizer in fit_run.groups.optimizers:
        step = LRScale.of(optimizer).around(step)
    patch(module, "lr_scheduler_step", step, fit_run.undo)


def _open_journal(
    options: ControllerOptions, trainer: Any, ranks: Ranks, state: Mapping[str, Any], header: str, say: Say, warn: Say
) -> JournalFile:
    """On rank 0 the file; on the others nothing is written."""
    if ranks.rank or options.journal is False:
        return JournalFile(None, header, warn)
    path = journal_path(options.journal, trainer.loggers, trainer.default_root_dir, options.name)
    former = state.get("journal")
    if options.journal is not None and former and former.get("path") != path:
        former = None  # the user asks for another file: the one of the former run stays as it is
    folders = folders_of_run(trainer.loggers, trainer.default_root_dir, trainer.ckpt_path)
    return JournalFile.resumed(former, path, header, warn, folders, say)


def _silent(sentence: str) -> None:
    """Where the user asked for quiet."""

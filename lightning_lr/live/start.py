"""The beginning of a fit: find what there is, say what was found, and continue from a checkpoint if there was one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from lightning_lr.core.controller import Controller
from lightning_lr.core.direction import doubt
from lightning_lr.core.journal import header_line
from lightning_lr.core.settings import Settings
from lightning_lr.core.tags import prefix_of
from lightning_lr.errors import UnsupportedError
from lightning_lr.live.averages import averages_of
from lightning_lr.live.budget import budget_of, steps_taken
from lightning_lr.live.callback_base import say, warn
from lightning_lr.live.controlled_groups import ControlledGroups
from lightning_lr.live.course import Course
from lightning_lr.live.early_stopping import anneal_before_stopping, give_patience
from lightning_lr.live.facts import facts_of
from lightning_lr.live.journal_file import JournalFile, journal_path
from lightning_lr.live.local_tensors import params
from lightning_lr.live.lr_control import LearningRateControl
from lightning_lr.live.moment import may_validate
from lightning_lr.live.open_course import open_course
from lightning_lr.live.opening import opening_of
from lightning_lr.live.pace import pace_of
from lightning_lr.live.probes import Probes, memory_of_ranks
from lightning_lr.live.ranks import Ranks
from lightning_lr.live.reader import Reader
from lightning_lr.live.session import Session
from lightning_lr.live.snapshot import Snapshot
from lightning_lr.live.snapshot_file import SnapshotFile
from lightning_lr.live.strategies import against_restoring
from lightning_lr.live.tensorboard import DecisionLog, set_up_card

if TYPE_CHECKING:
    from lightning_lr.live.controller import LearningRateController


def begin_session(
    callback: LearningRateController,
    trainer: Any,
    module: Any,
    state: Mapping[str, Any],
    checkpointed: Mapping[str, Any],
) -> Session:
    """Everything that a fit works with.

    Args:
        callback: its arguments.
        trainer: the Trainer, at ``on_train_start``: optimizers and their states are there.
        module: the LightningModule.
        state: the callback's state from a checkpoint; empty for a new run.
        checkpointed: what :func:`to_checkpoint` added to that checkpoint.
    """
    settings = _settings_for(callback, trainer)
    ranks = Ranks.of(trainer.strategy)
    opening = opening_of(callback, trainer, ranks, state)
    facts = facts_of(callback, settings, opening, trainer)
    groups = ControlledGroups(
        callback.state_key, callback.optimizers, settings.min_lr, settings.max_lr, read_only=callback.dry_run
    )
    session = Session(
        settings=settings,
        core=Controller(settings),
        groups=groups,
        ranks=ranks,
        reader=Reader(settings, ranks),
        course=Course(
            groups,
            ranks,
            steps=steps_taken(trainer),
            budget=opening.budget,
            limits=partial(budget_of, trainer),
            pace=pace_of(trainer) if opening.timed else None,
            # Not before `min_epochs`, nor `min_steps`.
            may_end=lambda: opening.open_ended and bool(trainer.fit_loop._can_stop_early),
        ),
        journal=_open_journal(callback, trainer, ranks, state, header_line(settings, facts)),
        log=DecisionLog(trainer.loggers, prefix_of(callback.name), warn),
        facts=facts,
        say=say if callback.verbose else _silent,
        dry_run=callback.dry_run,
        check_every=callback.check_every_n_steps,
        validation=opening.validation,
        validates=may_validate(trainer),
        checked_at=steps_taken(trainer),
        counted=trainer.global_step,
    )
    session.rescan(trainer)
    if not session.groups.rates():
        warn("No optimizer has a learning rate that could be changed: decisions are only recorded.")
    _hide_scale_in_module(session, module)
    first = session.groups.optimizers[0] if session.groups.optimizers else None
    session.reader.probes = Probes.attached(callback.probes, module, first, trainer.precision_plugin.val_step_context)
    file: SnapshotFile | None = None
    if (settings.policy.restores or opening.explores) and not callback.dry_run:
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if callback.snapshot_folder is not None:
            file = SnapshotFile(callback.snapshot_folder, ranks.rank, warn)
            session.undo.append(file.remove)
        session.take_snapshot = partial(_take, module, trainer, scaler, file)
        session.restore_snapshot = partial(_restore, module, trainer, scaler)
    _continue(session, state, checkpointed, file)
    if opening.ends_early and groups.rates() and not callback.dry_run:
        anneal_before_stopping(session, trainer)  # before an exploration suspends those callbacks for a while
    open_course(session, opening, trainer, module, state, checkpointed)
    if ranks.rank == 0:
        session.log.card(set_up_card(facts), step=trainer.fit_loop.epoch_loop._batches_that_stepped)
    return session


def to_checkpoint(session: Session, save_snapshot: bool, together: bool = True) -> dict[str, Any]:
    """What a checkpoint carries beside the callback's own state: tensors, and what differs between ranks.

    Args:
        session: of the fit.
        save_snapshot: whether to carry the snapshot.
        together: whether all ranks are here; after an exception they are not, and nobody may wait for them.
    """
    snapshot = session.snapshot.payload() if save_snapshot and session.snapshot is not None else None
    carried: dict[str, Any] = {
        "readings": session.reader.of_ranks() if together else [],
        "snapshot": snapshot,
        # Tells which of several files belongs to this checkpoint.
        "token": [session.course.steps, session.snapshot_check],
        "probes": memory_of_ranks(session.reader.probes, session.ranks) if together else [],
    }
    explorer = session.course.explorer
    if explorer is not None and explorer.batches is not None:
        kept = explorer.kept_batches()
        carried["batches"] = session.ranks.gather_plain(kept) if together else [kept]
    return carried


def _settings_for(callback: LearningRateController, trainer: Any) -> Settings:
    """The settings, without what this Trainer cannot give."""
    settings = callback.settings
    against = against_restoring(trainer.strategy, trainer.optimizers)
    if against and callback.restore_best:
        raise UnsupportedError(
            f"Expected weights that can be put back for `restore_best=True` but got {against}. Leave it out: then the "
            "learning rate is cut without restoring."
        )
    if against and settings.policy.restores:
        warn(f"Nothing can be put back here ({against}): where {settings.policy.name!r} restores, it only reduces.")
        settings = replace(settings, policy=settings.policy.tuned(restores=False))
    if settings.train_monitor and not callback.checks_on_train_epoch_end:
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


def _continue(
    session: Session, state: Mapping[str, Any], checkpointed: Mapping[str, Any], file: SnapshotFile | None
) -> None:
    """From the checkpoint where there was one, else from the start."""
    if state:
        session.load_state_dict(state)
        session.reader.load_of_ranks(checkpointed.get("readings", ()))
        session.reader.probes.load_memory(checkpointed.get("probes", ()), session.ranks)
        payload = checkpointed.get("snapshot")
        # Where each rank has a file of its own, one may be missing: then none of them restores.
        everywhere = session.ranks.sum([float(payload is not None)])[0] == session.ranks.world_size
        if session.take_snapshot is None:
            session.snapshot_check = state["snapshot_check"]
        elif payload is not None and (everywhere or session.ranks.alone):
            snapshot = Snapshot.from_payload(dict(payload))
            session.snapshot = snapshot if file is None else file.keep(snapshot)
            session.snapshot_check = state["snapshot_check"]
        elif state["snapshot_check"] is not None:
            warn("The checkpoint carries no snapshot: until the next best, a restore will be a cut without restore.")
    elif session.settings.policy.restores or session.take_snapshot is not None:
        session.keep_state()


def _take(module: Any, trainer: Any, scaler: Any, file: SnapshotFile | None, former: Snapshot | None) -> Snapshot:
    averages = averages_of(trainer.callbacks)
    if file is not None:
        return file.keep(Snapshot.now(module, trainer.optimizers, scaler, averages))
    return Snapshot.take(module, trainer.optimizers, scaler, reuse=former, averages=averages)


def _restore(module: Any, trainer: Any, scaler: Any, snapshot: Snapshot) -> tuple[str, ...]:
    notes = snapshot.restore(module, trainer.optimizers, scaler, averages_of(trainer.callbacks))
    for gradient in (param.grad for optimizer in trainer.optimizers for param in params(optimizer)):
        if gradient is not None:
            # In the middle of an accumulation it is a gradient of the weights that went, and may be no number.
            gradient.zero_()
    give_patience(trainer.callbacks)
    return notes


def _hide_scale_in_module(session: Session, module: Any) -> None:
    """For schedulers whose class cannot be exchanged: the scheduled rates are shown while the module steps them."""
    if not session.groups.unhidden:
        return
    plain: Callable[..., Any] = module.lr_scheduler_step
    step = plain
    for optimizer in session.groups.optimizers:
        step = LearningRateControl.of(optimizer).around(step)
    module.lr_scheduler_step = step
    session.undo.append(lambda: module.__dict__.pop("lr_scheduler_step", None))


def _open_journal(
    callback: LearningRateController, trainer: Any, ranks: Ranks, state: Mapping[str, Any], header: str
) -> JournalFile:
    """On rank 0 the file; on the others nothing is written."""
    if ranks.rank:
        return JournalFile(None, header, warn)
    path = journal_path(callback.journal, trainer.loggers, trainer.default_root_dir, callback.name)
    former = state.get("journal")
    if callback.journal is not None and former and former.get("path") != str(path):
        former = None  # the user asks for another file: the one of the former run stays as it is
    return JournalFile.resumed(former, path, header, warn)


def _silent(sentence: str) -> None:
    """Where the user asked for quiet."""

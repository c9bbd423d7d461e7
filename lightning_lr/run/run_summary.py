"""What the set-up card and the journal's header tell of a run: what is watched, when, and how it is answered."""

from __future__ import annotations

from typing import Any

from lightning_lr.__about__ import __version__
from lightning_lr.engine.history.run_history import TRAIN_LOSS, same_quantity
from lightning_lr.engine.policies import EpochPolicy
from lightning_lr.engine.settings import Settings
from lightning_lr.run.check_interval import steps_between_checks
from lightning_lr.run.options import ControllerOptions
from lightning_lr.run.plan import RunPlan
from lightning_lr.run.trainer.trainer_adapter import checks_at_epoch_end


def run_summary(options: ControllerOptions, settings: Settings, run_plan: RunPlan, trainer: Any) -> dict[str, str]:
    """What the set-up card and the journal's header tell."""
    train = settings.train_monitor or TRAIN_LOSS
    same = [name for name in settings.monitors if same_quantity(name, train, settings.mode)]
    check = "the end of each training epoch" if checks_at_epoch_end(trainer) else "each validation"
    train_only = steps_between_checks(options.check_every_n_steps, run_plan.budget, run_plan.validation)
    if train_only is not None and not isinstance(settings.policy, EpochPolicy):
        check += f", and on the training loss alone after each {train_only} steps without one"
    return {
        "version": __version__,
        "monitors": f"{', '.join(settings.monitors)} ({settings.mode}); {settings.vote} of them must agree",
        "training side": f"{train}; gap to it: {', '.join(same) or 'none, opposite trends take its place'}",
        "a check": f"{check}; all counts are counts of checks",
        "search": run_plan.exploration,
        "curve": run_plan.curve,
        "policy": f"{settings.policy.name}{' (dry run: nothing is changed)' if options.dry_run else ''}",
        **{f"on {condition}": _response(r) for condition, r in settings.policy.responses.items()},
        "probes": ", ".join(type(probe).__name__ for probe in options.probes) or "none",
        "optimizers": ", ".join(type(optimizer).__name__ for optimizer in trainer.optimizers) or "none",
        "schedulers": _schedulers(trainer),
        "ranks": str(getattr(trainer.strategy, "world_size", 1)),
    }


def _response(response: Any) -> str:
    after = f" after {response.patience} checks in a row" if response.patience > 1 else " at once"
    return f"{response.action}, learning rate × {response.factor:g},{after}"


def _schedulers(trainer: Any) -> str:
    found = [f"{type(c.scheduler).__name__} each {c.interval}" for c in trainer.lr_scheduler_configs]
    if not found:
        return "none; the applied rate is the optimizer's own × scale"
    return f"{', '.join(found)}; the applied rate is theirs × scale, and they never see the scale"

"""How a run begins: exploration, and the curve over its budget, or where a resumed run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from lightning_lr.engine.lr_search.plan import Exploration, plan_exploration
from lightning_lr.engine.lr_search.range_test import LOWEST
from lightning_lr.engine.schedule import Curve
from lightning_lr.run.distributed import Ranks
from lightning_lr.run.fit_run import FitRun
from lightning_lr.run.plan import RunPlan
from lightning_lr.run.search_run import PART, LRSearch, saved_plan
from lightning_lr.run.trainer.batch_cache import BatchCache
from lightning_lr.run.trainer.pause_callbacks import PausedCallbacks
from lightning_lr.run.trainer.time_budget import FIRST


def lay_out(
    fit_run: FitRun,
    run_plan: RunPlan,
    trainer: Any,
    module: Any,
    state: Mapping[str, Any],
    checkpointed: Mapping[str, Any],
) -> None:
    """Begin to explore, and lay the curve over the budget, where this run does so; a resumed run goes on."""
    lr_schedule, exploring = fit_run.lr_schedule, state.get("searching")
    if state:
        _move_end(fit_run, run_plan, state)
    if run_plan.timed and (not state or state.get("waiting_for_budget")):
        lr_schedule.on_budget_known = partial(_lay_out, fit_run, run_plan, trainer, module)
        lr_schedule.budget_known_at = lr_schedule.steps + FIRST
        if run_plan.searches and not fit_run.dry_run and fit_run.groups.rates():
            # The very start is restored after the sweep: until then each step is as small as the sweep's first.
            _suspend(fit_run, trainer)
            fit_run.groups.set_part(PART, 1.0)
            fit_run.groups.set_part(PART, LOWEST / next(iter(fit_run.groups.rates().values())).applied)
    elif not state:
        _lay_out(fit_run, run_plan, trainer, module, run_plan.budget)
    elif exploring and not fit_run.dry_run:
        lr_search = _explore(fit_run, saved_plan(exploring), trainer, module)
        lr_search.load_state_dict(exploring)
        lr_search.load_batches(_of_rank(checkpointed.get("batches"), ranks=fit_run.ranks))


def _lay_out(fit_run: FitRun, run_plan: RunPlan, trainer: Any, module: Any, budget: int | None) -> None:
    """Begin to explore, and lay the curve over the budget, where this run does so."""
    if fit_run.dry_run:
        return
    lr_schedule = fit_run.lr_schedule
    if lr_schedule.paused_callbacks is not None:
        lr_schedule.paused_callbacks.end()
        lr_schedule.paused_callbacks = None
        fit_run.groups.set_part(PART, 1.0)
    if run_plan.anneals and budget is not None:
        lr_schedule.curve = Curve(first=lr_schedule.steps, budget=budget)
    plan = plan_exploration(budget) if run_plan.searches else None
    if plan is not None and fit_run.groups.rates():
        _explore(fit_run, plan, trainer, module)


def _explore(fit_run: FitRun, plan: Exploration, trainer: Any, module: Any) -> LRSearch:
    """Begin to explore; callbacks that judge wait for its end."""
    lr_schedule, batches = fit_run.lr_schedule, partial(BatchCache, module)
    lr_schedule.lr_search = LRSearch(plan, fit_run.groups, fit_run.ranks, fit_run.restore_start, batches)
    fit_run.undo.callback(lr_schedule.lr_search.detach)
    _suspend(fit_run, trainer)
    return lr_schedule.lr_search


def _suspend(fit_run: FitRun, trainer: Any) -> None:
    fit_run.lr_schedule.paused_callbacks = PausedCallbacks(trainer.callbacks)
    fit_run.undo.callback(fit_run.lr_schedule.paused_callbacks.end)


def _move_end(fit_run: FitRun, run_plan: RunPlan, state: Mapping[str, Any]) -> None:
    """A run that is resumed with more epochs, or more time, has another end: its curve is laid anew."""
    lr_schedule = fit_run.lr_schedule
    if lr_schedule.time_budget is None:
        budget = lr_schedule.shortened(run_plan.budget)
        moved = budget is not None and budget != lr_schedule.budget
        lr_schedule.budget = budget
    else:
        moved = lr_schedule.time_budget.load_state_dict(state["time_budget"]) if state.get("time_budget") else True
        if moved:
            lr_schedule.agree_on_budget()
    lr_schedule.moved()
    if moved and lr_schedule.curve is not None and lr_schedule.budget is not None:
        lr_schedule.curve = replace(lr_schedule.curve, budget=lr_schedule.budget, bend=None)
        lr_schedule.annealing = lr_schedule.steps >= lr_schedule.curve.anneals_from
        fit_run.say(f"The budget is now {lr_schedule.budget} steps: the learning rate falls to zero at that end.")


def _of_rank(batches: list[Any] | None, ranks: Ranks) -> Any:
    """This rank's own batches; where a checkpoint has not those of all ranks, each goes on with fresh ones."""
    return batches[ranks.rank] if batches is not None and len(batches) == ranks.world_size else None

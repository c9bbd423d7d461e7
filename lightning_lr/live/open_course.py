"""How a run begins: exploration, and the curve over its budget, or where a resumed run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from lightning_lr.core.annealing import Curve
from lightning_lr.core.exploration import Exploration, plan_exploration
from lightning_lr.core.sweep import LOWEST
from lightning_lr.live.explorer import PART, Explorer, saved_plan
from lightning_lr.live.opening import Opening
from lightning_lr.live.pace import FIRST
from lightning_lr.live.ranks import Ranks
from lightning_lr.live.replayed_batches import ReplayedBatches
from lightning_lr.live.session import Session
from lightning_lr.live.suspension import Suspension


def open_course(
    session: Session,
    opening: Opening,
    trainer: Any,
    module: Any,
    state: Mapping[str, Any],
    checkpointed: Mapping[str, Any],
) -> None:
    """Begin to explore, and lay the curve over the budget, where this run does so; a resumed run goes on."""
    course, exploring = session.course, state.get("exploring")
    if state:
        _move_end(session, opening, state)
    if opening.timed and (not state or state.get("opening")):
        course.opens = partial(_lay_out, session, opening, trainer, module)
        course.opens_at = course.steps + FIRST
        if opening.explores and not session.dry_run and session.groups.rates():
            # The very start is restored after the sweep: until then each step is as small as the sweep's first.
            course.suspension = Suspension(trainer.callbacks)
            session.groups.set_part(PART, 1.0)
            session.groups.set_part(PART, LOWEST / next(iter(session.groups.rates().values())).applied)
    elif not state:
        _lay_out(session, opening, trainer, module, opening.budget)
    elif exploring and not session.dry_run:
        explorer = _explore(session, saved_plan(exploring), trainer, module)
        explorer.load_state_dict(exploring)
        explorer.load_batches(_of_rank(checkpointed.get("batches"), ranks=session.ranks))


def _lay_out(session: Session, opening: Opening, trainer: Any, module: Any, budget: int | None) -> None:
    """Begin to explore, and lay the curve over the budget, where this run does so."""
    if session.dry_run:
        return
    course = session.course
    if course.suspension is not None:
        course.suspension.end()
        course.suspension = None
        session.groups.set_part(PART, 1.0)
    if opening.anneals and budget is not None:
        course.curve = Curve(first=course.steps, budget=budget)
    plan = plan_exploration(budget) if opening.explores else None
    if plan is not None and session.groups.rates():
        _explore(session, plan, trainer, module)


def _explore(session: Session, plan: Exploration, trainer: Any, module: Any) -> Explorer:
    """Begin to explore; callbacks that judge wait for its end."""
    course, batches = session.course, partial(ReplayedBatches, module)
    course.explorer = Explorer(plan, session.groups, session.ranks, session.restore_start, batches)
    session.undo.append(course.explorer.detach)
    course.suspension = Suspension(trainer.callbacks)
    return course.explorer


def _move_end(session: Session, opening: Opening, state: Mapping[str, Any]) -> None:
    """A run that is resumed with more epochs, or more time, has another end: its curve is laid anew."""
    course = session.course
    if course.pace is None:
        budget = course.shortened(opening.budget)
        moved = budget is not None and budget != course.budget
        course.budget = budget
    else:
        moved = course.pace.load_state_dict(state["pace"]) if state.get("pace") else True
        if moved:
            course.agree_on_budget()
    course.moved()
    if moved and course.curve is not None and course.budget is not None:
        course.curve = replace(course.curve, budget=course.budget, bend=None)
        course.annealing = course.steps >= course.curve.anneals_from
        session.say(f"The budget is now {course.budget} steps: the learning rate falls to zero at that end.")


def _of_rank(batches: list[Any] | None, ranks: Ranks) -> Any:
    """This rank's own batches; where a checkpoint has not those of all ranks, each goes on with fresh ones."""
    return batches[ranks.rank] if batches is not None and len(batches) == ranks.world_size else None

"""By what rule the rate changes: the peers, from their own packages where they have one, and ours.

Every method trains for the same number of steps. What it does beside them is charged: the steps of Lightning's finder
and the forward passes that Schedule-Free needs for batch norm shorten the run beforehand, those of our callback while
it runs.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

from benchmarks.any_start.rules import DlibRule, GiveUp, GreedyRule, ScheduleFreeModes
from benchmarks.any_start.tasks import Task

WARM_UP = 0.05


@dataclass(frozen=True)
class Plan:
    """What a method may know when it starts: the task, the rate that the user wrote down, and the steps it has."""

    task: Task
    lr: float
    steps: int


Configure = Callable[[Plan, Iterable[nn.Parameter]], Any]


@dataclass(frozen=True)
class Method:
    """One way to set the learning rate.

    Attributes:
        name: as in the results.
        configure: what ``configure_optimizers`` returns.
        callbacks: what the Trainer gets.
        package: where the rule comes from, when neither torch nor Lightning.
        ignores_start: the start makes no difference: one run counts for all of them.
        finds_lr: Lightning's ``lr_find`` runs first, and its steps shorten the run.
        forwards: forward passes beside those of training and validation are counted and charged by shortening the run.
        ours: has our callback.
    """

    name: str
    configure: Configure
    callbacks: Callable[[Plan], list[pl.Callback]] = lambda plan: [GiveUp()]
    package: str = ""
    ignores_start: bool = False
    finds_lr: bool = False
    forwards: bool = False
    ours: bool = False


def plain(plan: Plan, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimizer of the task at the rate that it was given, and nothing else."""
    if plan.task.optimizer == "sgd":
        return torch.optim.SGD(parameters, plan.lr, momentum=0.9, weight_decay=plan.task.weight_decay)
    return ADAPTIVE[plan.task.optimizer](parameters, lr=plan.lr, weight_decay=plan.task.weight_decay)


ADAPTIVE: dict[str, Callable[..., Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
}


def _each_step(optimizer: Optimizer, scheduler: Any) -> dict[str, Any]:
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def cosine(plan: Plan, parameters: Iterable[nn.Parameter]) -> Any:
    """Linear warm-up over 5 %, cosine to zero."""
    from transformers.optimization import get_cosine_schedule_with_warmup

    optimizer = plain(plan, parameters)
    return _each_step(optimizer, get_cosine_schedule_with_warmup(optimizer, round(WARM_UP * plan.steps), plan.steps))


def one_cycle(plan: Plan, parameters: Iterable[nn.Parameter]) -> Any:
    """``OneCycleLR`` as torch ships it, the rate given being its highest."""
    optimizer = plain(plan, parameters)
    return _each_step(optimizer, OneCycleLR(optimizer, plan.lr, total_steps=plan.steps))


def wsd(plan: Plan, parameters: Iterable[nn.Parameter]) -> Any:
    """Linear warm-up over 5 %, then level, linear to zero over the last 30 %."""
    from transformers.optimization import get_wsd_schedule

    optimizer = plain(plan, parameters)
    return _each_step(
        optimizer,
        get_wsd_schedule(
            optimizer, round(WARM_UP * plan.steps), round(0.3 * plan.steps), plan.steps, decay_type="linear"
        ),
    )


def plateau(plan: Plan, parameters: Iterable[nn.Parameter]) -> Any:
    """``ReduceLROnPlateau(factor=0.1)`` on the validation loss; a patience of a tenth of the epochs, at least 3.

    (Its default of 10 would leave most of these short runs alone.)
    """
    optimizer = plain(plan, parameters)
    scheduler = ReduceLROnPlateau(optimizer, factor=0.1, patience=max(3, plan.task.epochs // 10))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss"}}


def schedule_free(plan: Plan, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """With the warm-up that its README asks for."""
    import schedulefree  # type: ignore[import-untyped]

    common = {"lr": plan.lr, "weight_decay": plan.task.weight_decay, "warmup_steps": round(WARM_UP * plan.steps)}
    if plan.task.optimizer == "sgd":
        return schedulefree.SGDScheduleFree(parameters, momentum=0.9, **common)  # type: ignore[no-any-return]
    return schedulefree.AdamWScheduleFree(parameters, **common)  # type: ignore[no-any-return]


def prodigy(plan: Plan, parameters: Iterable[nn.Parameter]) -> Any:
    """Its defaults (a rate of 1, always) with the cosine that its README recommends; on SGD's tasks too."""
    from prodigyopt import Prodigy  # type: ignore[import-untyped]

    optimizer = Prodigy(parameters, weight_decay=plan.task.weight_decay)
    return _each_step(optimizer, CosineAnnealingLR(optimizer, plan.steps))


PEERS = {
    method.name: method
    for method in (
        Method("constant", plain),
        Method("cosine", cosine, package="transformers"),
        Method("one-cycle", one_cycle),
        Method("wsd", wsd, package="transformers"),
        Method("plateau", plateau),
        Method("greedy", plain, lambda plan: [GreedyRule(), GiveUp()], package="transformers"),
        Method("dlib", plain, lambda plan: [DlibRule(plan.steps)]),
        Method(
            "schedule-free",
            schedule_free,
            lambda plan: [ScheduleFreeModes(), GiveUp()],
            package="schedulefree",
            forwards=True,
        ),
        Method("prodigy", prodigy, package="prodigyopt", ignores_start=True),
        Method("finder+cosine", cosine, package="transformers", ignores_start=True, finds_lr=True),
        Method("finder+one-cycle", one_cycle, ignores_start=True, finds_lr=True),
    )
}


def method_named(name: str) -> Method:
    """A peer, ours (``auto``, ``auto(find_lr=False)``), or ours on top of a peer (``cosine+auto``).

    What stands before the bracket is the policy, what stands in it are further arguments of ``LearningRateController``.
    """
    if name in PEERS:
        return PEERS[name]
    for peer in sorted(PEERS, key=len, reverse=True):
        if name.startswith(f"{peer}+"):
            below, above = PEERS[peer], _ours(name, name[len(peer) + 1 :])
            return _on_top(name, below, above)
    return _ours(name, name)


def _on_top(name: str, below: Method, above: Method) -> Method:
    def callbacks(plan: Plan) -> list[pl.Callback]:
        return [*below.callbacks(plan), *above.callbacks(plan)]

    return replace(below, name=name, callbacks=callbacks, ours=True)


def _ours(name: str, call: str) -> Method:
    policy, options = parse_call(call)

    def callbacks(plan: Plan) -> list[pl.Callback]:
        from lightning_lr import LearningRateController

        return [LearningRateController(**{"monitor": "val_loss", "policy": policy, "verbose": False, **options})]

    return Method(name, plain, callbacks, forwards=True, ours=True)


def parse_call(call: str) -> tuple[str, dict[str, Any]]:
    """``auto(find_lr=False)`` → ``"auto", {"find_lr": False}``; plain values only."""
    try:
        tree = ast.parse(call, mode="eval").body
        if isinstance(tree, ast.Name):
            return tree.id, {}
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and not tree.args:
            return tree.func.id, {str(word.arg): ast.literal_eval(word.value) for word in tree.keywords}
    except (SyntaxError, ValueError):
        pass
    raise SystemExit(f"no method {call!r}: neither one of {', '.join(PEERS)}, nor policy or policy(option=value, ...)")

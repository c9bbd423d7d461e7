"""A rate that somebody writes between two steps is scaled before the next step uses it, and never twice."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch.distributed.checkpoint.state_dict import _init_optim_state

from lightning_lr.optim.lr_scale import LRScale


def an_optimizer(*rates: float | torch.Tensor) -> torch.optim.SGD:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.ones(1))], "lr": rate} for rate in rates], lr=1.0)


def controlled(optimizer: torch.optim.Optimizer, scale: float = 0.5) -> LRScale:
    control = LRScale.of(optimizer)
    control.attach([])
    control.multiply("us", scale)
    return control


def used(optimizer: torch.optim.Optimizer) -> list[float]:
    """Step, and return the rates that the step found: hooks run in the order in which they were registered."""
    seen: list[float] = []
    handle = optimizer.register_step_pre_hook(lambda o, a, k: seen.extend(float(g["lr"]) for g in o.param_groups))
    optimizer.step()
    handle.remove()
    return seen


@dataclass(frozen=True)
class Write:
    """What a writer does to the group at step t, and the rate that the step must use with a scale of 0.5."""

    name: str
    write: Callable[[dict, int], None]
    expected: Callable[[int], float]


def set_to(rate: Callable[[int], float]) -> Callable[[dict, int], None]:
    return lambda group, t: group.update(lr=rate(t))


def multiply(factor: float) -> Callable[[dict, int], None]:
    return lambda group, t: group.update(lr=group["lr"] * factor)


WRITES = (
    Write("the same rate each time", set_to(lambda t: 0.1), lambda t: 0.05),
    Write("a warm-up", set_to(lambda t: 0.1 * (t + 1)), lambda t: 0.05 * (t + 1)),
    Write("a milestone, by a formula", set_to(lambda t: 0.1 * 0.1 ** (t // 4)), lambda t: 0.05 * 0.1 ** (t // 4)),
    Write("a decay by its formula", set_to(lambda t: 0.1 * 0.9**t), lambda t: 0.05 * 0.9**t),
    Write("a decay of what is there", multiply(0.95), lambda t: 0.05 * 0.95 ** (t + 1)),
    Write("a rise of what is there", multiply(1.1), lambda t: 0.05 * 1.1 ** (t + 1)),
    Write("a milestone, by a factor", multiply(0.1), lambda t: 0.05 * 0.1 ** (t + 1)),
    Write("nothing", lambda group, t: None, lambda t: 0.05),
)


@pytest.mark.parametrize("case", WRITES, ids=lambda case: case.name)
def test_the_step_uses_the_scaled_rate(case: Write) -> None:
    """Whoever writes, and however often: the scale is in the step's rate exactly once."""
    optimizer = an_optimizer(0.1)
    controlled(optimizer)
    for t in range(8):
        case.write(optimizer.param_groups[0], t)
        assert used(optimizer) == pytest.approx([case.expected(t)], rel=1e-12)


def test_a_bound_holds_at_the_step_too() -> None:
    """``max_lr`` holds whatever the rate comes from, with a scale of 1 as well."""
    optimizer = an_optimizer(0.1)
    control = LRScale.of(optimizer)
    control.attach([])
    control.set_bounds("us", max_lr=0.2)
    optimizer.param_groups[0]["lr"] = 0.9
    assert used(optimizer) == [0.2]


def test_a_frozen_group_does_not_hide_the_others() -> None:
    """A rate of 0 stays 0, and the group beside it is scaled."""
    optimizer = an_optimizer(0.1, 0.1)
    controlled(optimizer)
    for group, rate in zip(optimizer.param_groups, (0.0, 0.2), strict=True):
        group["lr"] = rate
    assert used(optimizer) == [0.0, 0.1]


def test_the_trial_step_of_distributed_checkpoints_is_not_followed() -> None:
    """It steps with rates of 0 and puts the old ones back: they hold the scale already."""
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    control = controlled(optimizer)
    _init_optim_state(optimizer)
    assert optimizer.state, "it made a step"
    assert used(optimizer) == [0.05]
    assert control.take_notes() == []


def test_copies_are_not_controlled_nor_is_the_optimizer_after_the_fit() -> None:
    optimizer = an_optimizer(0.1)
    control = controlled(optimizer)
    twin = copy.deepcopy(optimizer)
    twin.param_groups[0]["lr"] = 0.1
    assert used(twin) == [0.1]
    pickle.dumps(optimizer)
    control.detach()
    control.detach()
    optimizer.param_groups[0]["lr"] = 0.1
    assert used(optimizer) == [0.1]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_compiled_step_is_not_compiled_anew_for_each_rate() -> None:
    """The hook leaves compiled code alone; what it would have found is found at the next look."""
    torch._dynamo.reset()
    optimizer = an_optimizer(torch.tensor(0.1, dtype=torch.float64))
    control = controlled(optimizer)
    optimizer.param_groups[0]["params"][0].grad = torch.ones(1)
    compiles = []
    step = torch.compile(optimizer.step, backend=lambda graph, inputs: compiles.append(1) or graph.forward)
    for _ in range(3):
        step()
    before = len(compiles)
    for t in range(3):
        optimizer.param_groups[0]["lr"].fill_(0.1 * 0.9**t)
        assert len(control.take_notes()) <= 1
        step()
    assert len(compiles) == before


@pytest.mark.parametrize("hooks", [{"_optimizer_step_pre_hooks": {}}, {}], ids=["a plain dict", "none"])
def test_a_wrapper_without_room_for_a_hook_is_scaled_all_the_same(hooks: dict) -> None:
    """As Lookahead of several packages: a subclass that takes over the groups, and calls no `__init__` of torch."""

    class Wrapper(torch.optim.Optimizer):
        def __init__(self, inner: torch.optim.Optimizer) -> None:
            self.param_groups, self.state, self.defaults = inner.param_groups, inner.state, inner.defaults
            vars(self).update(copy.copy(hooks))

    optimizer = Wrapper(an_optimizer(0.1))
    controlled(optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.05

"""A cut must survive every scheduler, exactly: in a plain loop, the applied rate of every step is scale × schedule."""

from __future__ import annotations

import copy
import gc
import io
import weakref
from unittest.mock import Mock

import pytest
import torch
from torch.optim import SGD, lr_scheduler

from lightning_lr.optim.lr_scale import LRScale
from tests.helpers.schedulers import CASES, TOTAL, SchedulerCase

HALF = TOTAL // 2  # where the cosines reach T_max


def an_optimizer() -> SGD:
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in (0.1, 0.02)]
    return SGD(groups, lr=0.1, momentum=0.9)


def build(case: SchedulerCase):
    if case.requires:
        pytest.importorskip(case.requires)
    optimizer = an_optimizer()
    return optimizer, case.build(optimizer, TOTAL)


def held(optimizer) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


def reference(case: SchedulerCase) -> list[list[float]]:
    """The rates of every step without us."""
    optimizer, scheduler = build(case)
    rates = []
    for _ in range(TOTAL):
        rates.append(held(optimizer))
        optimizer.step()
        case.step(scheduler)
    return rates


def controlled(case: SchedulerCase, factors: dict[int, float], stops: tuple[int, ...] = ()) -> list[list[float]]:
    """The rates of every step, with a factor at some, and the run saved and resumed from nothing before some others."""
    optimizer, scheduler = build(case)
    control = LRScale.of(optimizer)
    assert control.attach([scheduler]) == []
    rates = []
    for step in range(TOTAL):
        if step in stops:
            ours = through_a_file([optimizer.state_dict(), control.state("us")])
            theirs = copy.deepcopy(scheduler.state_dict())  # what SWALR saves in torch 2.6 holds a function
            optimizer, scheduler = build(case)
            optimizer.load_state_dict(ours[0])
            scheduler.load_state_dict(theirs)
            control = LRScale.of(optimizer)
            assert control.load("us", ours[1]) == []
            assert control.attach([scheduler]) == []
        if step in factors:
            control.multiply("us", factors[step])
        rates.append(held(optimizer))
        optimizer.step()
        case.step(scheduler)
        assert control.take_notes() == [], "a scheduler's own write is no outside write"
    return rates


def through_a_file(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def scaled(rates: list[list[float]], factors: dict[int, float]) -> list[list[float]]:
    """The reference rates × all factors so far."""
    scale, out = 1.0, []
    for step, row in enumerate(rates):
        scale *= factors.get(step, 1.0)
        out.append([rate * scale for rate in row])
    return out


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(
    "factors",
    [
        pytest.param({}, id="nothing"),
        pytest.param({0: 0.1}, id="at the start"),
        pytest.param({5: 0.5}, id="in the first quarter"),
        pytest.param({HALF - 1: 0.1}, id="one before T_max"),
        pytest.param({HALF: 0.1}, id="at T_max"),
        pytest.param({HALF + 1: 0.1}, id="one after T_max"),
        pytest.param({3: 0.5, 9: 0.1, 18: 4.0}, id="two cuts and a raise"),
    ],
)
def test_applied_rate_is_scale_times_schedule(case: SchedulerCase, factors: dict[int, float]) -> None:
    """Not to rounding but to the last bit: the scheduler computes with the numbers it would have had without us."""
    unscaled = reference(case)
    rates = controlled(case, factors)
    assert rates == scaled(unscaled, factors)
    assert all(
        rate > 0 or plain == 0
        for row, ref in zip(rates, unscaled, strict=True)
        for rate, plain in zip(row, ref, strict=True)
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_resumed_run_is_the_uninterrupted_one(case: SchedulerCase) -> None:
    # step      0 … 5    6       9     12     18    20 …
    #               ×0.5 stop    ×0.1  stop   ×4    stop (optimizer, scheduler and control are all new)
    factors = {5: 0.5, 9: 0.1, 18: 4.0}
    assert controlled(case, factors, stops=(6, HALF, 20)) == controlled(case, factors)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_attached_scheduler_is_still_what_it_was(case: SchedulerCase) -> None:
    """Whoever looks at the scheduler, or saves it, finds nothing of ours."""
    optimizer, scheduler = build(case)
    plain = type(scheduler)
    keys, name = scheduler.state_dict().keys(), repr(scheduler).split(" at ")[0]
    control = LRScale.of(optimizer)
    control.attach([scheduler])

    assert isinstance(scheduler, plain)
    assert (type(scheduler).__name__, type(scheduler).__qualname__) == (plain.__name__, plain.__qualname__)
    assert scheduler.state_dict().keys() == keys
    assert repr(scheduler).split(" at ")[0] == name
    assert type(copy.copy(scheduler)) is plain

    control.detach()
    assert type(scheduler) is plain


# torch marks the optimizer object that a scheduler was built for, and a copy of it has no such mark
@pytest.mark.filterwarnings("ignore:Seems like `optimizer.step..` has been overridden:UserWarning")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_copy_of_a_running_scheduler_runs_on_its_own(case: SchedulerCase) -> None:
    optimizer, scheduler = build(case)
    control = LRScale.of(optimizer)
    control.attach([scheduler])
    twin_optimizer, twin = copy.deepcopy((optimizer, scheduler))
    control.multiply("us", 0.1)
    expected = reference(case)
    for step in range(TOTAL):
        assert held(twin_optimizer) == expected[step]
        twin_optimizer.step()
        case.step(twin)
    assert held(optimizer) == [rate * 0.1 for rate in expected[0]], "the copy must not move the original"


def test_detached_scheduler_leaves_the_applied_rate_and_takes_over() -> None:
    optimizer = an_optimizer()
    scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    control = LRScale.of(optimizer)
    control.attach([scheduler])
    control.multiply("us", 0.1)
    control.detach()
    control.detach()
    assert held(optimizer) == [0.1 * 0.1, 0.02 * 0.1]
    optimizer.step()
    scheduler.step()
    assert held(optimizer) == [0.1 * 0.1 * 0.5, 0.02 * 0.1 * 0.5]


def test_attaching_twice_scales_once() -> None:
    optimizer = an_optimizer()
    scheduler = lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
    control = LRScale.of(optimizer)
    assert control.attach([scheduler]) == control.attach([scheduler, scheduler]) == []
    control.multiply("us", 0.1)
    optimizer.step()
    scheduler.step()
    assert held(optimizer) == [0.05 * 0.1, 0.01 * 0.1]


def test_schedulers_inside_one_another_may_all_be_attached() -> None:
    """The inner steps run while the outer one runs; only the outermost restores and scales."""
    optimizer = an_optimizer()
    warmup = lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=4)
    decay = lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
    outer = lr_scheduler.SequentialLR(optimizer, [warmup, decay], milestones=[4])
    plain = an_optimizer()
    plain_outer = lr_scheduler.SequentialLR(
        plain,
        [
            lr_scheduler.LinearLR(plain, start_factor=0.1, total_iters=4),
            lr_scheduler.ExponentialLR(plain, gamma=0.9),
        ],
        milestones=[4],
    )
    control = LRScale.of(optimizer)
    assert control.attach([outer, warmup, decay]) == []
    control.multiply("us", 0.1)
    for _ in range(8):
        for one, its_scheduler in ((optimizer, outer), (plain, plain_outer)):
            one.step()
            its_scheduler.step()
        assert held(optimizer) == [rate * 0.1 for rate in held(plain)]


class StepUpdate:
    """A scheduler as timm has them: no base class of torch's, and a second method for updates."""

    def __init__(self, optimizer) -> None:
        self.optimizer = optimizer

    def step(self, epoch: int) -> None:
        self.write(0.1 / (1 + epoch))

    def step_update(self, num_updates: int) -> None:
        self.write(0.2 / (1 + num_updates))

    def write(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate


def test_step_update_is_guarded_too() -> None:
    optimizer = an_optimizer()
    scheduler = StepUpdate(optimizer)
    control = LRScale.of(optimizer)
    assert control.attach([scheduler]) == []
    control.set_scale("us", 0.5)
    scheduler.step(1)
    assert held(optimizer) == [0.025, 0.025]
    scheduler.step_update(3)
    assert held(optimizer) == [0.025, 0.025]
    scheduler.step_update(0)
    assert held(optimizer) == [0.1, 0.1]


def test_a_step_that_is_patched_later_is_honoured(monkeypatch) -> None:
    """As by ``mock.patch``, a reloaded module or IPython's autoreload, which exchange methods of the class in place."""
    optimizer = an_optimizer()
    scheduler = StepUpdate(optimizer)
    control = LRScale.of(optimizer)
    control.attach([scheduler])
    control.set_scale("us", 0.5)
    monkeypatch.setattr(StepUpdate, "step", lambda self, epoch: self.write(0.3))
    scheduler.step(1)
    assert held(optimizer) == [0.15, 0.15]
    control.detach()
    control.attach([scheduler])
    monkeypatch.setattr(StepUpdate, "step", lambda self, epoch: self.write(0.4))
    scheduler.step(1)
    assert held(optimizer) == [0.2, 0.2]


@pytest.mark.parametrize("unbound", [staticmethod, lambda function: Mock(side_effect=function)])
def test_a_step_that_does_not_bind_is_called_without_the_scheduler(unbound) -> None:
    called = []
    scheduler = type("Unbound", (), {"step": unbound(called.append)})()
    control = LRScale.of(an_optimizer())
    assert control.attach([scheduler]) == []
    scheduler.step(3)
    assert called == [3]


@pytest.mark.parametrize("detached", [True, False])
def test_nothing_keeps_a_schedulers_class_alive(detached: bool) -> None:
    """A class that a function defines holds what the function held, a model perhaps."""

    class Large: ...

    def run() -> weakref.ref:
        large, optimizer = Large(), an_optimizer()

        class Local(lr_scheduler.StepLR):
            def step(self, epoch=None) -> None:
                super().step()
                assert large

        scheduler, control = Local(optimizer, 1), LRScale.of(optimizer)
        control.attach([scheduler])
        optimizer.step()
        scheduler.step()
        if detached:
            control.detach()
        return weakref.ref(large)

    gone = run()
    gc.collect()
    assert gone() is None


class Slotted:
    """Has neither a dict nor weak references."""

    __slots__ = ("optimizer",)

    def step(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = 0.3


class Final:
    """Does not want subclasses."""

    def __init_subclass__(cls) -> None:
        raise TypeError("no subclasses, please")

    def step(self) -> None: ...


class Equal:
    """Compares by value, so it has no hash."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal)

    def step(self) -> None: ...


def patched():
    scheduler = StepUpdate(None)
    scheduler.step = lambda: None
    return scheduler


@pytest.mark.parametrize(
    "refused",
    [
        pytest.param(Slotted(), id="no weak references"),
        pytest.param(Final(), id="no subclasses"),
        pytest.param(Equal(), id="no hash"),
        pytest.param(patched(), id="its step is an attribute of the object"),
        pytest.param(object(), id="no step at all"),
    ],
)
def test_what_cannot_be_attached_is_handed_back_unchanged(refused) -> None:
    before = type(refused)
    control = LRScale.of(an_optimizer())
    assert [found is refused for found in control.attach([refused])] == [True]
    assert type(refused) is before


def test_what_cannot_be_attached_is_stepped_inside_around() -> None:
    optimizer = an_optimizer()
    scheduler = Slotted()
    scheduler.optimizer = optimizer
    control = LRScale.of(optimizer)
    control.set_scale("us", 0.5)

    def lr_scheduler_step(scheduler, metric):
        """Step it."""
        scheduler.step()
        return metric

    wrapped = control.around(lr_scheduler_step)
    assert wrapped(scheduler, metric=7) == 7
    assert wrapped.__doc__ == "Step it."
    assert held(optimizer) == [0.15, 0.15]
    assert control.rates()[0].scheduled == 0.3


def test_a_step_that_fails_leaves_the_scaled_rate() -> None:
    optimizer = an_optimizer()
    control = LRScale.of(optimizer)
    control.set_scale("us", 0.5)
    with pytest.raises(ZeroDivisionError):
        control.around(lambda: 1 / 0)()
    assert held(optimizer) == [0.05, 0.01]


def test_a_scale_set_inside_a_step_is_applied_after_it() -> None:
    optimizer = an_optimizer()
    control = LRScale.of(optimizer)
    with control.scheduled_visible():
        control.set_scale("us", 0.5)
        assert held(optimizer) == [0.1, 0.02]
    assert held(optimizer) == [0.05, 0.01]

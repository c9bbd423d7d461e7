"""What an optimizer's groups hold when several callbacks, the user and a checkpoint all have a say."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from torch.optim import SGD, Adam

from lightning_lr.errors import ArgumentError
from lightning_lr.optim.lr_scale import LRScale


def weight() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.ones(1))


def sgd(*rates: float, default: float = 0.1) -> SGD:
    return SGD([{"params": [weight()], "lr": rate} for rate in rates or (default,)], lr=default)


def held(optimizer) -> list[float]:
    return [float(torch.as_tensor(group["lr"], dtype=torch.float64).detach()) for group in optimizer.param_groups]


def of(optimizer) -> LRScale:
    return LRScale.of(optimizer)


# One control for each optimizer.


def test_callbacks_share_the_one_control() -> None:
    optimizer = sgd()
    assert of(optimizer) is of(optimizer)


def test_a_wrapper_that_shows_the_same_groups_is_the_same_optimizer() -> None:
    class Wrapper:  # as DeepSpeed's
        def __init__(self, optimizer) -> None:
            self.optimizer = optimizer

        @property
        def param_groups(self):
            return self.optimizer.param_groups

    optimizer = sgd()
    assert of(Wrapper(optimizer)) is of(Wrapper(Wrapper(optimizer))) is of(optimizer)


def test_a_wrapper_with_groups_of_its_own_is_controlled_by_itself() -> None:
    class Wrapper:  # as Megatron's, whose groups hold copies in full precision
        def __init__(self) -> None:
            self.optimizer = sgd(0.1)
            self.param_groups = [{"lr": 0.1}]

    wrapper = Wrapper()
    of(wrapper).set_scale("us", 0.5)
    assert (held(wrapper), held(wrapper.optimizer)) == ([0.05], [0.1])


def test_a_control_does_not_keep_its_optimizer_alive() -> None:
    optimizer = sgd()
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    control = of(optimizer)
    control.attach([scheduler])
    gone = weakref.ref(optimizer)
    del optimizer, scheduler
    gc.collect()
    assert gone() is None
    control.detach()
    assert control.state("us")["written"] == [0.1], "the last that was known"


@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(type("Mock", (), {"param_groups": []})(), id="no groups, as Lightning's stand-in"),
        pytest.param(type("NoGroups", (), {})(), id="no param_groups at all"),
        pytest.param(type("NoRate", (), {"param_groups": [{"params": []}]})(), id="a group without lr"),
        pytest.param(type("NoneRate", (), {"param_groups": [{"lr": None}]})(), id="lr=None, as Adafactor's"),
    ],
)
def test_an_optimizer_without_rates_is_left_in_peace(optimizer) -> None:
    before = copy.deepcopy(getattr(optimizer, "param_groups", None))
    control = of(optimizer)
    control.set_bounds("us", min_lr=0.01, max_lr=1.0)
    control.set_scale("us", 0.5)
    control.multiply("us", 0.5)
    with control.scheduled_visible():
        pass
    assert (control.rates(), control.take_notes(), control.scale("us")) == ([], [], [])
    assert control.load("us", control.state("us")) == []
    assert getattr(optimizer, "param_groups", None) == before


# Scales and bounds.


def test_a_scale_of_one_writes_nothing() -> None:
    """Not even the same number: the object that the user put there stays."""
    rate = float("0.1")
    optimizer = sgd()
    optimizer.param_groups[0]["lr"] = rate
    control = of(optimizer)
    control.set_scale("us", 1.0)
    with control.scheduled_visible():
        pass
    assert optimizer.param_groups[0]["lr"] is rate


def test_scales_of_several_owners_multiply() -> None:
    optimizer = sgd(0.1, 0.2)
    control = of(optimizer)
    control.set_scale("layers", [1.0, 0.5])
    control.multiply("plateau", 0.1)
    control.multiply("plateau", 0.1, groups=[1])
    assert control.scale("layers") == [1.0, 0.5]
    assert control.scale("plateau") == [0.1, 0.1 * 0.1]
    assert control.scale("nobody") == [1.0, 1.0]
    assert held(optimizer) == pytest.approx([0.01, 0.001], rel=1e-15)
    control.set_scale("plateau", 1.0)
    assert held(optimizer) == [0.1, 0.1]
    control.set_scale("layers", 1.0)
    assert held(optimizer) == [0.1, 0.2], "to the last bit"


def test_rates_say_what_each_group_holds() -> None:
    optimizer = sgd(0.1, 0.2)
    control = of(optimizer)
    control.set_bounds("us", min_lr=0.04)
    control.multiply("us", 0.25)
    assert [str(rate) for rate in control.rates()] == ["0.04 (schedule 0.1 × 0.25)", "0.05 (schedule 0.2 × 0.25)"]


@pytest.mark.parametrize(
    ("bounds", "scale", "expected"),
    [
        pytest.param({"a": (0.04, None)}, 0.1, [0.04, 0.04], id="one number for all groups"),
        pytest.param({"a": ([0.04, 0.01], None)}, 0.1, [0.04, 0.02], id="one number a group"),
        pytest.param({"a": (0.0, [0.3, 0.5])}, 10.0, [0.3, 0.5], id="max_lr a group"),
        pytest.param({"a": (0.01, 0.5), "b": (0.04, 9.0)}, 0.1, [0.04, 0.04], id="the narrower min_lr of two owners"),
        pytest.param({"a": (0.01, 0.5), "b": (0.04, 0.9)}, 10.0, [0.5, 0.5], id="the narrower max_lr of two owners"),
        pytest.param({"a": (0.0, 0.15)}, 1.0, [0.1, 0.15], id="max_lr without any scale"),
        pytest.param({"a": (0.5, None)}, 0.1, [0.1, 0.2], id="min_lr above the schedule"),
    ],
)
def test_bounds(bounds, scale: float, expected: list[float]) -> None:
    optimizer = sgd(0.1, 0.2)
    control = of(optimizer)
    control.set_scale("a", scale)
    for owner, its_bounds in bounds.items():
        control.set_bounds(owner, *its_bounds)
    assert held(optimizer) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda c: c.set_scale("us", 0.0), r"Expected a scale that is finite and above 0 but got 0\.0\."),
        (lambda c: c.set_scale("us", float("nan")), r"Expected a scale that is finite and above 0 but got nan\."),
        (lambda c: c.multiply("us", -2.0), r"Expected a scale that is finite and above 0 but got -2\.0\."),
        (lambda c: c.multiply("us", 0.5, [2]), r"Expected groups to be indices below 2 but got \[2\]\."),
        (
            lambda c: c.set_scale("us", [0.5]),
            r"Expected scales to be one number, or one for each of the 2 parameter groups, but got 1 numbers\.",
        ),
        (lambda c: c.set_bounds("us", [0.1]), r"Expected min_lr to be one number, or one for each of the 2 parameter"),
        (
            lambda c: c.set_bounds("us", 0.1, [0.2, 0.05]),
            r"Expected min_lr ≤ max_lr but got min_lr=0\.1 and max_lr=0\.05\.",
        ),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(ask, message: str) -> None:
    optimizer = sgd(0.1, 0.2)
    control = of(optimizer)
    control.multiply("us", 0.5)
    with pytest.raises(ArgumentError, match=message):
        ask(control)
    assert (held(optimizer), control.scale("us")) == ([0.05, 0.1], [0.5, 0.5])


# Outside writes.


@pytest.mark.parametrize(
    ("scale", "written", "scheduled", "applied"),
    [
        pytest.param(0.5, 0.1, 0.1, 0.05, id="the schedule's own rate set again"),
        pytest.param(0.5, 0.09, 0.09, 0.045, id="a schedule that goes on by itself"),
        pytest.param(0.5, 0.3, 0.3, 0.15, id="a new, higher rate"),
        pytest.param(0.5, 0.005, 0.01, 0.005, id="divided by ten what was there"),
        pytest.param(0.5, 0.045, 0.09, 0.045, id="× 0.9 what was there"),
        pytest.param(4.0, 0.1, 0.1, 0.4, id="after a raise: the schedule's own rate"),
        pytest.param(4.0, 0.2, 0.2, 0.8, id="after a raise, in the middle of both: set anew"),
        pytest.param(4.0, 0.36, 0.09, 0.36, id="after a raise: × 0.9 what was there"),
        pytest.param(1.0, 0.02, 0.02, 0.02, id="without a scale there is only one reading"),
        pytest.param(0.5, 0.0, 0.0, 0.0, id="frozen"),
    ],
)
def test_an_outside_write_is_followed_and_never_scaled_twice(
    scale: float, written: float, scheduled: float, applied: float
) -> None:
    optimizer = sgd(0.1)
    control = of(optimizer)
    control.set_scale("us", scale)
    before = held(optimizer)[0]
    optimizer.param_groups[0]["lr"] = written
    (note,) = control.take_notes()
    assert note == (
        f"The learning rate of parameter group 0 was changed from outside (group 0: {before:.4g} → {written:.4g}); "
        f"it is followed, the schedule is taken to be at {scheduled:.4g}."
    )
    (rate,) = control.rates()
    assert (rate.scheduled, rate.applied) == pytest.approx((scheduled, applied), rel=1e-12)
    assert held(optimizer) == [rate.applied]
    assert control.take_notes() == []


def test_one_sentence_for_many_groups() -> None:
    optimizer = sgd(*[0.1] * 6)
    control = of(optimizer)
    for group in optimizer.param_groups[1:]:
        group["lr"] = 0.01
    (note,) = control.take_notes()
    assert note.startswith(
        "The learning rate of parameter groups 1, 2, 3 and 2 more was changed from outside (group 1: "
    )


def test_an_outside_write_between_two_questions_is_kept_by_whatever_comes_first() -> None:
    optimizer = sgd(0.1)
    control = of(optimizer)
    optimizer.param_groups[0]["lr"] = 0.3
    control.multiply("us", 0.5)
    assert held(optimizer) == [0.15]
    assert len(control.take_notes()) == 1


def test_a_rate_that_is_not_a_number_is_noticed_once() -> None:
    optimizer = sgd(0.1)
    control = of(optimizer)
    optimizer.param_groups[0]["lr"] = float("nan")
    assert [len(control.take_notes()) for _ in range(3)] == [1, 0, 0]


def test_apply_puts_our_rates_back_after_an_old_optimizer_state() -> None:
    """A snapshot brings back old rates too; the schedule is where it is now."""
    optimizer = sgd(0.1)
    control = of(optimizer)
    snapshot = copy.deepcopy(optimizer.state_dict())
    control.multiply("us", 0.5)
    optimizer.load_state_dict(snapshot)
    assert held(optimizer) == [0.1]
    control.apply()
    assert held(optimizer) == [0.05]
    assert control.take_notes() == []


# Groups that come and go.


@pytest.mark.parametrize(
    ("extra", "scheduled", "scale", "applied"),
    [
        pytest.param({}, 0.1, 1.0, 0.1, id="at the optimizer's default"),
        pytest.param({"lr": 0.003}, 0.003, 1.0, 0.003, id="at a rate that its writer chose"),
    ],
)
def test_a_group_added_in_mid_run(extra, scheduled: float, scale: float, applied: float) -> None:
    """It starts from its own rate, and is cut from then on with the others."""
    optimizer = sgd(0.1)
    control = of(optimizer)
    control.set_scale("a", 0.5)
    control.multiply("b", 0.5)
    optimizer.add_param_group({"params": [weight()], **extra})
    assert control.take_notes() == [f"New parameter group 1 joined at {scheduled:.4g}, with a scale of {scale:.4g}."]
    new = control.rates()[1]
    assert (new.scheduled, new.scale, new.applied) == (scheduled, scale, applied)
    assert held(optimizer) == [0.025, applied]
    control.multiply("b", 0.5)
    assert held(optimizer) == [0.0125, applied / 2]


def test_a_later_group_has_the_bounds_of_the_last() -> None:
    optimizer = sgd(0.1, 0.1)
    control = of(optimizer)
    control.set_bounds("us", min_lr=[0.01, 0.05])
    optimizer.add_param_group({"params": [weight()]})
    control.multiply("us", 0.001)
    assert held(optimizer) == [0.01, 0.05, 0.05]


def test_groups_that_are_gone_are_forgotten() -> None:
    optimizer = sgd(0.1, 0.2, 0.3)
    control = of(optimizer)
    control.set_scale("us", [0.5, 1.0, 1.0])
    del optimizer.param_groups[1:]
    assert control.take_notes() == ["The last 2 parameter group(s) are gone; their scales are forgotten."]
    assert (control.scale("us"), held(optimizer)) == ([0.5], [0.05])


def test_a_group_added_inside_a_schedulers_step_joins_after_it() -> None:
    optimizer = sgd(0.1)
    control = of(optimizer)
    control.set_scale("us", 0.5)
    control.around(lambda: optimizer.add_param_group({"params": [weight()]}))()
    assert held(optimizer) == [0.05, 0.1]
    assert control.take_notes() == ["New parameter group 1 joined at 0.1, with a scale of 1."]


# Rates that are tensors.


def test_a_tensor_stays_the_object_that_it_is() -> None:
    optimizer = Adam([weight()], lr=torch.tensor(0.1))
    tensor = optimizer.param_groups[0]["lr"]
    control = of(optimizer)
    control.multiply("us", 0.5)
    control.multiply("us", 0.5)
    assert optimizer.param_groups[0]["lr"] is tensor
    assert float(tensor) == float(torch.tensor(float(torch.tensor(0.1)) * 0.25))
    control.set_scale("us", 1.0)
    assert torch.equal(tensor, torch.tensor(0.1)), "to the last bit"
    assert control.take_notes() == [], "rounding to single precision is no outside write"


def test_groups_that_share_a_tensor_are_scaled_once() -> None:
    """Adam hands the one tensor to all groups and to its defaults."""
    optimizer = Adam([{"params": [weight()]}, {"params": [weight()]}], lr=torch.tensor(0.5, dtype=torch.float64))
    first, second = (group["lr"] for group in optimizer.param_groups)
    assert first is second
    of(optimizer).multiply("us", 0.5)
    assert held(optimizer) == [0.25, 0.25]
    assert optimizer.param_groups[1]["lr"] is second


def test_groups_that_share_a_tensor_part_when_they_must() -> None:
    optimizer = Adam([{"params": [weight()]} for _ in range(3)], lr=torch.tensor(0.5, dtype=torch.float64))
    tensor = optimizer.param_groups[0]["lr"]
    control = of(optimizer)
    control.set_scale("us", [0.5, 0.25, 0.5])
    assert held(optimizer) == [0.25, 0.125, 0.25]
    assert [group["lr"] is tensor for group in optimizer.param_groups] == [True, False, True]
    control.set_scale("us", [0.5, 0.25, 1.0])
    assert held(optimizer) == [0.25, 0.125, 0.5]


def test_a_new_group_that_shares_a_scaled_tensor_is_scaled_once() -> None:
    """The default is the very tensor of the first group, so it did see the scale."""
    optimizer = Adam([weight()], lr=torch.tensor(0.5, dtype=torch.float64))
    control = of(optimizer)
    control.multiply("us", 0.5)
    optimizer.add_param_group({"params": [weight()]})
    control.take_notes()
    assert held(optimizer) == [0.25, 0.25]
    assert [rate.scheduled for rate in control.rates()] == [0.5, 0.5]


def test_a_tensor_rate_never_rounds_to_zero() -> None:
    optimizer = Adam([weight()], lr=torch.tensor(1e-30))
    of(optimizer).multiply("us", 1e-20)
    assert held(optimizer)[0] > 0


def test_a_rate_that_is_learned_can_be_written() -> None:
    optimizer = SGD([weight()], lr=torch.tensor(0.5, requires_grad=True), differentiable=True)
    of(optimizer).multiply("us", 0.5)
    assert held(optimizer) == [0.25]


@pytest.mark.parametrize("tensor", [False, True])
def test_replaced_groups_are_found_again(tensor: bool) -> None:
    """``load_state_dict`` makes new dicts, and new tensors."""
    rate = torch.tensor(0.5) if tensor else 0.5
    optimizer = Adam([weight()], lr=rate)
    control = of(optimizer)
    control.multiply("us", 0.5)
    optimizer.load_state_dict(optimizer.state_dict())
    control.multiply("us", 0.5)
    assert held(optimizer) == [0.125]
    assert isinstance(optimizer.param_groups[0]["lr"], torch.Tensor) is tensor


# Resume.


def resumed(rates, state, owner: str = "us"):
    optimizer = sgd(*rates)
    control = of(optimizer)
    return optimizer, control, control.load(owner, state)


def saved_run() -> dict:
    """Schedule 0.08 and 0.2, scales 0.5 and 0.25."""
    optimizer = sgd(0.08, 0.2)
    control = of(optimizer)
    control.set_scale("us", [0.5, 0.25])
    return control.state("us")


@pytest.mark.parametrize(
    ("found", "scheduled", "scale", "applied", "note"),
    [
        pytest.param([0.04, 0.05], [0.08, 0.2], [0.5, 0.25], [0.04, 0.05], None, id="restored: carries the scale"),
        pytest.param([0.08, 0.2], [0.08, 0.2], [0.5, 0.25], [0.04, 0.05], None, id="fresh: gets the scale"),
        pytest.param([0.04, 0.2], [0.08, 0.2], [0.5, 0.25], [0.04, 0.05], None, id="each group for itself"),
        pytest.param(
            [0.04, 0.07],
            [0.08, 0.07],
            [0.5, 1.0],
            [0.04, 0.07],
            "The learning rate of parameter group 1 is not the one of the checkpoint (group 1: 0.07; saved 0.05, "
            "schedule 0.2); it is taken as your own choice, with a scale of 1.",
            id="changed by the user",
        ),
        pytest.param(
            [0.04],
            [0.08],
            [0.5],
            [0.04],
            "The checkpoint holds the scales of 2 parameter group(s) and the optimizer has 1; the first 1 continue, "
            "any other starts with a scale of 1.",
            id="a group less",
        ),
        pytest.param(
            [0.04, 0.05, 0.3],
            [0.08, 0.2, 0.3],
            [0.5, 0.25, 1.0],
            [0.04, 0.05, 0.3],
            "The checkpoint holds the scales of 2 parameter group(s) and the optimizer has 3; the first 2 continue, "
            "any other starts with a scale of 1.",
            id="a group more",
        ),
    ],
)
def test_resume(found, scheduled, scale, applied, note: str | None) -> None:
    optimizer, control, notes = resumed(found, saved_run())
    assert [rate.scheduled for rate in control.rates()] == scheduled
    assert control.scale("us") == scale
    assert held(optimizer) == applied
    assert notes == ([note] if note else [])
    assert control.take_notes() == []


def test_loading_twice_scales_once() -> None:
    optimizer, control, _ = resumed([0.04, 0.05], saved_run())
    control.load("us", saved_run())
    assert held(optimizer) == [0.04, 0.05]


@pytest.mark.parametrize("fresh", [False, True], ids=["optimizer restored", "optimizer fresh"])
@pytest.mark.parametrize("order", [("a", "b", "c"), ("c", "b", "a")])
def test_several_owners_load_one_after_the_other(fresh: bool, order) -> None:
    """Each sees the rates as restored, not as the owner before it has just written them."""
    first = sgd(0.08)
    control = of(first)
    for owner, scale in (("a", 0.3), ("b", 0.7), ("c", 0.9)):
        control.set_scale(owner, scale)
    states = {owner: control.state(owner) for owner in order}
    (before,) = control.rates()

    optimizer = sgd(before.scheduled if fresh else before.applied)
    again = of(optimizer)
    assert [again.load(owner, states[owner]) for owner in order] == [[], [], []]
    assert again.rates() == [before]


def test_an_owner_without_state_that_comes_first_does_not_disturb() -> None:
    """A layer-wise callback sets its scales anew each time, before the controller loads."""
    first = sgd(0.08)
    former = of(first)
    former.set_scale("layers", 0.5)
    former.multiply("us", 0.1)
    optimizer = sgd(former.rates()[0].applied)
    control = of(optimizer)
    control.set_scale("layers", 0.5)
    assert control.load("us", former.state("us")) == []
    assert control.rates() == former.rates()


def test_a_control_made_before_the_optimizer_was_restored() -> None:
    """As under FSDP: the callback's hooks run first, then the rates come back."""
    optimizer = sgd(0.1, 0.1)
    control = of(optimizer)
    control.set_bounds("us", min_lr=0.001)
    for group, rate in zip(optimizer.param_groups, (0.04, 0.05), strict=True):
        group["lr"] = rate
    assert control.load("us", saved_run()) == []
    assert held(optimizer) == [0.04, 0.05]
    assert control.scale("us") == [0.5, 0.25]


def test_an_outside_write_just_before_saving_is_no_change_between_the_runs() -> None:
    optimizer = sgd(0.1)
    control = of(optimizer)
    control.multiply("us", 0.5)
    optimizer.param_groups[0]["lr"] = 0.2
    state = control.state("us")
    _, _, notes = resumed(held(optimizer), state)
    assert notes == []


@pytest.mark.parametrize("cls", [SGD, Adam, torch.optim.AdamW, torch.optim.Adagrad], ids=lambda cls: cls.__name__)
def test_a_fused_optimizer_steps_with_the_applied_rate(cls) -> None:
    """Two optimizers, one given the cut rate from the start: the weights agree."""
    weights = []
    for rate, scale in ((0.1, 0.5), (0.05, 1.0)):
        parameter = torch.nn.Parameter(torch.ones(3))
        optimizer = cls([parameter], lr=rate, fused=True)
        of(optimizer).set_scale("us", scale)
        for _ in range(3):
            parameter.grad = parameter.detach().clone()
            optimizer.step()
        weights.append(parameter.detach().clone())
    assert torch.equal(*weights)

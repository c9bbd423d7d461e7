"""Our names of the learning rates are those of Lightning's own LearningRateMonitor."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import ChainedScheduler, ExponentialLR, ReduceLROnPlateau, StepLR

from lightning_lr.optim.lr_names import rate_names
from lightning_lr.optim.param_group_lrs import innermost, rated_groups


def optimizer(cls, *groups, start: int = 1):
    """Groups with a rate of their own each, so that a value tells where it comes from."""
    dicts = [
        {"params": [torch.nn.Parameter(torch.zeros(1))], "lr": start + i, **({"name": name} if name else {})}
        for i, name in enumerate(groups)
    ]
    return cls(dicts, lr=0.1)


def config(optimizer, name=None, scheduler=ExponentialLR, **kwargs):
    kwargs = kwargs or ({"gamma": 0.9} if scheduler is ExponentialLR else {})
    return SimpleNamespace(scheduler=scheduler(optimizer, **kwargs), name=name, interval="epoch")


def monitored(optimizers, configs) -> dict[str, float]:
    """What the real monitor logs: name → rate."""
    trainer = SimpleNamespace(
        loggers=[None],
        optimizers=optimizers,
        lr_scheduler_configs=configs,
        callback_metrics={},
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )
    monitor = LearningRateMonitor()
    monitor.on_train_start(trainer)
    return monitor._extract_stats(trainer, "any")


def ours(optimizers, configs) -> dict[str, float]:
    names = rate_names(optimizers, configs)
    return {
        name: group["lr"]
        for i, one in enumerate(optimizers)
        for name, group in zip(names[i], rated_groups(one), strict=True)
    }


def single():
    return [optimizer(SGD, None)], []


def single_scheduled():
    one = optimizer(SGD, None)
    return [one], [config(one)]


def named_schedule():
    one = optimizer(SGD, None)
    return [one], [config(one, "mine")]


def named_schedule_groups():
    one = optimizer(SGD, None, "head", None)
    return [one], [config(one, "mine")]


def several_groups():
    return [optimizer(Adam, None, None, None)], []


def named_groups():
    return [optimizer(Adam, "body", "head")], []


def one_named_group():
    return [optimizer(Adam, "all")], []


def two_of_a_class():
    return [optimizer(Adam, None, start=1), optimizer(Adam, None, start=5)], []


def three_of_a_class_groups():
    return [optimizer(Adam, None, None, start=s) for s in (1, 5, 9)], []


def two_classes():
    return [optimizer(Adam, None, start=1), optimizer(AdamW, None, None, start=5), optimizer(SGD, None, start=9)], []


def second_is_scheduled():
    # the scheduled one is counted first: it is lr-Adam, though it is the second
    both = [optimizer(Adam, None, start=1), optimizer(Adam, None, start=5)]
    return both, [config(both[1])]


def schedulers_in_another_order():
    both = [optimizer(Adam, None, start=1), optimizer(Adam, None, None, start=5)]
    return both, [config(both[1]), config(both[0])]


def one_named_one_not():
    # a given name is not counted
    both = [optimizer(Adam, None, start=1), optimizer(Adam, None, start=5)]
    return both, [config(both[0], "mine"), config(both[1])]


def given_name_after_two():
    # … but gets the number that the class has reached
    three = [optimizer(Adam, None, start=s) for s in (1, 5, 9)]
    return three, [config(three[0]), config(three[1]), config(three[2], "mine")]


def plateau_and_chained():
    both = [optimizer(Adam, None, start=1), optimizer(SGD, None, start=5)]
    chained = SimpleNamespace(scheduler=ChainedScheduler([StepLR(both[1], 1)], both[1]), name=None, interval="epoch")
    return both, [config(both[0], scheduler=ReduceLROnPlateau), chained]


def group_added():
    one = optimizer(SGD, None)
    one.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 7})
    return [one], []


def nothing():
    return [], []


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (nothing, []),
        (single, ["lr-SGD"]),
        (single_scheduled, ["lr-SGD"]),
        (named_schedule, ["mine"]),
        (named_schedule_groups, ["mine/head", "mine/pg1", "mine/pg3"]),
        (several_groups, ["lr-Adam/pg1", "lr-Adam/pg2", "lr-Adam/pg3"]),
        (named_groups, ["lr-Adam/body", "lr-Adam/head"]),
        (one_named_group, ["lr-Adam/all"]),
        (two_of_a_class, ["lr-Adam", "lr-Adam-1"]),
        (
            three_of_a_class_groups,
            ["lr-Adam-1/pg1", "lr-Adam-1/pg2", "lr-Adam-2/pg1", "lr-Adam-2/pg2", "lr-Adam/pg1", "lr-Adam/pg2"],
        ),
        (two_classes, ["lr-Adam", "lr-AdamW/pg1", "lr-AdamW/pg2", "lr-SGD"]),
        (second_is_scheduled, ["lr-Adam", "lr-Adam-1"]),
        (schedulers_in_another_order, ["lr-Adam-1", "lr-Adam/pg1", "lr-Adam/pg2"]),
        (one_named_one_not, ["lr-Adam", "mine"]),
        (given_name_after_two, ["lr-Adam", "lr-Adam-1", "mine-1"]),
        (plateau_and_chained, ["lr-Adam", "lr-SGD"]),
        (group_added, ["lr-SGD/pg1", "lr-SGD/pg2"]),
    ],
)
def test_names_are_those_of_the_monitor(case, expected: list[str]) -> None:
    optimizers, configs = case()
    assert ours(optimizers, configs) == monitored(optimizers, configs)
    assert sorted(ours(optimizers, configs)) == expected


def test_a_group_added_in_mid_run_renames_the_first() -> None:
    """A monitor that has seen only one group logs pg1 and pg2 from then on, and so do we."""
    one = optimizer(SGD, None)
    scheduled = [config(one)]
    assert rate_names([one], scheduled) == {0: ["lr-SGD"]}
    one.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 7})
    assert rate_names([one], scheduled) == {0: ["lr-SGD/pg1", "lr-SGD/pg2"]}
    assert ours([one], scheduled) == monitored([one], scheduled)


def test_a_wrapper_has_the_name_of_what_it_wraps() -> None:
    inner = optimizer(SGD, None)
    wrapper = SimpleNamespace(optimizer=inner, param_groups=inner.param_groups)
    assert innermost(wrapper) is inner
    assert rate_names([wrapper], [config(inner)]) == {0: ["lr-SGD"]}
    assert ours([wrapper], []) == monitored([wrapper], [])


@pytest.mark.parametrize(
    ("case", "names"),
    [
        pytest.param(
            lambda: ([optimizer(SGD, "a", "a", None)], []),
            {0: ["lr-SGD/pg1", "lr-SGD/pg2", "lr-SGD/pg3"]},
            id="two groups of one name: the monitor raises",
        ),
        pytest.param(
            lambda: (lambda o: (o, [config(o[0], "x"), config(o[1], "x")]))(
                [optimizer(SGD, None), optimizer(Adam, None)]
            ),
            {0: ["x"], 1: ["x-1"]},
            id="two schedulers of one name: the monitor mixes them up",
        ),
        pytest.param(
            lambda: (lambda o: ([o], [config(o), config(o)]))(optimizer(SGD, None)),
            {0: ["lr-SGD"]},
            id="two schedulers of one optimizer: the first names it",
        ),
        pytest.param(
            lambda: ([optimizer(SGD, None)], [SimpleNamespace(scheduler=object(), name=None)]),
            {0: ["lr-SGD"]},
            id="a scheduler that does not say whose it is",
        ),
        pytest.param(
            lambda: ([SimpleNamespace(param_groups=[{"lr": None}, {}, {"lr": 0.1}])], []),
            {0: ["lr-SimpleNamespace/pg3"]},
            id="groups without a rate have no name but are counted",
        ),
        pytest.param(lambda: ([object()], []), {0: []}, id="no groups at all"),
    ],
)
def test_where_the_monitor_gives_up(case, names: dict[int, list[str]]) -> None:
    assert rate_names(*case()) == names

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


NAMES = [
    # optimizers, each a class and the names of its groups; schedulers, each an optimizer and its own name; our names
    pytest.param([], [], [], id="nothing"),
    pytest.param([(SGD, None)], [], ["lr-SGD"], id="one group"),
    pytest.param([(SGD, None)], [(0, None)], ["lr-SGD"], id="scheduled"),
    pytest.param([(SGD, None)], [(0, "mine")], ["mine"], id="a named schedule"),
    pytest.param(
        [(SGD, None, "head", None)], [(0, "mine")], ["mine/head", "mine/pg1", "mine/pg3"], id="with several groups"
    ),
    pytest.param([(Adam, None, None)], [], ["lr-Adam/pg1", "lr-Adam/pg2"], id="several groups"),
    pytest.param([(Adam, "body", "head")], [], ["lr-Adam/body", "lr-Adam/head"], id="named groups"),
    pytest.param([(Adam, "all")], [], ["lr-Adam/all"], id="one named group"),
    pytest.param([(Adam, None), (Adam, None)], [], ["lr-Adam", "lr-Adam-1"], id="two of a class"),
    pytest.param(
        [(Adam, None, None)] * 3,
        [],
        [f"lr-Adam{number}/pg{group}" for number in ("-1", "-2", "") for group in (1, 2)],
        id="three of a class",
    ),
    pytest.param(
        [(Adam, None), (AdamW, None, None), (SGD, None)],
        [],
        ["lr-Adam", "lr-AdamW/pg1", "lr-AdamW/pg2", "lr-SGD"],
        id="several classes",
    ),
    pytest.param([(Adam, None)] * 2, [(1, None)], ["lr-Adam", "lr-Adam-1"], id="the scheduled one is counted first"),
    pytest.param(
        [(Adam, None), (Adam, None, None)],
        [(1, None), (0, None)],
        ["lr-Adam-1", "lr-Adam/pg1", "lr-Adam/pg2"],
        id="schedulers in another order",
    ),
    pytest.param([(Adam, None)] * 2, [(0, "mine"), (1, None)], ["lr-Adam", "mine"], id="a given name is not counted"),
    pytest.param(
        [(Adam, None)] * 3,
        [(0, None), (1, None), (2, "mine")],
        ["lr-Adam", "lr-Adam-1", "mine-1"],
        id="but gets the number that the class has reached",
    ),
]


@pytest.mark.parametrize(("classes", "scheduled", "expected"), NAMES)
def test_names_are_those_of_the_monitor(classes, scheduled, expected: list[str]) -> None:
    optimizers = [optimizer(cls, *groups, start=1 + 4 * i) for i, (cls, *groups) in enumerate(classes)]
    configs = [config(optimizers[index], name) for index, name in scheduled]
    assert ours(optimizers, configs) == monitored(optimizers, configs)
    assert sorted(ours(optimizers, configs)) == expected


def test_schedulers_of_other_kinds() -> None:
    both = [optimizer(Adam, None, start=1), optimizer(SGD, None, start=5)]
    chained = SimpleNamespace(scheduler=ChainedScheduler([StepLR(both[1], 1)], both[1]), name=None, interval="epoch")
    configs = [config(both[0], scheduler=ReduceLROnPlateau), chained]
    assert sorted(ours(both, configs)) == ["lr-Adam", "lr-SGD"]
    assert ours(both, configs) == monitored(both, configs)


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

"""What a layer is, and what becomes of groups and schedulers when they are split."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_lr.errors import ArgumentError
from lightning_lr.layerwise.groups import split_groups
from lightning_lr.layerwise.layers import layers_of
from lightning_lr.optim.lr_scale import LRScale
from tests.helpers.schedulers import CASES, TOTAL, SchedulerCase


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.embedding = nn.Embedding(8, 4)
        self.scale = nn.Parameter(torch.ones(4, 4))
        self.head = nn.Linear(4, 8)
        self.head.weight = self.embedding.weight


@pytest.mark.parametrize(
    ("net", "chosen", "expected"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)), None, {"0": 2, "2": 2}),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 3)), None, {"0": 4, "2": 2}),
        (nn.Sequential(nn.LayerNorm(2), nn.Linear(2, 2)), None, {"1": 4}),
        (nn.Sequential(nn.BatchNorm1d(2)), None, {"all": 2}),
        (
            nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), nn.Linear(2, 2)),
            None,
            {"0": 3, "1": 2},
        ),
        (nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), nn.Linear(2, 2)), ["0"], {"0": 4, "1": 2}),
        (Tied(), None, {"scale": 1, "embedding": 3 + 1}),
    ],
    ids=["linear", "norm after", "norm before", "vectors only", "parametrized", "block", "tied"],
)
def test_layers(net, chosen, expected):
    found = layers_of(net, chosen)
    assert sum(map(len, found.values())) == len(list(net.parameters()))
    if not isinstance(net, Tied):
        assert {name: len(one) for name, one in found.items()} == expected
    else:
        assert set(found) == set(expected), "a shared weight is in one layer only"


def test_frozen_parameters_are_in_no_layer():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].requires_grad_(False)
    assert list(layers_of(net)) == ["1"]


def test_unknown_module_is_named():
    with pytest.raises(ArgumentError, match="names of modules .* but got 'blocks'"):
        layers_of(nn.Sequential(nn.Linear(2, 2)), ["blocks"])


# --- splitting --------------------------------------------------------------------------------------------------------


def two_groups():
    """Two groups of two layers, with options of their own."""
    net = nn.Sequential(*(nn.Linear(1, 1) for _ in range(4)))
    groups = [
        {"params": [*net[0].parameters(), *net[1].parameters()], "lr": 0.1, "name": "body", "weight_decay": 0.01},
        {"params": [*net[2].parameters(), *net[3].parameters()], "lr": 0.02, "momentum": 0.5},
    ]
    return net, torch.optim.SGD(groups, lr=0.1, momentum=0.9)


def held(optimizer, key="lr"):
    return [group[key] for group in optimizer.param_groups]


def test_options_and_names_are_kept_and_indices_stay():
    net, optimizer = two_groups()
    first = optimizer.param_groups[0]
    assert split_groups(optimizer, layers_of(net))
    assert optimizer.param_groups[0] is first
    assert held(optimizer, "name") == ["body/0", "pg2/2", "body/1", "pg2/3"]
    assert held(optimizer, "layer") == ["0", "2", "1", "3"]
    assert held(optimizer) == [0.1, 0.02, 0.1, 0.02]
    assert held(optimizer, "weight_decay") == [0.01, 0, 0.01, 0]
    assert held(optimizer, "momentum") == [0.9, 0.5, 0.9, 0.5]
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 2, 2, 2]
    assert not split_groups(optimizer, layers_of(net)), "once more does no harm"
    assert held(optimizer, "name") == ["body/0", "pg2/2", "body/1", "pg2/3"]


def test_scales_that_others_set_are_those_of_the_parent():
    net, optimizer = two_groups()
    control = LRScale.of(optimizer)
    control.set_scale("us", [0.5, 0.1])
    split_groups(optimizer, layers_of(net))
    assert held(optimizer) == [0.05, 0.002, 0.05, 0.002]
    assert control.scale("us") == [0.5, 0.1, 0.5, 0.1]
    assert control.take_notes() == []


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("when", [0, TOTAL // 3], ids=["at the start", "in mid-run"])
def test_every_scheduler_goes_on(case: SchedulerCase, when: int):
    """Each part has, at every step, the rate (and momentum) that its group would have had, times its multiplier."""
    if case.requires:
        pytest.importorskip(case.requires)
    scales = [1.0, 1.0, 0.5, 4.0]
    runs = []
    for split in (False, True):
        net, optimizer = two_groups()
        scheduler = case.build(optimizer, TOTAL)
        control = LRScale.of(optimizer)
        rates = []
        for step in range(TOTAL):
            if split and step == when:
                split_groups(optimizer, layers_of(net), [scheduler])
                assert control.attach([scheduler]) == []
                control.set_scale("layerwise", scales)
            rates.append((held(optimizer), held(optimizer, "momentum")))
            optimizer.step()
            case.step(scheduler)
        runs.append(rates[when:])
    for (rates, momenta), (split_rates, split_momenta) in zip(*runs, strict=True):
        assert split_rates == [rate * scale for rate, scale in zip(rates * 2, scales, strict=True)]
        assert split_momenta == momenta * 2

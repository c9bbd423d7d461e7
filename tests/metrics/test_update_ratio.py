"""The update ratio by hand, on several layers, and with half-precision weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_lr import UpdateRatio


def test_a_step_of_sgd_is_rate_times_gradient_over_weight():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 1))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    network(torch.randn(7, 3)).pow(2).mean().backward()
    expected = {}
    for name in ("0", "2"):
        layer = network[int(name)]
        size = torch.cat([p.detach().flatten() for p in layer.parameters()]).norm()
        expected[name] = float(0.01 * torch.cat([p.grad.flatten() for p in layer.parameters()]).norm() / size)
    ratio = UpdateRatio()
    before = ratio.copy_of(network)
    optimizer.step()
    ratio.update(network, before)
    found = {name: float(value) for name, value in ratio.compute().items()}
    assert found["update_ratio/0"] == pytest.approx(expected["0"], rel=1e-4)
    assert found["update_ratio/2"] == pytest.approx(expected["2"], rel=1e-4)
    assert found["update_ratio"] == pytest.approx(sum(expected.values()) / 2, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_overflow(dtype):
    layer = nn.Linear(1000, 10, bias=False).to(dtype)
    nn.init.constant_(layer.weight, 100.0)
    ratio = UpdateRatio()
    before = ratio.copy_of(layer)
    nn.init.constant_(layer.weight, 101.0)
    ratio.update(layer, before)
    assert float(ratio.compute()["update_ratio"]) == pytest.approx(0.01, rel=0.02)


def test_frozen_layers_and_layers_of_zeros_are_left_out():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2, bias=False))
    network[0].requires_grad_(False)
    nn.init.zeros_(network[2].weight)
    ratio = UpdateRatio()
    ratio.update(network, ratio.copy_of(network))
    assert set(ratio.compute()) == {"update_ratio", "update_ratio/1"}


def test_one_step_in_so_many_is_measured():
    layer = nn.Linear(2, 1, bias=False)
    ratio = UpdateRatio(every_n_steps=3)
    ratio.attach(layer, list(layer.named_parameters()))
    measured = []
    for _ in range(7):
        ratio.before_step()
        measured.append(ratio._before is not None)
        ratio.after_step()
    assert measured == [True, False, False, True, False, False, True]
    with pytest.raises(ValueError, match="at least 1 but got 0"):
        UpdateRatio(every_n_steps=0)

"""Neuron coherence against a ten-line reference on hand-made nets; no trace; layers found; ranks; resume."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_lr import NeuronCoherence
from lightning_lr.metrics.activations import watched_layers
from lightning_lr.metrics.isolation import isolated
from tests.helpers.ranks import run_on_ranks


def reference(first, second, batch, layers):
    """Share of pre-activations of these layers whose sign differs between two networks, on one batch."""
    changed = pairs = 0
    for layer in layers:
        signs = []
        for network in (first, second):
            activation = batch
            for part in network[: layer + 1]:
                activation = part(activation)
            signs.append(activation > 0)
        changed += int((signs[0] != signs[1]).sum())
        pairs += signs[0].numel()
    return changed / pairs


def mlp(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3)).eval()


def convolutional(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(64, 2))


class Functional(nn.Sequential):
    """The same kind of network with its activations as functions."""

    def forward(self, batch):
        for layer in self[:-1]:
            batch = F.gelu(layer(batch))
        return self[-1](batch)


def moved(network, step=0.3, seed=1):
    other = copy.deepcopy(network)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(step * torch.randn_like(parameter))
    return other


def measured(before, after, batch, **options):
    coherence = NeuronCoherence(**options)
    network = copy.deepcopy(before)
    coherence.update(network, batch)
    network.load_state_dict(after.state_dict())
    coherence.update(network, batch)
    return {name: float(value) for name, value in coherence.compute().items()}


@pytest.mark.parametrize(
    ("network", "batch", "layers"),
    [(mlp(), torch.randn(32, 4), (0, 2)), (convolutional().eval(), torch.randn(8, 1, 6, 6), (1,))],
    ids=["linear", "convolution, batch norm, activation in place"],
)
def test_it_agrees_with_the_reference(network, batch, layers):
    for seed in range(5):
        other = moved(network, 0.1 * (seed + 1), seed)
        found = measured(network, other, batch)["flip_rate"]
        assert found == pytest.approx(reference(network, other, batch, layers), abs=1e-6)
        assert found > 0


def test_functional_activations_are_seen_through_the_layers_before_them():
    torch.manual_seed(0)
    network = Functional(nn.Linear(4, 16), nn.Linear(16, 8), nn.Linear(8, 3))
    other, batch = moved(network), torch.randn(32, 4)
    hidden = [(torch.nn.Sequential(*[p for layer in n[:k] for p in (layer, nn.GELU())], n[k])(batch) > 0)
              for n in (network, other) for k in (0, 1)]  # fmt: skip
    changed = sum(int((a != b).sum()) for a, b in zip(hidden[:2], hidden[2:], strict=True))
    assert measured(network, other, batch)["flip_rate"] == pytest.approx(changed / (32 * 24), abs=1e-6)


def test_nothing_flips_where_nothing_changes_and_half_where_all_is_new():
    network, batch = mlp(), torch.randn(256, 4)
    same = measured(network, network, batch)
    assert (same["flip_rate"], same["output_change"]) == (0.0, 0.0)
    assert measured(network, mlp(seed=9), batch)["flip_rate"] == pytest.approx(0.5, abs=0.1)


def test_dead_and_saturated_units_are_counted():
    network = mlp()
    with torch.no_grad():
        network[0].bias[:4] = -1e3  # never positive: four of the 16 that can die
        network[2].bias[:2] = 1e3  # always at the bound: two of the eight that are bounded
    found = measured(network, network, torch.randn(64, 4))
    assert (found["dead_units"], found["saturated_units"]) == (4 / 16, 2 / 8)


FINDS = [
    ("activations", convolutional(), None, ["2"]),
    ("functions", Functional(nn.Linear(2, 2), nn.Linear(2, 2)), None, ["0"]),
    (
        "batch norm before a function",
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2)),
        None,
        ["1"],
    ),
    ("names", mlp(), ["[02]"], ["0", "2"]),
    ("types", mlp(), [nn.Tanh], ["3"]),
    ("not inside torch's transformer", nn.Sequential(nn.TransformerEncoderLayer(4, 1), nn.Linear(4, 2)), None, []),
    ("there by name", nn.Sequential(nn.TransformerEncoderLayer(4, 1), nn.Linear(4, 2)), ["*.linear1"], ["0.linear1"]),
]


@pytest.mark.parametrize(("why", "network", "wanted", "names"), FINDS, ids=[row[0] for row in FINDS])
def test_which_layers_it_finds(why, network, wanted, names):
    assert [layer.name for layer in watched_layers(network, wanted)] == names


def test_a_look_leaves_no_trace():
    network = convolutional().train()
    network.append(nn.Dropout())
    network[1].eval()  # a frozen part
    before = copy.deepcopy(network.state_dict())
    network(torch.randn(2, 1, 6, 6)).sum().backward()
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    state = torch.get_rng_state()
    coherence = NeuronCoherence(forward=lambda module, batch: module(batch) + torch.rand(()))
    coherence.update(network, torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(state, torch.get_rng_state())
    assert [module.training for module in network] == [True, False, True, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(network.parameters(), gradients, strict=True))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_buffers_that_change_in_evaluation_mode_come_back_even_after_an_error():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, batch):
            self.calls += 1
            raise RuntimeError("no")

    network = Counts()
    with pytest.raises(RuntimeError, match="no"), isolated(network):
        network(None)
    assert network.calls == 0
    assert network.training


def test_another_batch_is_not_compared():
    coherence, network = NeuronCoherence(), mlp()
    coherence.update(network, torch.zeros(3, 4))
    coherence.update(network, torch.ones(3, 4))
    assert "flip_rate" not in coherence.compute()


def test_a_copy_is_of_the_metric_without_the_network():
    coherence = NeuronCoherence()
    coherence.update(mlp(), torch.randn(8, 4))
    for one in (copy.deepcopy(coherence), pickle.loads(pickle.dumps(coherence))):
        assert one._ends == []
        assert one.compute().keys() == coherence.compute().keys()


@pytest.mark.ranks
def test_one_and_two_processes_give_the_same_value():
    """As a torchmetrics metric: each rank has seen half of the batch; dead and saturated units included."""
    network, other, batch = mlp(), moved(mlp()), torch.randn(32, 4)

    def half(rank):
        return measured(network, other, batch[rank::2])

    alone = measured(network, other, batch)
    for together in run_on_ranks(half):
        assert together == pytest.approx(alone, abs=1e-6)


def test_wrong_arguments_say_what_to_write():
    with pytest.raises(ValueError, match=r"list of names or types but got 'net'. Put it in a list"):
        NeuronCoherence(layers="net")
    with pytest.raises(ValueError, match="`rows` to be at least 1 but got 0"):
        NeuronCoherence(rows=0)
    with pytest.raises(ValueError, match=r"matches none of: 0, 1, 2, 3, 4"):
        NeuronCoherence(layers=["decoder"]).update(mlp(), torch.randn(2, 4))

"""The disparity of gradients by hand, and driven step by step."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from lightning_lr import GradientDisparity

POINTS = [torch.tensor(point) for point in ([0.0, 0.0], [3.0, 4.0], [3.0, 0.0])]


def found(metric):
    return {name: float(value) for name, value in metric.compute().items()}


def test_all_pairs_of_batches_count():
    metric = GradientDisparity()
    metric.update(*[[point[:1], point[1:]] for point in POINTS])
    squares = [float((a - b).square().sum()) for a, b in itertools.combinations(POINTS, 2)]
    sizes = 2 * sum(float(point.square().sum()) for point in POINTS)
    assert found(metric) == pytest.approx(
        {"gradient_disparity": (sum(squares) / 3) ** 0.5, "relative_disparity": sum(squares) / sizes}
    )


@pytest.mark.parametrize(
    ("why", "one", "other", "relative"),
    [
        ("the same", [1.0, 2.0], [1.0, 2.0], 0.0),
        ("across", [1.0, 0.0], [0.0, 1.0], 1.0),
        ("opposed", [1.0], [-1.0], 2.0),
    ],
)
def test_what_the_relative_disparity_means(why, one, other, relative):
    metric = GradientDisparity()
    metric.update([torch.tensor(one)], [torch.tensor(other)])
    assert found(metric)["relative_disparity"] == pytest.approx(relative)


def test_successive_steps_make_pairs():
    layer = nn.Linear(2, 1, bias=False)
    metric = GradientDisparity(every_n_steps=3)
    metric.attach(layer, list(layer.named_parameters()))
    gradients = [torch.tensor([[float(step), 0.0]]) for step in (1, 3, 9, 5, 6, 100)]
    for gradient in gradients:  # pairs (1, 3) and (5, 6); 9 and 100 are not looked at
        layer.weight.grad = gradient
        metric.before_step()
    assert metric.totals() == [4.0 + 1.0, 1 + 9 + 25 + 36.0, 2.0]


def test_a_gradient_that_overflowed_says_nothing():
    metric = GradientDisparity()
    metric.update([torch.tensor([float("inf")])], [torch.tensor([1.0])])
    assert found(metric) == {}


def test_in_mid_pair_it_is_saved_and_goes_on():
    layer = nn.Linear(2, 1, bias=False)

    def fresh():
        metric = GradientDisparity(every_n_steps=2)
        metric.attach(layer, list(layer.named_parameters()))
        return metric

    one = fresh()
    layer.weight.grad = torch.tensor([[1.0, 1.0]])
    one.before_step()
    other = fresh()
    other.load_memory(one.memory())
    layer.weight.grad = torch.tensor([[1.0, 3.0]])
    for metric in (one, other):
        metric.before_step()
    assert one.totals() == other.totals() == pytest.approx([4.0, 12.0, 1.0])


def test_a_pair_needs_two_steps():
    with pytest.raises(ValueError, match="at least 2 but got 1"):
        GradientDisparity(every_n_steps=1)

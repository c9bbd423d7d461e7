"""The rule that gives layers their multipliers: the hypergradient is one, and it leads to the known best ratio."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from lightning_lr.errors import ArgumentError
from lightning_lr.layerwise.rule import LARGEST, LayerRule, Products

FLAT = Products(dot=0.0, update=1.0, gradient=1.0, weight=1.0)
AHEAD = Products(dot=-0.5, update=1.0, gradient=1.0, weight=1.0)


class Quadratic:
    """½ Σ a‖w‖² over layers, gradients with noise: one step, and the products that the next gradient makes with it."""

    def __init__(self, curvatures, size=50, noise=1.0, seed=0):
        self.curvatures, self.noise, self.random = curvatures, noise, random.Random(seed)
        self.weights = [[1.0] * size for _ in curvatures]

    def loss(self, weights=None):
        layers = zip(self.curvatures, weights or self.weights, strict=True)
        return sum(0.5 * a * sum(x * x for x in layer) for a, layer in layers)

    def gradients(self):
        return [
            [a * x + self.noise * self.random.gauss(0, 1) for x in layer]
            for a, layer in zip(self.curvatures, self.weights, strict=True)
        ]

    def step(self, gradients, rates):
        before = self.weights
        self.weights = [
            [x - rate * g for x, g in zip(layer, grads, strict=True)]
            for layer, grads, rate in zip(before, gradients, rates, strict=True)
        ]
        fresh = self.gradients()
        return fresh, [
            products(g, [x - y for x, y in zip(new, old, strict=True)], new)
            for g, new, old in zip(fresh, self.weights, before, strict=True)
        ]


def products(gradient, update, weight):
    return Products(
        dot=sum(g * u for g, u in zip(gradient, update, strict=True)),
        update=sum(u * u for u in update),
        gradient=sum(g * g for g in gradient),
        weight=sum(w * w for w in weight),
    )


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_dot_is_the_derivative_of_the_loss_by_the_logarithm_of_the_multiplier(layer):
    """Central differences, through the whole step: log m → rate → weights → loss."""
    rates, h = [0.01, 0.03, 0.02], 1e-5

    def loss_at(log_m):
        quadratic = Quadratic([10.0, 1.0, 3.0], size=4, noise=0.0)
        moved = [rate * math.exp(log_m if at == layer else 0.0) for at, rate in enumerate(rates)]
        quadratic.step(quadratic.gradients(), moved)
        return quadratic.loss()

    quadratic = Quadratic([10.0, 1.0, 3.0], size=4, noise=0.0)
    _, found = quadratic.step(quadratic.gradients(), rates)
    assert found[layer].dot == pytest.approx((loss_at(h) - loss_at(-h)) / (2 * h), rel=1e-6)


@pytest.mark.parametrize("curvatures", [(10.0, 0.1), (0.5, 8.0)])
def test_multipliers_converge_to_the_inverse_curvatures(curvatures):
    """With noise alike in both layers, the best rates are as 1/a; nothing but the gradients tells the rule."""
    rule = LayerRule(["one", "other"], step=0.1, limit=30.0, trust=None)
    quadratic, level = Quadratic(curvatures), 0.3 / math.sqrt(math.prod(curvatures))
    gradients = quadratic.gradients()
    for _ in range(150):
        rates = [level * m for m in rule.multipliers.values()]
        window = []
        while len(window) < rule.window:
            gradients, found = quadratic.step(gradients, rates)
            window.append(found)
        rule.update(window, rates)
    multipliers = rule.multipliers
    best = curvatures[1] / curvatures[0]
    assert multipliers["one"] / multipliers["other"] == pytest.approx(best, rel=0.4)
    assert multipliers["one"] * multipliers["other"] == pytest.approx(1.0)


def windows(rule, count=40, seed=0, layers=3):
    """Noise, with layers that are unusable now and then."""
    source = random.Random(seed)
    for _ in range(count):
        window = []
        for _ in range(rule.window):
            row = [
                Products(source.uniform(-1, 1), 1.0, 1.0, 10 ** source.uniform(-3, 3) * (at + 1))
                for at in range(layers)
            ]
            if source.random() < 0.05:
                row[source.randrange(layers)] = replace(FLAT, gradient=0.0)
            window.append(row)
        yield window


def test_geometric_mean_is_one_whatever_comes():
    rule = LayerRule(["a", "b", "c"], step=0.5, limit=4.0)
    for window in windows(rule):
        rule.update(window, [0.1, 0.2, 0.3])
        assert math.prod(rule.multipliers.values()) == pytest.approx(1.0)
        assert all(1 / LARGEST**2 < m < LARGEST**2 for m in rule.multipliers.values())


def test_limit_holds_what_the_hypergradient_wants():
    rule = LayerRule(["a", "b"], step=1.0, limit=2.0, trust=None)
    for _ in range(20):
        rule.update([[AHEAD, FLAT]] * rule.window, [0.1, 0.1])
    assert rule.multipliers == pytest.approx({"a": 2.0, "b": 0.5})


@pytest.mark.parametrize(
    ("weights", "rates", "expected"),
    [
        pytest.param((1.0, 1.0), (0.1, 0.1), (1.0, 1.0), id="alike"),
        pytest.param((1.0, 9.0), (0.1, 0.1), (1.0, 1.0), id="inside the band"),
        # ‖w‖ 1 and 100: 10 times off the mean on either side, brought to 4 times off it
        pytest.param((1.0, 1e4), (0.1, 0.1), (0.4, 2.5), id="badly scaled"),
        # the second has a rate of a hundredth, so that its update would be 100 times as long at the same rate
        pytest.param((1.0, 1e4), (0.1, 0.001), (1.0, 1.0), id="slow because the user wants it"),
        pytest.param((1.0, 1e4), (0.1, 0.0), (1.0, 1.0), id="frozen by a rate of 0"),
        pytest.param((1.0, math.inf), (0.1, 0.1), (1.0, 1.0), id="overflown"),
    ],
)
def test_trust_ratios_are_brought_into_the_band(weights, rates, expected):
    rule = LayerRule(["a", "b"], step=0.0, trust=4.0)
    rule.update([[replace(FLAT, weight=weight) for weight in weights]], rates)
    assert list(rule.multipliers.values()) == pytest.approx(expected)


def test_step_that_an_overflow_spoilt_is_left_out():
    broken = Products(math.nan, math.inf, math.nan, math.nan)
    rule, plain = (LayerRule(["a", "b"], trust=None) for _ in range(2))
    rule.windows = plain.windows = 2
    rule.update([[AHEAD, FLAT], [broken, broken]], [0.1, 0.1])
    plain.update([[AHEAD, FLAT]], [0.1, 0.1])
    assert rule.multipliers == plain.multipliers


def test_layer_without_a_gradient_keeps_its_multiplier():
    rule = LayerRule(["a", "b", "head"], step=1.0, trust=None)
    rule.update([[AHEAD, FLAT, replace(FLAT, gradient=0.0)]], [0.1] * 3)
    assert rule.multipliers["head"] == 1.0
    assert rule.multipliers["a"] > 1 > rule.multipliers["b"]


def test_state_goes_by_name():
    rule = LayerRule(["a", "b"], step=1.0)
    rule.update([[AHEAD, FLAT]], [0.1, 0.1])
    other = LayerRule(["new", "b", "a"], step=1.0)
    other.load_state_dict(rule.state_dict())
    assert other.multipliers == pytest.approx({**rule.multipliers, "new": 1.0})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step": -0.1}, "Expected `step` to be a number from 0 to 1 but got -0.1."),
        ({"limit": 0.5}, "Expected `limit` to be a number from 1 to 30 but got 0.5."),
        ({"limit": "2"}, "Expected `limit` to be a number from 1 to 30 but got '2'."),
        ({"trust": math.nan}, "Expected `trust` to be a number from 1 to 1e+06 but got nan."),
    ],
)
def test_what_cannot_work_is_refused(arguments, message):
    with pytest.raises(ArgumentError) as caught:
        LayerRule(["a"], **arguments)
    assert str(caught.value) == message

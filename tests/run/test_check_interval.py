"""How often the training loss is looked at between validations."""

from __future__ import annotations

import math

import pytest

from lightning_lr.run.check_interval import block_size, steps_between_checks

# asked, budget, steps from one validation to the next → steps from one check to the next
CADENCES = [
    pytest.param(None, 1_200, 120, None, id="short epochs: validation comes often enough"),
    pytest.param(None, 6_000, 300, None, id="as often as a twentieth"),
    pytest.param(None, 6_000, 600, 300, id="two in an epoch"),
    pytest.param(None, 6_000, 800, 400, id="an epoch is divided evenly, rather too seldom than too often"),
    pytest.param(None, 1_000, 1_000, 100, id="one long epoch: never below 100"),
    pytest.param(None, 1_000_000, 50_000, 1_000, id="never above 1000"),
    pytest.param(None, None, 50_000, 1_000, id="no budget"),
    pytest.param(None, 4_000, math.inf, 200, id="an epoch without an end"),
    pytest.param(70, 4_000, 300, 70, id="the user's own"),
    pytest.param(300, 4_000, 300, None, id="the user's own, no oftener than validation"),
    pytest.param(0, 4_000, math.inf, None, id="none"),
]


@pytest.mark.parametrize(("asked", "budget", "validation", "expected"), CADENCES)
def test_cadence(asked, budget, validation, expected):
    assert steps_between_checks(asked, budget, validation) == expected


@pytest.mark.parametrize("steps", [1, 7, 100, 575, 1000])
def test_a_window_has_at_least_eight_blocks_where_it_has_as_many_steps(steps):
    blocks = steps / block_size(steps)
    assert min(8, steps) <= blocks <= 16

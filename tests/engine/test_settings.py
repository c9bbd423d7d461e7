"""The settings of the core."""

from __future__ import annotations

import pytest

from lightning_lr.engine.settings import Settings


@pytest.mark.parametrize(
    ("why", "min_lr", "max_lr", "group", "expected"),
    [
        ("no bounds", 0.0, None, 0, (0.0, None)),
        ("one number serves every group", 1e-4, 1.0, 7, (1e-4, 1.0)),
        ("one a group", (1e-4, 1e-5), (1.0, 2.0), 1, (1e-5, 2.0)),
        ("a list that is too short serves with its last", (1e-4, 1e-5), (1.0, 2.0), 5, (1e-5, 2.0)),
        ("a list of one", (1e-4,), (1.0,), 3, (1e-4, 1.0)),
        ("a list for one bound only", (1e-4, 1e-5), None, 0, (1e-4, None)),
    ],
)
def test_bounds(why, min_lr, max_lr, group, expected):
    assert Settings(min_lr=min_lr, max_lr=max_lr).bounds(group) == expected, why

"""A search leaves no trace: whatever the program does, everything is as in a run without one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from lightning_lr import LearningRateController
from lightning_lr.engine.lr_search.finder import Finder
from lightning_lr.run.lr_search.first_update import FirstUpdate
from tests.run.lr_search.programs import Average, Program, State, cases, differences, fit

pytestmark = [
    pytest.mark.filterwarnings("ignore:.training_step. returned .None"),
    pytest.mark.filterwarnings("ignore:It is recommended to use .*sync_dist"),
]


@pytest.fixture(autouse=True)
def the_rate_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the readings say."""
    plain = Finder.result
    monkeypatch.setattr(Finder, "result", lambda self: replace(plain(self), factor=1.0))


def ended(habits: Any, find_lr: Any, step: int = 1, **options: Any) -> tuple[Any, list[Any], LearningRateController]:
    module, state = Program(habits), State(step)
    ours = LearningRateController(find_lr=find_lr, anneal=False, policy="auto", verbose=False)
    fit(module, ours, Average(), state, **options)
    return state.dump, [weight.detach().clone() for weight in module.parameters()], ours


@pytest.mark.parametrize("habits", cases(12, 6, seed=7), ids="+".join)
def test_everything_is_as_without_a_search(habits: tuple[str, ...]) -> None:
    searched, weights, ours = ended(habits, "auto")
    plain, others, _ = ended(habits, False)
    explored = [decision for decision in ours.decisions if decision.action == "explore"]
    assert len(explored) == 1
    assert "readings" in explored[0].reason, explored[0].reason
    assert differences(searched, plain) == []
    assert all(torch.equal(one, other) for one, other in zip(weights, others, strict=True))


def test_running_means_do_not_follow_weights_that_begin_at_one() -> None:
    """Seen from weights of one, numbers near zero lie on the line of an update that is alike for all, far beyond it."""
    weights, means = torch.ones(5), torch.tensor([0.01, -0.02, 0.015, 0.0, -0.01])
    average = torch.ones(5)
    update = FirstUpdate({"lr": [weights]})
    update.before_step()
    weights.sub_(3e-5)
    average.lerp_(weights, 0.25)
    update.after_step()
    before = means.clone()
    update.rescale({"lr": 400.0}, [means, average])
    assert torch.equal(means, before)
    assert torch.allclose(1 - weights, torch.tensor(0.012), rtol=0.01)
    assert torch.allclose(1 - average, torch.tensor(0.003), rtol=0.05)

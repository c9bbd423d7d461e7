"""The critical ratio on a parabola whose answer is known, and that it leaves nothing behind."""

from __future__ import annotations

import copy

import pytest
import torch
import torchmetrics
from torch import nn

from lightning_lr import CriticalRatio
from lightning_lr.metrics.critical_ratio import MULTIPLES, crossing


class Parabola(nn.Module):
    """(w − 1)² with a validation step that logs, draws random numbers and feeds a metric."""

    def __init__(self, returns: str = "loss") -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.0]))
        self.mean = torchmetrics.MeanMetric()
        self.returns = returns
        self.logged: list[float] = []

    def log(self, name: str, value: torch.Tensor) -> None:
        self.logged.append(float(value))

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> object:
        loss = ((self.w - 1) ** 2).sum() + 0 * torch.rand(())
        self.log("val_loss", loss)
        self.mean(loss)
        return {"loss": loss, "dict": {"loss": loss}, "none": None}[self.returns]


def measured(network: Parabola, to: float, **options: object) -> dict[str, float]:
    ratio = CriticalRatio(**options)
    ratio.attach(network, list(network.named_parameters()))
    ratio.before_step()
    with torch.no_grad():
        network.w += to
    ratio.after_step()
    ratio.observe(torch.zeros(1))
    return ratio.readings(ratio.totals())


# One step from 0 to x: the loss at (1 + m)·x is back at (x − 1)² where m·x = 2·(1 − x).
ROWS = [
    ("a hundredth of the way", 0.01, 198.0),
    ("a tenth", 0.1, 18.0),
    ("nearly half way", 0.4, 3.0),
    ("to the bottom", 1.0, 0.0),
    ("across the valley", 1.5, 0.0),
    ("less than can be seen", 0.001, 200.0),
]


@pytest.mark.parametrize(("step", "kappa"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_on_a_parabola_it_is_what_the_formula_says(step, kappa):
    assert measured(Parabola(), step)["critical_ratio"] == pytest.approx(kappa, rel=1e-3)


def test_it_leaves_nothing_behind():
    network = Parabola()
    network.mean(torch.tensor(3.0))
    torch.manual_seed(1)
    state, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    measured(network, 0.25)
    assert float(network.w.detach()) == 0.25
    assert all(torch.equal(now, state[name]) for name, now in network.state_dict().items() if name != "w")
    assert torch.equal(torch.get_rng_state(), random)
    assert float(network.mean.compute()) == 3.0
    assert network.mean._update_count == 1
    assert network.logged == []
    network.log("val_loss", torch.tensor(1.0))
    assert network.logged == [1.0]
    assert network.training
    assert network.w.grad is None


def test_the_weights_come_back_where_the_step_fails():
    class Broken(Parabola):
        def validation_step(self, batch: torch.Tensor, batch_idx: int) -> object:
            raise ValueError("a broken step")

    network = Broken()
    with pytest.raises(ValueError, match="a broken step"):
        measured(network, 0.25)
    assert float(network.w.detach()) == 0.25
    network.log("val_loss", torch.tensor(1.0))
    assert network.logged == [1.0]


# what validation_step returns, the user's own loss, whether there is a value
RETURNS = [("loss", None, True), ("dict", None, True), ("none", None, False), ("none", "own", True)]


@pytest.mark.parametrize(("returns", "own", "known"), RETURNS, ids=str)
def test_where_the_loss_comes_from(returns, own, known):
    loss = (lambda module, batch: ((module.w - 1) ** 2).sum()) if own else None
    assert ("critical_ratio" in measured(Parabola(returns), 0.1, loss=loss)) is known


CURVES = [
    ("explodes at once", [1.0, float("inf")] + [float("nan")] * 4, 0.0),
    ("explodes later", [1.0, 0.5, float("nan"), 1.0, 1.0, 1.0], 2.0),
    ("flat", [1.0] * 6, 0.0),
    ("half way", [1.0, 0.9, 0.8, 0.8, 1.2, 2.0], 50.0),
]


@pytest.mark.parametrize(("losses", "kappa"), [row[1:] for row in CURVES], ids=[row[0] for row in CURVES])
def test_the_crossing(losses, kappa):
    assert len(losses) == len(MULTIPLES)
    assert crossing(losses) == pytest.approx(kappa)


def test_ranks_add_their_losses():
    ratio = CriticalRatio()
    assert ratio.readings([0.0] * 6) == {}
    up, down = [1.0, 1.1, 1.2, 1.3, 1.5, 9.0], [1.0, 0.7, 0.4, 0.2, 0.5, 9.0]
    together = [a + b for a, b in zip(up, down, strict=True)]
    assert ratio.readings(together)["critical_ratio"] == pytest.approx(crossing(together)) == pytest.approx(60.0)


def test_the_newest_update_counts_and_a_restore_forgets_it():
    network = Parabola()
    ratio = CriticalRatio(every_n_steps=2)
    ratio.attach(network, list(network.named_parameters()))
    measured_at = []
    for _ in range(4):
        ratio.before_step()
        measured_at.append(ratio._before is not None)
        with torch.no_grad():
            network.w += 0.01
        ratio.after_step()
    assert measured_at == [True, False, True, False]
    ratio.forget()
    ratio.observe(torch.zeros(1))
    assert ratio.readings(ratio.totals()) == {}


def test_bad_input():
    with pytest.raises(ValueError, match="Expected `every_n_steps` to be at least 1 but got 0"):
        CriticalRatio(every_n_steps=0)

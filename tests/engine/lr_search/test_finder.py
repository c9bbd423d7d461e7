"""What is read along the first update, and what the readings come to: curves in, rates out."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_lr.engine.lr_search.finder import CAP, DECADES, KEEP, MOST, OUTSIDE, RAISE, Finder
from lightning_lr.engine.lr_search.optimizer_kind import ADAGRAD, ADAM, OptimizerKind, rmsprop, sgd
from lightning_lr.engine.records import SearchResult, low_enough

Curve = Callable[[float], float]
BATCHES = (-0.2, -0.05, 0.1, 0.15)
"""By how much the loss of each fixed batch differs from the mean."""


def parabola(at: float, gain: float = 1.0) -> Curve:
    """Lowest at a rate, where the loss has fallen by ``gain``."""
    return lambda rate: 2.0 + gain * ((rate / at - 1) ** 2 - 1)


def search(curve: Curve, given: float, kind: OptimizerKind = ADAM, horizon: int = 100, **limits: float) -> SearchResult:
    """A search from a rate, over a curve of the loss by the rate that the first update stands for."""
    return read(curve, given, kind, horizon, **limits).result()


def read(curve: Curve, given: float, kind: OptimizerKind = ADAM, horizon: int = 100, **limits: float) -> Finder:
    finder = Finder(kind, horizon, **limits)
    while (multiple := finder.ask()) is not None:
        finder.tell([curve(multiple * given) + apart for apart in BATCHES])
    return finder


@pytest.mark.parametrize("decades", [-2.9, -2, -1.3, 0.5, 1, 2, 2.9])
def test_the_rate_is_found_from_any_start_within_the_range(decades: float) -> None:
    found = search(parabola(0.01), 0.01 * 10**decades)
    assert 0.01 * 10**decades * found.factor == pytest.approx(0.01, rel=0.25)
    assert found.checked
    assert len(found.readings) <= MOST


@pytest.mark.parametrize(
    ("times", "anneals"),
    [(1.1 / RAISE, False), (0.3, False), (1.1 / low_enough(100), True), (0.6, True), (0.95 * KEEP, True)],
)
def test_a_rate_near_the_estimate_is_kept(times: float, anneals: bool) -> None:
    """Upward one update is no reason to move it by little; one that is too low is not annealed either."""
    found = search(parabola(0.01), 0.01 * times)
    assert (found.factor, found.checked, found.anneals) == (1.0, True, anneals)


@pytest.mark.parametrize(
    ("given", "best", "horizon", "rate"),
    [
        (1.0, 100.0, 100, 1.0),  # a usual rate is not raised,
        (1.01 / OUTSIDE, 100.0, 100, 1.01 / OUTSIDE),  # nor one near it,
        (10.0, 3e3, 100, 10.0),  # nor one above it;
        (0.1, 3.0, 100, 3.0),  # one far below it is, to the estimate,
        (0.01, 20.0, 100, CAP),  # and to ten times the usual one at the most,
        (0.01, 20.0, 800, CAP / 2),  # which is less for a longer run;
        (0.1, 0.4, 100, 0.1),  # not by a factor of four;
        (1.0, 0.1, 100, 0.1),  # and it is lowered as far as the estimate says.
        (100.0, 0.3, 100, 0.3),
        (100.0, 30.0, 100, CAP),  # whatever is moved goes no further than that,
        (100.0, 70.0, 100, CAP),  # and far above the usual rate there is no margin.
    ],
)
def test_the_usual_rate_of_an_optimizer_limits_what_is_raised(
    given: float, best: float, horizon: int, rate: float
) -> None:
    found = search(parabola(best), given, horizon=horizon, usual=1 / given)
    assert given * found.factor == pytest.approx(rate, rel=0.25)
    assert found.anneals == (rate != given)  # each of those that stay is far too low


@pytest.mark.parametrize(
    ("given", "best", "horizon", "most"),
    [
        (1.0, 1.0, 100, 2),
        (1.0, 100.0, 100, 2),
        (1.0, 0.3, 100, 4),
        (1.0, 1.0, 500, 3),
        (1.0, 100.0, 500, 3),
        (0.01, 3.0, 100, 4),
        (100.0, 3.0, 100, 4),
    ],
)
def test_what_does_not_matter_is_not_read(given: float, best: float, horizon: int, most: int) -> None:
    """If the usual rate is known: three readings at a right start, two in a short run."""
    assert len(search(parabola(best), given, horizon=horizon, usual=1 / given).readings) == most


@pytest.mark.parametrize(("horizon", "share"), [(50, 1.0), (100, 1.0), (800, 0.5), (100_000, 0.1)])
def test_a_longer_run_gets_a_lower_rate(horizon: int, share: float) -> None:
    assert search(parabola(1.0), 0.01, horizon=horizon).estimate == pytest.approx(100 * share, rel=0.25)


@pytest.mark.parametrize(
    ("kind", "share"),
    [(ADAM, 1.0), (sgd(), 0.5), (sgd(0.9), 0.05), (sgd(0.9, nesterov=True), 0.095), (rmsprop(), 2.0), (ADAGRAD, 2.0)],
)
def test_what_a_first_update_stands_for_depends_on_the_optimizer(kind: OptimizerKind, share: float) -> None:
    """Of SGD on a parabola half is taken, since an overshoot grows there."""
    assert search(parabola(1.0), 0.01, kind).estimate == pytest.approx(100 * share, rel=0.25)


def test_an_overshoot_that_heals_itself_allows_more() -> None:
    """Beyond its minimum the loss of a network with batch norm hardly rises."""

    def soft(rate: float) -> float:
        return parabola(1.0)(rate) if rate < 2 else 2.0 + 0.1 * math.log(rate)

    hard, healing = (search(curve, 0.01, sgd()).estimate for curve in (parabola(1.0), soft))
    assert healing == pytest.approx(5 * hard, rel=0.2)


# --- what tells nothing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("curve", "says"),
    [
        (lambda rate: 2.0, "none is lower than before it"),
        (lambda rate: 2.0 + rate, "none is lower than before it"),
        (lambda rate: math.nan, "the loss before training is not finite"),
        (lambda rate: 2.0 if rate == 0 else math.inf, "none is lower than before it"),
    ],
    ids=["flat", "uphill", "no number", "infinite beyond the start"],
)
def test_where_nothing_is_told_the_rate_stays(curve: Curve, says: str) -> None:
    found = search(curve, 0.01)
    assert (found.factor, found.estimate, found.checked) == (1.0, None, False)
    assert says in str(found)
    assert len(found.readings) <= MOST


def test_a_loss_that_falls_for_ever_is_followed_to_the_end_of_the_range_but_not_taken_for_checked() -> None:
    found = search(lambda rate: 2.0 - math.log1p(rate), 1e-3)
    assert (found.factor, found.checked) == (DECADES, False)
    assert "still falls at the last" in str(found)


def test_a_reading_that_is_infinite_is_uphill() -> None:
    def breaks(rate: float) -> float:
        return parabola(0.01)(rate) if rate < 0.03 else math.nan

    assert search(breaks, 1.0).factor == pytest.approx(0.01, rel=0.5)
    assert search(breaks, 1e-4).factor == pytest.approx(100, rel=0.5)


def test_a_rate_that_is_too_high_by_more_than_the_range_is_lowered_to_its_end() -> None:
    found = search(parabola(0.01), 1e3)
    assert (found.factor, found.checked) == (1 / DECADES, False)
    assert "the loss is higher than before it down to the last" in str(found)


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [1e-7, 1e3])
def test_nothing_is_read_far_beyond_the_range(start: float) -> None:
    """Three decades, and one reading of the grid beyond them, so that a minimum at the end is seen."""
    for kind in (ADAM, sgd(0.9), rmsprop()):
        multiples = [multiple for multiple in read(parabola(0.01), start, kind).readings if multiple]
        steady = [multiple / kind.response * (2 if kind.fading else 1) for multiple in multiples]
        assert 1 / (4.1 * DECADES) <= min(steady) <= max(steady) <= 4.1 * DECADES


@pytest.mark.parametrize(("limits", "factor"), [({"highest": 3.0}, 3.0), ({"most": 100.0}, 100.0)])
def test_bounds_from_below(limits: dict[str, float], factor: float) -> None:
    found = search(parabola(0.01), 2e-5, **limits)
    assert found.factor == factor


@pytest.mark.parametrize(("limits", "factor"), [({"lowest": 0.5}, 0.5), ({"most": 100.0}, 0.01)])
def test_bounds_from_above(limits: dict[str, float], factor: float) -> None:
    assert search(parabola(0.01), 4.0, **limits).factor == factor


# --- shift and scale --------------------------------------------------------------------------------------------------


@given(
    at=st.floats(-4, 1),
    start=st.floats(-4, 1),
    scale=st.sampled_from([1e-6, 0.5, 3.0, 1e4]),
    shift=st.sampled_from([-1e3, -2.0, 0.0, 7.0, 1e3]),
    kind=st.sampled_from([ADAM, sgd(0.9), rmsprop()]),
    cliff=st.floats(1.5, 1e3),
)
def test_a_loss_scaled_and_shifted_decides_alike(
    at: float, start: float, scale: float, shift: float, kind: OptimizerKind, cliff: float
) -> None:
    """Of the loss only differences are used, and of these only ratios."""

    def plain(rate: float) -> float:
        return parabola(10**at)(rate) if rate < cliff * 10**at else math.inf

    def other(rate: float) -> float:
        return scale * (plain(rate) + shift)

    one, two = (Finder(kind, 300) for _ in range(2))
    while (multiple := one.ask()) is not None:
        assert two.ask() == pytest.approx(multiple, rel=1e-3)
        one.tell([plain(multiple * 10**start) + apart for apart in BATCHES])
        two.tell([other(multiple * 10**start) + scale * apart for apart in BATCHES])
    assert two.ask() is None
    assert two.result().factor == pytest.approx(one.result().factor, rel=1e-3)
    assert two.result().checked == one.result().checked


@given(losses=st.lists(st.floats(-1e3, 1e3) | st.just(math.inf), min_size=MOST, max_size=MOST))
def test_any_losses_come_to_an_end(losses: list[float]) -> None:
    for kind in (ADAM, sgd(0.9)):
        finder, told = Finder(kind, 100), iter(losses)
        while finder.ask() is not None:
            finder.tell([next(told)])
        found = finder.result()
        assert 1 / DECADES <= found.factor <= DECADES
        assert not (found.checked and found.estimate is None)

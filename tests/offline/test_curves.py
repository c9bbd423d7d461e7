"""Seeded curves: the same every time, and true to what they say of themselves."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random
from statistics import fmean, pstdev

import pytest

from lightning_lr.engine.vocabulary import Condition
from lightning_lr.offline.curves import FAMILIES, STEPS, divergence, loss_spike, noise_of, overfitting, plateau

EVERY = pytest.mark.parametrize("family", FAMILIES)


@EVERY
def test_a_seed_gives_the_same_curve_again_and_another_seed_another_curve(family):
    assert repr(FAMILIES[family](3)) == repr(FAMILIES[family](3))
    assert repr(FAMILIES[family](3).readings) != repr(FAMILIES[family](4).readings)


@EVERY
def test_the_name_says_family_and_seed_and_the_onset_lies_inside(family):
    curve = FAMILIES[family](7)
    assert curve.name == f"{family}-7"
    assert (curve.onset is None) == (curve.condition is Condition.HEALTHY)
    assert curve.onset is None or 0 < curve.onset < len(curve.readings)


@EVERY
def test_readings_are_numbered_and_windows_agree_with_their_blocks(family):
    for number, reading in enumerate(FAMILIES[family](1).readings):
        assert (reading.check, reading.epoch, reading.step) == (number, number, (number + 1) * STEPS)
        window = reading.train
        assert window is not None
        if window.blocks:
            assert window.mean == pytest.approx(fmean(window.blocks))
        else:
            assert math.isnan(window.mean)
            assert window.ends_non_finite


def test_a_plateau_stops_at_its_onset():
    curve = plateau(seed=2, noise=0.0)
    assert len(set(curve.values[curve.onset :])) == 1
    assert curve.values[curve.onset - 1] > curve.values[curve.onset]


def test_overfitting_turns_at_the_minimum_while_training_falls_on():
    curve = overfitting(seed=2, noise=0.0)
    assert curve.values.index(min(curve.values)) == curve.onset
    train = [reading.train.mean for reading in curve.readings]
    assert train == sorted(train, reverse=True)


def test_divergence_never_comes_back():
    curve = divergence(seed=2, noise=0.0)
    after = curve.values[curve.onset :]
    assert after == sorted(after)


def test_a_spike_is_gone_after_a_few_checks():
    spike = loss_spike(seed=2, noise=0.0)
    late = [r.train.mean for r in spike.readings[spike.onset + 5 :]]
    assert late == sorted(late, reverse=True)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_noise_has_deviation_one_and_the_correlation_it_says(phi):
    noise = noise_of(Random(0), 20000, phi)
    assert pstdev(noise) == pytest.approx(1.0, abs=0.06)
    assert fmean(a * b for a, b in pairwise(noise)) == pytest.approx(phi, abs=0.06)

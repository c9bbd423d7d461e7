"""Seeded curves with a known onset: the tests, the docs, the demo and the detection benchmark use the same ones.

A :class:`Curve` is the list of :class:`~lightning_lr.engine.records.Reading` that such a run would have given. Its
noise-free shape is known, and so is the check at which its condition sets in. All lengths are in checks; all noise is
in shares of the *gain*, the distance that the curve falls in all; so each curve means the same at any scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from lightning_lr.engine.records import Reading, TrainWindow
from lightning_lr.engine.vocabulary import Condition

MONITOR = "val_loss"
"""Name of the monitor in every curve."""

STEPS = 40
"""Training steps between two checks."""

BLOCKS = 4
"""Block means of the training loss that one check brings."""

Shape = Callable[[float], float]
"""Noise-free value at a check; also between two checks, so that the blocks of one window have a trend of their own."""


@dataclass(frozen=True)
class Curve:
    """A run with a known end.

    Attributes:
        name: family and seed.
        condition: what is wrong with it from the onset on; ``healthy`` if nothing is.
        onset: first check at which the condition is there; ``None`` for a healthy curve.
        readings: one for each check.
    """

    name: str
    condition: Condition
    onset: int | None
    readings: tuple[Reading, ...]

    @property
    def values(self) -> list[float]:
        """The monitor's value at each check."""
        return [reading.metrics[MONITOR] for reading in self.readings]

    def __str__(self) -> str:
        when = "" if self.onset is None else f" from check {self.onset} on"
        return f"{self.name}: {self.condition}{when}, {len(self.readings)} checks"


def readings_of(values: Sequence[float], blocks: Sequence[Sequence[float]] | None = None) -> tuple[Reading, ...]:
    """Readings from plain numbers: a monitor's values and, if known, the block means of each training window.

    >>> print(readings_of([0.5], [[1.0, 0.5]])[0])
    check 0 (epoch 0, step 40): val_loss 0.5; training loss 0.75 over 40 steps
    """
    windows = [window_of(block) for block in blocks] if blocks is not None else [None] * len(values)
    return tuple(
        Reading(check, epoch=check, step=(check + 1) * STEPS, metrics={MONITOR: value}, train=window)
        for check, (value, window) in enumerate(zip(values, windows, strict=False))
    )


def window_of(blocks: Sequence[float]) -> TrainWindow:
    """A training window whose mean is the mean of its finite blocks."""
    finite = tuple(block for block in blocks if math.isfinite(block))
    lost = (len(blocks) - len(finite)) * STEPS // max(1, len(blocks))
    mean = math.fsum(finite) / len(finite) if finite else math.nan
    return TrainWindow(mean, finite, STEPS, lost, ends_non_finite=bool(blocks) and not math.isfinite(blocks[-1]))


def noise_of(rng: Random, count: int, phi: float = 0.0) -> list[float]:
    """Normal noise of deviation 1, each value correlated with the one before by ``phi`` (AR(1), stationary).

    >>> [round(value, 2) for value in noise_of(Random(0), 3)]
    [0.94, -1.4, -0.68]
    """
    values = [rng.gauss(0.0, 1.0)]
    while len(values) < count:
        values.append(phi * values[-1] + math.sqrt(1 - phi * phi) * rng.gauss(0.0, 1.0))
    return values[:count]


def drawn(
    name: str,
    seed: int,
    checks: int,
    noise: float,
    val: Shape,
    train: Shape | None = None,
    condition: Condition = Condition.HEALTHY,
    onset: int | None = None,
    phi: float = 0.0,
    train_noise: float | None = None,
    calm: Shape = lambda check: 1.0,
) -> Curve:
    """A curve from its noise-free shapes, at a scale that the seed draws.

    Args:
        name: family.
        seed: of the noise and of the scale.
        checks: how many.
        noise: deviation of one validation value, and of one block of the training loss.
        val: noise-free validation value.
        train: noise-free training loss, if it is another.
        condition: what is wrong from the onset on.
        onset: the check at which it begins.
        phi: correlation of neighbouring values.
        train_noise: deviation of one block of the training loss, if it is another.
        calm: multiplier of the noise at a check (annealing calms it).
    """
    train = train or val
    rng = Random(f"{name} {seed}")
    scale = 10 ** rng.uniform(-1, 1)
    spread = noise if train_noise is None else train_noise
    wobble, blocks = noise_of(rng, checks, phi), noise_of(rng, checks * BLOCKS, phi)
    values = [scale * (val(c) + noise * calm(c) * wobble[c]) for c in range(checks)]
    windows = [
        [scale * (train(c + (b + 0.5) / BLOCKS - 1) + spread * calm(c) * blocks[c * BLOCKS + b]) for b in range(BLOCKS)]
        for c in range(checks)
    ]
    return Curve(f"{name}-{seed}", condition, onset, readings_of(values, windows))


def _random(name: str, seed: int) -> Random:
    """For the shape; the noise has one of its own."""
    return Random(f"pace {name} {seed}")


def power(exponent: float, start: float = 2.0, floor: float = 0.3) -> Shape:
    """Falls from floor + 1 like a power of time, and never stops: how losses of large models fall."""
    return lambda check: floor + (1 + max(0.0, check) / start) ** -exponent


def exponential(tau: float, floor: float = 0.3) -> Shape:
    """Falls from floor + 1 by a constant share of what remains: how a quadratic bowl is descended."""
    return lambda check: floor + math.exp(-max(0.0, check) / tau)


def healthy(
    seed: int,
    checks: int = 60,
    shape: str = "exponential",
    noise: float = 0.01,
    phi: float = 0.0,
    name: str = "healthy",
) -> Curve:
    """A descent that goes on to the end, as fast as the seed draws.

    Its shape is ``"exponential"`` (time constant half to all of the run) or ``"power"`` (exponent 0.3 to 0.8).

    >>> curve = healthy(seed=0)
    >>> print(curve, [round(value, 3) for value in curve.values[:3]])
    healthy-0: healthy, 60 checks [0.164, 0.161, 0.158]
    """
    rng = _random(name, seed)
    val = exponential(rng.uniform(0.5, 1.0) * checks) if shape == "exponential" else power(rng.uniform(0.3, 0.8))
    # A gap that is wide and steady: generalization never is perfect, and that alone is no overfitting.
    gap = rng.uniform(0.0, 0.2)
    return drawn(name, seed, checks, noise, val, lambda check: val(check) - gap, phi=phi)


def annealed(seed: int, checks: int = 60, noise: float = 0.02, name: str = "healthy-annealed") -> Curve:
    """A healthy descent under the user's own annealing over the last half: it quickens and calms towards the end."""
    rng = _random(name, seed)
    fall, bounce = power(rng.uniform(0.3, 0.8)), rng.uniform(0.05, 0.2)

    def rate(check: float) -> float:
        return min(1.0, 2.0 * (checks - check) / checks)

    return drawn(name, seed, checks, noise, lambda c: fall(c) + bounce * rate(c), calm=lambda c: max(0.1, rate(c)))


def small_validation(seed: int, checks: int = 60, noise: float = 0.08, name: str = "healthy-small-validation") -> Curve:
    """A healthy descent seen through a validation set so small that its noise hides it; the training loss is calm."""
    val = exponential(_random(name, seed).uniform(0.5, 1.0) * checks)
    return drawn(name, seed, checks, noise, val, train_noise=0.01)


def after_spike(seed: int, checks: int = 60, noise: float = 0.005, name: str = "healthy-after-spike") -> Curve:
    """A jump that loses up to a third of the progress, then a steady descent that stays above the old best for long."""
    rng = _random(name, seed)
    fall, at, height = exponential(rng.uniform(0.5, 1.0) * checks), rng.randint(20, 30), rng.uniform(0.1, 0.2)
    lasting = rng.uniform(8, 16)

    def val(check: float) -> float:
        return fall(check) + (height * math.exp(-(check - at) / lasting) if check >= at else 0.0)

    return drawn(name, seed, checks, noise, val)


def plateau(seed: int, checks: int = 120, noise: float = 0.01, phi: float = 0.0, name: str = "plateau") -> Curve:
    """A descent that stops at the onset, a third to a half of the way in, and never goes on.

    >>> print(plateau(seed=1))
    plateau-1: plateau from check 50 on, 120 checks
    """
    rng = _random(name, seed)
    onset, tau = rng.randint(checks // 3, checks // 2), rng.uniform(0.6, 1.2)
    fall = exponential(tau * onset) if rng.random() < 0.5 else power(rng.uniform(0.3, 0.8))
    return drawn(name, seed, checks, noise, lambda c: fall(min(c, onset)), None, Condition.PLATEAU, onset, phi)


def _falling(name: str, seed: int, checks: int) -> tuple[Random, int, Shape]:
    """An onset in the first half, and a descent that is nearly over there."""
    rng = _random(name, seed)
    onset = rng.randint(checks // 5, checks // 2)
    return rng, onset, exponential(onset * rng.uniform(0.3, 0.6))


def overfitting(
    seed: int, checks: int = 100, rise: float = 0.01, noise: float = 0.01, name: str = "overfitting"
) -> Curve:
    """Training falls on; validation turns up at the onset, which is the minimum of its noise-free curve.

    Once it is under way, it rises by ``rise`` a check, in shares of the gain.
    """
    rng, onset, fall = _falling(name, seed, checks)
    train = exponential(rng.uniform(0.25, 0.4) * checks, floor=0.05)

    def val(check: float) -> float:
        late = max(0.0, check - onset)
        # Sets in softly: no real curve has a kink.
        return fall(min(check, onset)) + rise * late * late / (late + 5)

    return drawn(name, seed, checks, noise, val, train, Condition.OVERFITTING, onset)


def divergence(seed: int, checks: int = 80, rise: float = 0.1, noise: float = 0.01, name: str = "divergence") -> Curve:
    """Training and validation rise from the onset on, and never recover.

    They rise by ``rise`` a check, in shares of the gain, and level off at five times the gain.
    """
    _, onset, fall = _falling(name, seed, checks)

    def val(check: float) -> float:
        return fall(min(check, onset)) + 5 * math.tanh(rise * max(0.0, check - onset) / 5)

    return drawn(name, seed, checks, noise, val, None, Condition.DIVERGENCE, onset)


def loss_spike(seed: int, checks: int = 60, noise: float = 0.005, name: str = "loss_spike") -> Curve:
    """A healthy descent with one excursion of the training loss, gone after a few blocks; validation feels a little."""
    rng = _random(name, seed)
    onset, height = rng.randint(checks // 4, checks // 2), rng.uniform(0.3, 2.0)
    fall = exponential(rng.uniform(0.5, 1.0) * checks)

    def train(check: float) -> float:
        late = check - (onset - 1)
        return fall(check) + (height * math.exp(-late / 0.4) if late >= 0 else 0.0)

    return drawn(name, seed, checks, noise, train, None, Condition.LOSS_SPIKE, onset)


def non_finite(seed: int, checks: int = 40, noise: float = 0.01, name: str = "non_finite") -> Curve:
    """A healthy descent whose weights turn to NaN at the onset: nothing is finite any more."""
    curve = healthy(seed, checks, noise=noise, name=name)
    onset = Random(f"onset {name} {seed}").randint(checks // 4, 3 * checks // 4)
    lost = readings_of([math.nan] * checks, [[math.nan] * BLOCKS] * checks)
    return Curve(curve.name, Condition.NON_FINITE, onset, (*curve.readings[:onset], *lost[onset:]))


def _family(make: Callable[..., Curve], name: str, **options: Any) -> dict[str, Callable[[int], Curve]]:
    return {name: partial(make, name=name, **options)}


FAMILIES: Mapping[str, Callable[[int], Curve]] = {
    **_family(healthy, "healthy-exponential-calm", noise=0.002),
    **_family(healthy, "healthy-exponential", noise=0.01),
    **_family(healthy, "healthy-exponential-noisy", noise=0.03),
    **_family(healthy, "healthy-power", shape="power", noise=0.005),
    **_family(healthy, "healthy-power-noisy", shape="power", noise=0.02),
    **_family(healthy, "healthy-ar-0.5", noise=0.01, phi=0.5),
    **_family(healthy, "healthy-ar-0.9", noise=0.01, phi=0.9),
    **_family(annealed, "healthy-annealed"),
    **_family(small_validation, "healthy-small-validation"),
    **_family(after_spike, "healthy-after-spike"),
    **_family(plateau, "plateau-calm", noise=0.002),
    **_family(plateau, "plateau", noise=0.01),
    **_family(plateau, "plateau-noisy", noise=0.03),
    **_family(plateau, "plateau-ar-0.5", noise=0.01, phi=0.5),
    **_family(overfitting, "overfitting-slow", rise=0.005, noise=0.01),
    **_family(overfitting, "overfitting-fast", rise=0.03, noise=0.01),
    **_family(overfitting, "overfitting-noisy", rise=0.02, noise=0.04),
    **_family(divergence, "divergence-slow", rise=0.03, noise=0.01),
    **_family(divergence, "divergence-fast", rise=0.3, noise=0.01),
    **_family(loss_spike, "loss_spike"),
    **_family(non_finite, "non_finite"),
}
"""Family → curve of a seed. The families differ in what makes the question hard; the seeds in everything else."""

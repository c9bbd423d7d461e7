"""How much faster or slower each layer should learn: products of gradients and updates in, multipliers out.

**The hypergradient** (Baydin et al. 2018, https://arxiv.org/abs/1703.04782). With the update u = w_t − w_{t−1}, which
is proportional to the layer's multiplier m, and the gradient g at w_t::

    ∂L(w_t) / ∂ log m  =  ⟨g, u⟩

If the new gradient still points against the update, a longer step would have been better: raise m. Each layer has
gradients of another size, so only the cosine is used, the *alignment* a = −⟨g, u⟩ / (‖g‖ ‖u‖), and m is changed by a
factor: the normalized, multiplicative form::

    log m  ←  log m + step · Σ over the window (a − mean of a over the layers),   within [−log limit, log limit]

**The trust ratio** (LARS, https://arxiv.org/abs/1708.03888; LAMB, https://arxiv.org/abs/1904.00962): r = ‖w‖ / ‖u‖.
Where it is far from that of the other layers, the layer is badly scaled, and its multiplier is moved until it is
within a band. Inside the band it says nothing.

The mean of log m over the layers is kept at 0: the level of the learning rate is left to the schedule.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_lr.errors import ArgumentError

WINDOW = 10
"""Measurements in a window. The first windows have 1, 2, 4 and 8: what is badly scaled shows at once."""

LARGEST = 30.0
"""No multiplier goes further, whatever the trust ratio: one that is off by more is broken, not bad."""


@dataclass(frozen=True)
class Products:
    """What one measurement found in one layer; sums over all its parameters, and over all ranks.

    Attributes:
        dot: ⟨g, u⟩, gradient and last update.
        update: ‖u‖².
        gradient: ‖g‖².
        weight: ‖w‖².
    """

    dot: float
    update: float
    gradient: float
    weight: float

    @property
    def usable(self) -> bool:
        """Whether there was a gradient and an update, and nothing overflowed."""
        return math.isfinite(self.dot) and all(
            0 < square < math.inf for square in (self.update, self.gradient, self.weight)
        )

    @property
    def alignment(self) -> float:
        """The cosine between the gradient's descent direction and the update, in [−1, 1].

        >>> Products(dot=-2.0, update=1.0, gradient=4.0, weight=1.0).alignment
        1.0
        """
        return max(-1.0, min(1.0, -self.dot / math.sqrt(self.update) / math.sqrt(self.gradient)))

    @property
    def log_ratio(self) -> float:
        """log(‖w‖ / ‖u‖)."""
        return 0.5 * (math.log(self.weight) - math.log(self.update))


@dataclass(frozen=True)
class LayerChange:
    """What one window came to, in one layer.

    Attributes:
        multiplier: of the learning rate from now on.
        before: what it was.
        alignment: mean over the window; above 0: the steps could be longer.
        excess: how far it lies above the mean of all layers.
        trust: ‖w‖ / ‖u‖ at one rate for all, over its geometric mean; 10: steps 10 times shorter than the others'.
    """

    multiplier: float
    before: float
    alignment: float
    excess: float
    trust: float

    def __str__(self) -> str:
        return (
            f"× {self.before:.3g} → {self.multiplier:.3g} (alignment {self.alignment:+.2f}, {self.excess:+.2f} beside "
            f"the others; trust ratio {self.trust:.2g} of theirs)"
        )


class LayerRule:
    """The multipliers of a number of layers, and what was learnt about them.

    Args:
        layers: names, in a fixed order.
        step: of the hypergradient, in log m for each measurement; 0 switches it off.
        limit: the hypergradient moves a multiplier within [1/limit, limit].
        trust: width of the band of trust ratios; ``None`` switches it off.

    >>> rule = LayerRule(["first", "last"], trust=4.0)
    >>> still = Products(dot=0.0, update=1.0, gradient=1.0, weight=1.0)
    >>> heavy = Products(dot=0.0, update=1.0, gradient=1.0, weight=10000.0)
    >>> print(rule.update([[still, heavy]], rates=[0.1, 0.1])["last"])
    × 1 → 2.5 (alignment +0.00, +0.00 beside the others; trust ratio 10 of theirs)
    """

    def __init__(self, layers: Sequence[str], step: float = 0.1, limit: float = 2.0, trust: float | None = 4.0) -> None:
        check_rule(step, limit, trust)
        self.layers = tuple(layers)
        self.step, self.limit, self.trust = step, limit, trust
        self.windows = 0
        self._learnt = [0.0] * len(self.layers)
        self._ratio: list[float | None] = [None] * len(self.layers)
        self._log = [0.0] * len(self.layers)

    @property
    def window(self) -> int:
        """How many measurements the coming window takes."""
        return int(min(WINDOW, 2**self.windows))

    @property
    def multipliers(self) -> dict[str, float]:
        """Layer → multiplier; their geometric mean is 1."""
        return {name: math.exp(log) for name, log in zip(self.layers, self._log, strict=True)}

    def update(self, measurements: Sequence[Sequence[Products]], rates: Sequence[float]) -> dict[str, LayerChange]:
        """Take one window of measurements, and move the multipliers.

        A layer that is not usable in all of them (frozen, not reached, overflown) is left out: its multiplier stays.

        Args:
            measurements: each with the products of every layer.
            rates: the learning rate at which each layer was updated: the trust ratios are compared at one rate for all,
                so that a slower rate that the user gave to some layers stays slower.
        """
        self.windows += 1
        before = self.multipliers
        # A step that an overflow spoilt spoils all layers: it is dropped, so that it does not lock them out.
        usable = [one for one in measurements if any(layer.usable for layer in one)]
        active = [
            i for i in range(len(self.layers)) if usable and rates[i] > 0 and all(one[i].usable for one in usable)
        ]
        if not active:
            return {}
        alignments = [[one[i].alignment for i in active] for one in usable]
        excesses = self._learn(active, alignments)
        trusts = self._weigh(active, [[one[i].log_ratio + math.log(rates[i]) for i in active] for one in usable])
        self._move(active, trusts)
        after = self.multipliers
        return {
            self.layers[i]: LayerChange(
                multiplier=after[self.layers[i]],
                before=before[self.layers[i]],
                alignment=_mean([row[at] for row in alignments]),
                excess=excesses[at],
                trust=math.exp(trusts[at]),
            )
            for at, i in enumerate(active)
        }

    def _learn(self, active: Sequence[int], alignments: Sequence[Sequence[float]]) -> list[float]:
        """Move by the hypergradient; returns by how much the layers' alignments lie above their mean."""
        means = [_mean([row[at] for row in alignments]) for at in range(len(active))]
        excesses = [one - _mean(means) for one in means]
        for i, excess in zip(active, excesses, strict=True):
            moved = self._learnt[i] + self.step * len(alignments) * excess
            self._learnt[i] = _clipped(moved, math.log(self.limit))
        return excesses

    def _weigh(self, active: Sequence[int], ratios: Sequence[Sequence[float]]) -> list[float]:
        """Smooth the logarithms of the trust ratios at a rate of 1; returns them relative to their mean."""
        for at, i in enumerate(active):
            now = _mean([row[at] for row in ratios])
            held = self._ratio[i]
            self._ratio[i] = now if held is None else 0.5 * (held + now)
        smooth = [self._ratio[i] or 0.0 for i in active]
        return [one - _mean(smooth) for one in smooth]

    def _move(self, active: Sequence[int], trusts: Sequence[float]) -> None:
        """The learnt multipliers, moved into the band, with a mean logarithm of 0."""
        logs = [self._learnt[i] for i in active]
        if self.trust is not None:
            band = math.log(self.trust)
            logs = [min(max(log, trust - band), trust + band) for log, trust in zip(logs, trusts, strict=True)]
        logs = [_clipped(log, math.log(LARGEST)) for log in logs]
        # Those that are left out keep what they have, and the others make up for it.
        level = (sum(logs) + sum(log for i, log in enumerate(self._log) if i not in set(active))) / len(active)
        for i, log in zip(active, logs, strict=True):
            self._log[i] = log - level

    def state_dict(self) -> dict[str, Any]:
        """All that the next window depends on, by layer."""
        learnt = zip(self.layers, self._learnt, self._ratio, self._log, strict=True)
        return {"version": 1, "windows": self.windows, "layers": {name: list(one) for name, *one in learnt}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the layers of those names; any other starts anew."""
        self.windows = state["windows"]
        known = state["layers"]
        for i, name in enumerate(self.layers):
            self._learnt[i], self._ratio[i], self._log[i] = known.get(name, (0.0, None, 0.0))


def check_rule(step: float, limit: float, trust: float | None) -> None:
    """Refuse what cannot work.

    Raises:
        ArgumentError: naming the argument.
    """
    wanted = {"step": (step, 0.0, 1.0), "limit": (limit, 1.0, LARGEST), "trust": (trust, 1.0, 1e6)}
    for argument, (value, low, high) in wanted.items():
        if type(value) not in (int, float) or not low <= value <= high:  # type: ignore[operator]
            if argument == "trust" and value is None:
                continue
            raise ArgumentError(f"Expected `{argument}` to be a number from {low:g} to {high:g} but got {value!r}.")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _clipped(value: float, bound: float) -> float:
    return max(-bound, min(bound, value))
